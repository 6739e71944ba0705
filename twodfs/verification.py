"""An image in a registry, held against its signatures.

Nothing the registry says is believed: the digest is computed from the bytes that came, and the signature over
that digest is checked with keys that the caller brings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from twodfs.digest import Digest
from twodfs.errors import DigestError, FormatError, RegistryError, SignatureError
from twodfs.oci import Document, Index, parse_manifest
from twodfs.registry import Repository
from twodfs.signature import (
    MAX_PAYLOAD,
    MAX_SIGNATURES,
    SIGNATURE_TYPE,
    Payload,
    Signed,
    Verifier,
    check,
    signature_tag,
    signatures_in,
)

_NOT_FOUND: Final = 404


@dataclass(frozen=True, slots=True)
class Verified:
    """A document with a good signature, and what that says."""

    document: Document
    payload: Payload


def verify_signed(
    repository: Repository, reference: str, keys: Sequence[Verifier], *, recursive: bool = False
) -> list[Verified]:
    """Return what ``reference`` names once it is known to be signed by one of ``keys``.

    Args:
        repository: where it is.
        reference: a tag or a digest.
        keys: any of them will do.
        recursive: the images of an index must be signed as well; they follow it in the result.

    Raises:
        SignatureError: there is no signature, or none that is good.
        DigestError: the registry sent other bytes than the digest says.
        RegistryError, AuthError: it refuses, or gives no answer.
    """
    top = repository.manifest(reference)
    verified = [_verify(repository, top, keys)]
    parsed = parse_manifest(top.body, top.media_type) if recursive else None
    if isinstance(parsed, Index):
        for digest in dict.fromkeys(entry.digest for _, entry in parsed.image_entries()):
            image = repository.manifest(digest)
            verified.append(_verify(repository, image, keys))
    return verified


def _verify(repository: Repository, document: Document, keys: Sequence[Verifier]) -> Verified:
    reasons = []
    for manifest in _signature_manifests(repository, document.digest):
        try:
            candidates = signatures_in(manifest)
        except FormatError as error:
            reasons.append(f"its signature manifest is malformed: {error}")
            continue
        for candidate in candidates:
            try:
                payload = _payload(repository, candidate)
                return Verified(document, check(candidate, payload, document.digest, keys))
            except SignatureError as error:
                reasons.append(str(error))
    why = (
        "; ".join(dict.fromkeys(reasons))
        or f"there is no tag {signature_tag(document.digest)} and no referrer"
    )
    raise SignatureError(f"{repository}@{document.digest} has no good signature: {why}")


def _payload(repository: Repository, signed: Signed) -> bytes:
    try:
        return repository.blob(signed.payload.digest, limit=MAX_PAYLOAD)
    except DigestError as error:
        raise SignatureError(f"the payload was changed: {error}") from None
    except RegistryError as error:
        if error.status != _NOT_FOUND:
            raise
        raise SignatureError(f"the registry lacks its payload {signed.payload.digest}") from None


def _signature_manifests(repository: Repository, digest: Digest) -> Iterator[Document]:
    """Yield what the tag names, and then what refers to ``digest`` as a signature."""
    tagged = None
    try:
        tagged = repository.manifest(signature_tag(digest))
    except RegistryError as error:
        if error.status != _NOT_FOUND:
            raise
    else:
        yield tagged
    for referrer in (repository.referrers(digest, SIGNATURE_TYPE))[:MAX_SIGNATURES]:
        if tagged is None or referrer.digest != tagged.digest:
            yield repository.manifest(referrer.digest)
