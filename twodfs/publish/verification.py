"""An image in a registry, held against its signatures.

Nothing the registry says is believed: the digest is computed from the bytes that came, and the signature over
that digest is checked with keys that the caller brings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from twodfs.errors import DigestError, RegistryError, SignatureError
from twodfs.flatten.cut import SOURCE_ANNOTATION
from twodfs.oci.digest import parse_digest
from twodfs.oci.documents import Document, Index, annotation_in, parse_manifest, parse_object
from twodfs.registry.session import RemoteRepository
from twodfs.signing.evidence import EvidenceAnswer, EvidenceKind, EvidenceNeed, examine
from twodfs.signing.signature import Payload, SignatureVerifier


@dataclass(frozen=True, slots=True)
class Verified:
    """A document with a good signature, and the signed payload."""

    document: Document
    payload: Payload


def verify_signed(
    repository: RemoteRepository, reference: str, keys: Sequence[SignatureVerifier], *, recursive: bool = False
) -> list[Verified]:
    """Return the document that ``reference`` names once it is known to be signed by one of ``keys``.

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


def verify_source(repository: RemoteRepository, partition: Verified, keys: Sequence[SignatureVerifier]) -> Verified:
    """Return the image that a partition was cut from once it is known to be signed by one of ``keys``.

    The partition itself names its source, under its own signature.

    Raises:
        SignatureError: it was cut from nothing, or its source has no signature that is good.
        DigestError, RegistryError, AuthError: as for ``verify_signed``.
    """
    told = annotation_in(parse_object(partition.document.body), SOURCE_ANNOTATION)
    where = f"{repository}@{partition.document.digest}"
    if told is None:
        raise SignatureError(f"{where} is no partition: it does not say what it was cut from")
    try:
        source = parse_digest(told)
    except DigestError as error:
        raise SignatureError(f"{where} does not say what it was cut from: {error}") from None
    try:
        return _verify(repository, repository.manifest(source), keys)
    except RegistryError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        raise SignatureError(f"{where} was cut from {source}, which the registry does not have") from None


def _verify(repository: RemoteRepository, document: Document, keys: Sequence[SignatureVerifier]) -> Verified:
    steps = examine(document.digest, keys)
    try:
        need = next(steps)
        while True:
            try:
                answer = _answer(repository, need)
            except DigestError as error:
                if need.kind is not EvidenceKind.BLOB:
                    raise
                need = steps.throw(error)
            else:
                need = steps.send(answer)
    except StopIteration as done:
        return Verified(document, done.value)
    except SignatureError as error:
        raise SignatureError(f"{repository}@{document.digest} has no good signature: {error}") from None


def _answer(repository: RemoteRepository, need: EvidenceNeed) -> EvidenceAnswer:
    try:
        match need.kind:
            case EvidenceKind.MANIFEST:
                return repository.manifest(need.reference, limit=need.limit)
            case EvidenceKind.REFERRERS:
                return repository.referrers(parse_digest(need.reference))
            case EvidenceKind.BLOB:
                return repository.blob(parse_digest(need.reference), limit=need.limit)
    except RegistryError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return None
