"""The proxy's signatures: one for each index and manifest that it makes.

A signature is made on the first request for it, and needs nothing stored to be made again: its payload is
written from the signed document alone, and signed deterministically. Only the way back, from the digest of a
signature's document to its subject, has to be stored. Signed documents were cut by this process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from proxy.auth.identity import Identity
from proxy.logs import get_logger
from proxy.partitions.synthesis import Partitions
from proxy.repository import Repository
from proxy.signing.records import Signature, SignatureKey, Subject, SubjectKey
from proxy.signing.signer import Signer
from proxy.single_flight import SingleFlight
from proxy.store.records import Record, RecordKey
from proxy.store.tiered import TieredStore
from twodfs.oci.digest import Digest, digest_of
from twodfs.oci.documents import IMAGE_TYPES, Document
from twodfs.signing.attachment import Attachment, Attachments
from twodfs.signing.bundle import encoded_for_signing, statement_of
from twodfs.signing.signature import Payload, signed_annotations


class Signatures:
    """Signs documents of partitions, and finds the documents of their signatures."""

    def __init__(
        self,
        partitions: Partitions,
        store: TieredStore,
        signer: Signer,
        *,
        registry: str,
    ) -> None:
        """``registry``: the host that signatures name before the repository."""
        self._partitions = partitions
        self._store = store
        self._signer = signer
        self._registry = registry
        self._single_flight: SingleFlight[bytes | None] = SingleFlight()

    async def of(self, repository: Repository, digest: Digest, identity: Identity) -> Attachments | None:
        """Return the signature of our index or manifest ``digest``, if this client may read its source.

        Raises:
            UnsignedError: the source must be signed itself, and is not.
            RefusedError, UpstreamError: a part of the source could not be fetched.
        """
        partition = await self._partitions.find(repository, digest, identity)
        subject = None if partition is None else partition.documents[digest]
        if subject is None or subject.media_type not in IMAGE_TYPES:
            return None
        payload = Payload.of(subject, f"{self._registry}/{repository.name}").encode()
        statement = statement_of(subject, signed_annotations(subject))
        signatures = []
        for signed in (payload, encoded_for_signing(statement)):
            key = SignatureKey(digest_of(signed), self._signer.public_key.fingerprint)
            signature = await self._known(key, signed)
            if signature is None:
                work = partial(self._sign, repository, digest, identity, signed)
                signature = await self._single_flight.do((repository, key, identity.fingerprint), work)
            if signature is None:
                return None
            signatures.append((key, signature))
        (_, of_payload), (_, of_statement) = signatures
        hint = self._signer.public_key.hint
        attachments = Attachments(
            Attachment.of(subject, payload, of_payload),
            Attachment.of_bundle(subject, statement, of_statement, hint),
        )
        parts = (attachments.tagged, attachments.bundle)
        for (key, signature), attachment in zip(signatures, parts, strict=True):
            await self._keep(key, {key: Signature(signature)}, attachment.documents, digest)
        return attachments

    async def subject(self, digest: Digest) -> Digest | None:
        """Return the subject of the signature that a document belongs to; None where it is none, or is unknown."""
        known = await self._store.get(SubjectKey(digest))
        return None if known is None else known.digest

    async def remember(self, documents: Sequence[Document], subject: Digest) -> None:
        """Remember that ``documents``, in which ours is merged with others, belong to ``subject``."""
        if documents:
            await self._keep(SubjectKey(documents[0].digest), {}, [one.digest for one in documents], subject)

    async def _known(self, key: SignatureKey, payload: bytes) -> bytes | None:
        """Return the signature that the store has. It need not be believed: it is checked."""
        known = await self._store.get(key)
        is_good = known is not None and self._signer.public_key.verifies(payload, known.body)
        return known.body if known is not None and is_good else None

    async def _sign(self, repository: Repository, digest: Digest, identity: Identity, payload: bytes) -> bytes | None:
        """Sign documents that this process cut itself: a writer to the shared store must not get a signature."""
        if await self._partitions.find(repository, digest, identity, by_us=True) is None:
            get_logger().warning("not signed: it does not come out of its recipe", digest=digest)
            return None
        return await self._signer.sign(hashlib.sha256(payload).digest())

    async def _keep(
        self,
        key: SignatureKey | SubjectKey,
        records: Mapping[RecordKey[Any], Record],
        documents: Iterable[Digest],
        subject: Digest,
    ) -> None:
        """Rule 2, as for partitions: no answer names these documents before they can be found."""
        digests = list(documents)
        if all(self._store.peek(SubjectKey(one)) for one in digests) and self._store.is_published(key):
            return
        subjects: dict[RecordKey[Any], Record] = {SubjectKey(digest): Subject(subject) for digest in digests}
        await self._store.publish(key, {**records, **subjects})
