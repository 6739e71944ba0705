r"""Check that an image or partition is signed, in cosign's format, by a key that you trust.

The digest is computed here, and the signature over it is checked with the key alone: whatever stands
between (registry, proxy, network) may refuse or delay an image, but cannot pass off another one. Pull the
digest that is printed, not the tag, which may have moved since.

A signature of an index covers its images, since it names their digests; --recursive is for clients that
pull one of them by its own digest. Who vouches for a partition says from which image it was cut, not that
this image is good: --recursive-source asks whether that is signed, too.

Example:
    twodfs verify registry.example.com/model:v1--0.0.1.2 --key proxy.pub
    docker pull $(twodfs verify registry.example.com/model:v1--edge --key p.pub --json | jq -r .pinned)
    twodfs verify registry.example.com/model:v1--edge --key proxy.pub --recursive-source \
        --source-key builders.pub

The exit status is 0 when the signature is good, 1 when there is none that is, 2 when a key or the command
line is wrong.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from twodfs.cli.options import add_output_options, add_registry_options
from twodfs.cli.parser import CommandParser, file
from twodfs.errors import DigestError, InvalidReferenceError, KeyFormatError, SignatureError

if TYPE_CHECKING:
    from twodfs.oci.documents import Json
    from twodfs.publish.verification import Verified
    from twodfs.signing.ecdsa import PublicKey


def declare(parser: CommandParser) -> None:
    """Declare the command's options."""
    parser.add_argument("reference", metavar="REF", help="An image in a registry, or a partition behind a proxy.")
    parser.add_argument(
        "--key",
        **file(),
        action="append",
        required=True,
        help="A public key in PEM (ECDSA P-256), as cosign writes it; may be given again: any will do.",
    )
    parser.add_argument(
        "--source", metavar="DIGEST", help="Insist that it was cut from this image, as a partition's signature tells."
    )
    parser.add_flag("--recursive", "-r", text="Check a signature of each image of an index as well.")
    parser.add_flag("--recursive-source", text="Check a signature of the image that a partition was cut from as well.")
    parser.add_argument(
        "--source-key",
        **file(),
        action="append",
        help="A key that the source may be signed by; may be given again. Without it, those of --key.",
    )
    add_registry_options(parser)
    add_output_options(parser)


def run(arguments: Namespace) -> int:
    """Print the signed document, and the content of the signature.

    Raises:
        SignatureError: there is no good signature, or it tells of another source, or the source has none.
        KeyFormatError: a key file cannot be read, or holds none.
        TwodfsError: see its other subclasses.
    """
    from dataclasses import replace

    from twodfs.cli.console import print_json, say
    from twodfs.cli.registries import Security
    from twodfs.oci.digest import parse_digest
    from twodfs.oci.reference import Reference
    from twodfs.publish.verification import verify_signed, verify_source

    security = Security.of(arguments)
    reference = Reference.parse(arguments.reference)
    try:
        source = None if arguments.source is None else parse_digest(arguments.source)
    except DigestError as error:
        raise InvalidReferenceError(f"--source: {error}") from None
    keys = [_load(file) for file in arguments.key]
    source_keys = [_load(file) for file in arguments.source_key or ()] or keys
    with security.open(reference.registry) as registry:
        repository = registry.repository(reference.repository)
        verified = verify_signed(repository, reference.name, keys, recursive=arguments.recursive)
        top = verified[0]
        cut_from = verify_source(repository, top, source_keys) if arguments.recursive_source else None
    if source is not None and top.payload.source != source:
        told = top.payload.source or "no source at all"
        raise SignatureError(f"{reference} is signed, but its signature tells of {told}, not of {source}")
    pinned = str(replace(reference, tag=None, digest=top.document.digest))
    if arguments.json:
        more = {} if cut_from is None else {"sourceImage": _told(cut_from)}
        images = {"images": _images(verified)}
        print_json({"reference": str(reference), "pinned": pinned, **_told(top), **images, **more})
        return 0
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
    return 0


def _load(file: Path) -> PublicKey:
    from twodfs.files import read_file
    from twodfs.signing.ecdsa import PublicKey

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
