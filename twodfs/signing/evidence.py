"""Whether an image is signed: the places of its signatures, their order, and the valid ones.

``examine`` is a generator that yields its needs and is sent the answers, so the decision is made in one place
without I/O: the proxy answers from its registry with a client's credentials, the command line from any.

Looked at are the tag ``sha256-<hex>.sig`` (as cosign wrote until version 2), and then the referrers of the
image as a signature, be it a manifest of the same kind or a bundle (cosign 3). Bounded: ``MAX_SIGNATURES``
of each, of bounded size; nothing in them that looks like an address is followed.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from twodfs.errors import DigestError, FormatError, SignatureError
from twodfs.oci.digest import Digest, verify
from twodfs.oci.documents import (
    MAX_MANIFEST_BYTES,
    OCI_CONFIG,
    Descriptor,
    Document,
    Manifest,
    parse_manifest,
)
from twodfs.oci.referrers import EMPTY_TYPE
from twodfs.signing.bundle import (
    MAX_BUNDLE,
    PREDICATE_ANNOTATION,
    SIGNED_PREDICATE,
    check_bundle,
    is_bundle_type,
)
from twodfs.signing.signature import (
    MAX_PAYLOAD,
    MAX_SIGNATURES,
    SIGNATURE_TYPE,
    Payload,
    SignatureVerifier,
    check,
    signature_tag,
    signatures_in,
)

MAX_SIGNATURE_MANIFEST: Final = 64 * 1024
"""Bytes of a manifest that refers to an image as a signature; cosign's have less than one KiB."""

# A list may lack the artifact types of its entries, or have them wrong.
_UNSURE: Final = (None, EMPTY_TYPE, OCI_CONFIG)


class EvidenceKind(Enum):
    """A request to a registry."""

    MANIFEST = "manifest"
    REFERRERS = "referrers"
    BLOB = "blob"


@dataclass(frozen=True, slots=True)
class EvidenceNeed:
    """Something that the decision depends on.

    Attributes:
        kind: answered with a ``Document``, whose digest is not believed; with a list's entries, all of them;
            or with bytes. None: not found.
        reference: a tag or a digest.
        limit: bytes that it may have.
    """

    kind: EvidenceKind
    reference: str
    limit: int = MAX_MANIFEST_BYTES


EvidenceAnswer = Document | Sequence[Mapping[str, Any]] | bytes | None
_Steps = Generator[EvidenceNeed, EvidenceAnswer, Payload | None]


def examine(digest: Digest, keys: Sequence[SignatureVerifier]) -> Generator[EvidenceNeed, EvidenceAnswer, Payload]:
    """Yield the requests needed to find a signature of ``digest`` by one of ``keys``; return its content.

    A ``DigestError`` that is thrown in means that the registry sent other content than was asked for.

    Raises:
        SignatureError: there is none that is good.
    """
    reasons: list[str] = []
    tag = signature_tag(digest)
    tagged = yield from _manifest(tag, MAX_MANIFEST_BYTES)
    if tagged is not None:
        found = yield from _in_manifest(tagged, digest, keys, reasons)
        if found is not None:
            return found
    listed = yield EvidenceNeed(EvidenceKind.REFERRERS, digest)
    for candidate in _candidates(listed if isinstance(listed, Sequence) else ()):
        if tagged is not None and candidate == tagged.digest:
            continue
        manifest = yield from _manifest(candidate, MAX_SIGNATURE_MANIFEST)
        if manifest is not None:
            found = yield from _in_manifest(manifest, digest, keys, reasons)
            if found is not None:
                return found
    raise SignatureError("; ".join(dict.fromkeys(reasons)) or f"there is no tag {tag} and no referrer")


def _manifest(reference: str, limit: int) -> Generator[EvidenceNeed, EvidenceAnswer, Document | None]:
    answer = yield EvidenceNeed(EvidenceKind.MANIFEST, reference, limit)
    return answer if isinstance(answer, Document) else None


def _candidates(listed: Sequence[object]) -> list[Digest]:
    """Return the entries of a list that may be signatures, the most likely first."""
    sure, unsure = [], []
    for one in listed:
        try:
            entry = Descriptor.from_dict(one)
        except FormatError:
            continue
        annotations = entry.raw.get("annotations")
        predicate = annotations.get(PREDICATE_ANNOTATION) if isinstance(annotations, dict) else None
        if entry.size > MAX_SIGNATURE_MANIFEST or predicate not in (None, SIGNED_PREDICATE):
            continue
        kind = entry.raw.get("artifactType")
        if kind == SIGNATURE_TYPE or is_bundle_type(kind):
            sure.append(entry.digest)
        elif kind in _UNSURE:
            unsure.append(entry.digest)
    return list(dict.fromkeys(sure + unsure))[:MAX_SIGNATURES]


def _in_manifest(manifest: Document, digest: Digest, keys: Sequence[SignatureVerifier], reasons: list[str]) -> _Steps:
    """Return the content of a good signature in ``manifest``, or None and the reason."""
    try:
        bundles = list(_bundles_in(manifest))
        candidates = signatures_in(manifest)
    except FormatError as error:
        reasons.append(f"its signature manifest is malformed: {error}")
        return None
    for candidate in candidates:
        try:
            payload = yield from _blob(candidate.payload, MAX_PAYLOAD)
            return check(candidate, payload, digest, keys)
        except SignatureError as error:
            reasons.append(str(error))
    for bundle in bundles:
        try:
            body = yield from _blob(bundle, MAX_BUNDLE)
            return check_bundle(body, digest, keys)
        except SignatureError as error:
            reasons.append(str(error))
    if not candidates and not bundles:
        reasons.append("there is none in its signature manifest")
    return None


def _bundles_in(manifest: Document) -> Iterator[Descriptor]:
    parsed = parse_manifest(manifest.body, manifest.media_type)
    layers = parsed.layers if isinstance(parsed, Manifest) else ()
    # A manifest that refers holds one bundle (sigstore/cosign, specs/BUNDLE_SPEC.md).
    yield from [one for one in layers if is_bundle_type(one.media_type) and one.size <= MAX_BUNDLE][:1]


def _blob(blob: Descriptor, limit: int) -> Generator[EvidenceNeed, EvidenceAnswer, bytes]:
    try:
        body = yield EvidenceNeed(EvidenceKind.BLOB, blob.digest, limit)
        if not isinstance(body, bytes):
            raise SignatureError(f"the registry lacks its payload {blob.digest}")
        return verify(body, blob.digest)
    except DigestError as error:
        raise SignatureError(f"the payload was changed: {error}") from None
