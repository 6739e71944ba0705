"""What the proxy vouches for: a signature for each index and manifest that it makes.

A signature is made when somebody first asks for it, and needs nothing stored to be made again: its payload is
written from the signed document alone, and signed deterministically. Only the way back, from the digest of a
signature's document to what it vouches for, has to be remembered. What is signed was cut by this process.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from multidict import CIMultiDict, CIMultiDictProxy

from proxy.auth.identity import Identity
from proxy.flight import SingleFlight
from proxy.logs import get_logger
from proxy.partitions.source import MAX_MANIFEST
from proxy.partitions.synthesis import Partitions
from proxy.signing.signer import Signer
from proxy.store.records import Key, Record, Signature, SignatureKey, Subject, SubjectKey
from proxy.store.tiered import TieredStore
from proxy.upstream.registry import Upstream
from proxy.upstream.replies import RefusedError
from twodfs.digest import Digest, digest_of
from twodfs.errors import FormatError
from twodfs.oci import INDEX_TYPES, MANIFEST_TYPES, OCI_INDEX, Document, parse_object
from twodfs.signature import Attachment, Payload, merged_referrers

_OK: Final = 200
_NO_HEADERS: Final = CIMultiDictProxy(CIMultiDict[str]())
# A registry without the referrers API has no such route; some say that they do not support it.
_NO_REFERRERS: Final = frozenset({404, 405, 501})


@dataclass(frozen=True, slots=True)
class Referrers:
    """A list of referrers with ours in it, and the headers that the registry's own list came with."""

    document: Document
    headers: CIMultiDictProxy[str]


class Signatures:
    """Signs documents of partitions, and finds what belongs to their signatures."""

    def __init__(
        self,
        upstream: Upstream,
        partitions: Partitions,
        store: TieredStore,
        signer: Signer,
        *,
        registry: str,
    ) -> None:
        """``registry``: what signatures name before the repository."""
        self._upstream = upstream
        self._partitions = partitions
        self._store = store
        self._signer = signer
        self._registry = registry
        self._flight: SingleFlight[bytes | None] = SingleFlight()

    async def of(self, repository: str, digest: Digest, identity: Identity) -> Attachment | None:
        """Return the signature of our index or manifest ``digest``, if this client may read its source.

        Raises:
            UnsignedError: the source must be signed itself, and is not.
            RefusedError, UpstreamError: a part of the source could not be had.
        """
        made = await self._partitions.find(repository, digest, identity)
        subject = None if made is None else made.documents[digest]
        if subject is None or subject.media_type not in INDEX_TYPES | MANIFEST_TYPES:
            return None
        payload = Payload.of(subject, f"{self._registry}/{repository}").encode()
        key = SignatureKey(digest_of(payload), self._signer.public_key.fingerprint)
        signature = await self._known(key, payload)
        if signature is None:
            flight = (key, identity.fingerprint)
            work = partial(self._sign, repository, digest, identity, payload)
            signature = await self._flight.do(flight, work)
        if signature is None:
            return None
        attachment = Attachment.of(subject, payload, signature)
        await self._keep(key, signature, attachment, digest)
        return attachment

    async def find(self, repository: str, digest: Digest, identity: Identity) -> Document | None:
        """Return the document of one of our signatures that has ``digest``; raises like ``of``.

        To be asked only after the upstream said that it does not know the digest.
        """
        subject = await self._store.get(SubjectKey(digest))
        if subject is None:
            return None
        attachment = await self.of(repository, subject.digest, identity)
        return None if attachment is None else attachment.documents.get(digest)

    async def referrers(
        self, repository: str, digest: Digest, identity: Identity, target: str, artifact_type: str | None
    ) -> Referrers | None:
        """Return what refers to ``digest``: what the registry lists, and our signature.

        None when the digest is not one of ours, as far as this client may know.

        Args:
            repository: as in the request.
            digest: of what is referred to.
            identity: the client's own credentials.
            target: the request's, in origin-form.
            artifact_type: what alone is to be listed; None for all.

        Raises:
            RefusedError: the registry refuses the client, or answers what is no list.
            UnsignedError, UpstreamError: as for ``of``.
        """
        if not await self._partitions.knows(digest):
            return None
        reply = await self._upstream.get(target, identity, limit=MAX_MANIFEST, accept=OCI_INDEX)
        if reply.status != _OK and reply.status not in _NO_REFERRERS:
            raise RefusedError(reply)
        attachment = await self.of(repository, digest, identity)
        if attachment is None:
            return None
        if reply.status != _OK:
            return Referrers(merged_referrers({}, attachment, artifact_type), _NO_HEADERS)
        try:
            merged = merged_referrers(parse_object(reply.body), attachment, artifact_type)
        except FormatError:
            raise RefusedError(reply) from None
        return Referrers(merged, reply.headers)

    async def _known(self, key: SignatureKey, payload: bytes) -> bytes | None:
        """Return the signature that the store has. It need not be believed: it is checked."""
        known = await self._store.get(key)
        is_good = known is not None and self._signer.public_key.verifies(payload, known.body)
        return known.body if known is not None and is_good else None

    async def _sign(
        self, repository: str, digest: Digest, identity: Identity, payload: bytes
    ) -> bytes | None:
        """Sign what this process cut itself: who can write to the shared store must not get a signature."""
        if await self._partitions.find(repository, digest, identity, by_us=True) is None:
            get_logger().warning("not signed: it does not come out of its recipe", digest=digest)
            return None
        return await self._signer.sign(hashlib.sha256(payload).digest())

    async def _keep(
        self, key: SignatureKey, signature: bytes, attachment: Attachment, subject: Digest
    ) -> None:
        """Rule 2, as for partitions: what names these documents is not answered before they can be found."""
        is_known = all(self._store.peek(SubjectKey(digest)) for digest in attachment.documents)
        if is_known and self._store.is_published(key):
            return
        records: dict[Key[Any], Record] = {key: Signature(signature)}
        records |= {SubjectKey(digest): Subject(subject) for digest in attachment.documents}
        await self._store.publish(key, records)
