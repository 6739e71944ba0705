"""What ``twodfs verify`` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from twodfs.cli.console import print_json, say
from twodfs.cli.security import Security
from twodfs.errors import DigestError, InvalidReferenceError, KeyFormatError, SignatureError
from twodfs.files import read_file
from twodfs.oci.digest import parse_digest
from twodfs.oci.documents import Json
from twodfs.oci.reference import Reference
from twodfs.publish.verification import Verified, verify_signed, verify_source
from twodfs.signing.ecdsa import PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The arguments of ``twodfs verify``."""

    reference: str
    keys: tuple[Path, ...]
    source: str | None
    recursive: bool
    recursive_source: bool
    source_keys: tuple[Path, ...]
    security: Security


def verify(asked: Question, *, as_json: bool) -> None:
    """Print what is signed, and what the signature says.

    Raises:
        SignatureError: there is no good signature, or it tells of another source, or the source has none.
        KeyFormatError: a key file cannot be read, or holds none.
        TwodfsError: see its other subclasses.
    """
    reference = Reference.parse(asked.reference)
    try:
        source = None if asked.source is None else parse_digest(asked.source)
    except DigestError as error:
        raise InvalidReferenceError(f"--source: {error}") from None
    keys = [_load(file) for file in asked.keys]
    source_keys = [_load(file) for file in asked.source_keys] or keys
    with asked.security.open(reference.registry) as registry:
        repository = registry.repository(reference.repository)
        verified = verify_signed(repository, reference.name, keys, recursive=asked.recursive)
        top = verified[0]
        cut_from = verify_source(repository, top, source_keys) if asked.recursive_source else None
    if source is not None and top.payload.source != source:
        told = top.payload.source or "no source at all"
        raise SignatureError(f"{reference} is signed, but its signature tells of {told}, not of {source}")
    pinned = str(replace(reference, tag=None, digest=top.document.digest))
    if as_json:
        more = {} if cut_from is None else {"sourceImage": _told(cut_from)}
        images = {"images": _images(verified)}
        print_json({"reference": str(reference), "pinned": pinned, **_told(top), **images, **more})
        return
    say(pinned)
    say(f"  signed as {top.payload.repository}" if top.payload.repository else "  signed")
    if top.payload.source is not None:
        say(f"  cut from {top.payload.source}")
    if top.payload.selection is not None:
        say(f"  selection {top.payload.selection}")
    for one in verified[1:]:
        say(f"  image {one.document.digest}, signed as well")
    if cut_from is not None:
        say(f"  source {cut_from.document.digest}, signed as well")


def _load(file: Path) -> PublicKey:
    try:
        return PublicKey.parse(read_file(file, may_be_pipe=True))
    except OSError as error:
        raise KeyFormatError(f"{file}: cannot be read: {error.strerror}") from None
    except KeyFormatError as error:
        raise KeyFormatError(f"{file}: {error}") from None


def _told(one: Verified) -> Json:
    return {
        "digest": one.document.digest,
        "mediaType": one.document.media_type,
        "signedAs": one.payload.repository or None,
        "source": one.payload.source,
        "selection": one.payload.selection,
        "optional": dict(one.payload.optional),
    }


def _images(verified: Sequence[Verified]) -> list[Json]:
    return [_told(one) for one in verified[1:]]
