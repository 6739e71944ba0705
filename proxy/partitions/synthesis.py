"""Source + selection -> partition: cut once, stored before it is answered, cut again when it was lost."""

from __future__ import annotations

import asyncio
import functools
from typing import Any, Final

from cachetools import LRUCache

from proxy.auth.identity import Identity
from proxy.logs import get_logger
from proxy.metrics.catalogue import CELLS
from proxy.partitions.cutting import Cutter
from proxy.partitions.policy import UnsignedError
from proxy.partitions.records import CutPartition, PartitionKey, Provenance, ProvenanceKey, Provenances
from proxy.partitions.source import SourceImage, Sources
from proxy.repository import Repository
from proxy.single_flight import SingleFlight
from proxy.store.records import Record, RecordKey
from proxy.store.tiered import TieredStore
from proxy.tracing.spans import traced
from proxy.upstream.replies import RefusedError
from twodfs.flatten.cut import FLATTEN_VERSION
from twodfs.oci.digest import Digest
from twodfs.oci.documents import ACCEPT_IMAGES

_MOST_CUT_HERE: Final = 65_536
_MOST_WHOLE: Final = 8192


class Partitions:
    """Every partition the proxy answers with comes from here."""

    def __init__(self, cutter: Cutter, sources: Sources, store: TieredStore) -> None:
        self._cutter = cutter
        self._sources = sources
        self._store = store
        self._single_flight: SingleFlight[CutPartition | None] = SingleFlight()
        self._cut_here: LRUCache[Digest, bool] = LRUCache(_MOST_CUT_HERE)
        # Partitions whose provenances were all in memory when it had lost so many records.
        self._whole: dict[PartitionKey, int] = {}

    async def get(self, source: SourceImage, provenance: Provenance, identity: Identity) -> CutPartition | None:
        """Return the partition of ``provenance``; None when no image in the source has a field that defines it.

        Args:
            source: the image that the upstream just allowed this client to read.
            provenance: its digest and the selection.
            identity: its credentials fetch missing documents.

        Raises:
            PartitionError: nothing is selected, or too many layers.
            FormatError: the source image is malformed, or too large.
            EndedError: a process that read a part of it was ended; it may work again.
            UnsignedError: the source must be signed, and is not.
            RefusedError, UpstreamError: a part of the source could not be fetched.
            TooManyRequestsError: too many others are to be cut before it.
        """
        key = provenance.key(source.repository)
        partition = self._store.peek(key, counted=True) or await self._store.get(key)
        if partition is not None:
            await self._cutter.permit(source, identity)
            await self._keep(key, partition)
            return partition
        # Errors name the image, so images that share a source do not share the work.
        shared = (source.image, key)
        try:
            return await self._single_flight.do(shared, lambda: self._make(source, provenance, identity))
        except RefusedError:
            # The shared work may have been another client's, refused for reasons of its own.
            own = (*shared, identity.fingerprint)
            return await self._single_flight.do(own, lambda: self._make(source, provenance, identity))

    async def recall(
        self, repository: Repository, digest: Digest, identity: Identity, *, shared: bool
    ) -> CutPartition | None:
        """Return the partition of ours that holds ``digest`` where no question upstream is needed; else None.

        It is content-addressed, so the upstream would send the same if it had it: the client's right to
        read the source is all that counts, and that is known from a moment ago or from a verified token.

        Args:
            repository: as in the request.
            digest: of a document.
            identity: whose right must be known.
            shared: whether to look where other replicas keep theirs, too.
        """
        provenances = self._store.peek(ProvenanceKey(digest))
        if provenances is None and shared:
            provenances = await self._store.get(ProvenanceKey(digest))
        for provenance in provenances.ways if provenances else ():
            if self._sources.may_read(identity, repository, provenance.source):
                partition = await self._store.get(provenance.key(repository))
                if partition is not None and digest in partition.documents:
                    await self._cutter.permit(
                        SourceImage(repository, provenance.source, provenance.source, ""), identity
                    )
                    return partition
        return None

    async def find(
        self, repository: Repository, digest: Digest, identity: Identity, *, by_us: bool = False
    ) -> CutPartition | None:
        """Return the partition of ours that holds ``digest``, if this client may read the image that it was cut from.

        To be asked only after the upstream said that it does not know the digest.

        Args:
            repository: as in the request.
            digest: of an index, manifest or config.
            identity: the client's own credentials.
            by_us: trust no other process. A partition that only the shared store has is cut again.

        Raises:
            UnsignedError: the source must be signed, and is not.
            RefusedError, UpstreamError: a part of the source could not be fetched.
        """
        refusal: RefusedError | UnsignedError | None = None
        for provenance in (await self._provenances(digest)).ways:
            try:
                partition = await self._by_provenance(repository, provenance, digest, identity, by_us=by_us)
            except (RefusedError, UnsignedError) as error:
                refusal = error
                continue
            if partition is not None and digest in partition.documents:
                return partition
        if refusal is not None:
            raise refusal
        return None

    async def settle(self, waited: float, *, only_failing: bool) -> bool:
        """Pause and return True while an unknown digest may soon be known from another replica.

        A client that was given a tag by one replica may ask another for the children while Redis
        fails, or was too slow for the replica that put them.

        Args:
            waited: seconds so far.
            only_failing: whether to wait only while this replica, too, sees Redis fail or recover.
        """
        return await self._store.settle(waited, only_failing=only_failing)

    async def knows(self, digest: Digest) -> bool:
        """Say whether ``digest`` was made here or by another replica; it says nothing of the right to read it."""
        return bool((await self._provenances(digest)).ways)

    async def _by_provenance(
        self, repository: Repository, provenance: Provenance, digest: Digest, identity: Identity, *, by_us: bool
    ) -> CutPartition | None:
        source = await self._sources.resolve(repository, provenance.source, identity, ACCEPT_IMAGES)
        if source is None or source.digest != provenance.source:
            return None
        if provenance.version <= FLATTEN_VERSION:
            is_known = not by_us or digest in self._cut_here
            return await (self.get if is_known else self._make)(source, provenance, identity)
        if by_us:
            return None
        # Cut by a later release: it can be served while it is kept, but not made again.
        await self._cutter.permit(source, identity)
        return await self._store.get(provenance.key(source.repository))

    async def _make(self, source: SourceImage, provenance: Provenance, identity: Identity) -> CutPartition | None:
        cut = await self._cutter.cut(source, provenance, identity)
        if cut is None:
            return None
        CELLS.add(cut.allotments)
        # Its documents depend on the rectangles alone, not on their names.
        resolved = Provenance(provenance.source, cut.selection, provenance.version)
        self._cut_here.update((document.digest, True) for document in cut.documents)
        partition = CutPartition.of(resolved, cut.root.digest, cut.documents, cut.left_out_bytes)
        for key in {provenance.key(source.repository), resolved.key(source.repository)}:
            await self._publish(key, partition)
        get_logger().info(
            "partition cut",
            image=source.image,
            source=source.digest,
            selection=str(provenance.selection),
            resolved=cut.selection.shown,
            digest=partition.root,
            allotments=cut.allotments,
            selected_bytes=cut.selected_bytes,
            left_out_bytes=cut.left_out_bytes,
        )
        return partition

    async def _keep(self, key: PartitionKey, partition: CutPartition) -> None:
        """See to it that the documents behind the tag can also be found by digest, here and by the other replicas."""
        if self._whole.get(key) != self._store.losses:  # else its provenances are where they were last time
            if not all(self._store.peek(ProvenanceKey(digest)) for digest in partition.documents):
                await self._publish(key, partition)
            if len(self._whole) >= _MOST_WHOLE:
                self._whole.clear()
            self._whole[key] = self._store.losses
        if not self._store.is_published(key):
            await self._publish(key, partition)

    @traced("store")
    async def _publish(self, key: PartitionKey, partition: CutPartition) -> None:
        """Store ``partition`` and the provenances of its documents.

        Rule 2: clients HEAD the tag and then GET the children by digest, from any replica.
        """
        records: dict[RecordKey[Any], Record] = {key: partition}
        known = await asyncio.gather(*(self._provenances(digest) for digest in partition.documents))
        for digest, provenances in zip(partition.documents, known, strict=True):
            records[ProvenanceKey(digest)] = Provenances((partition.provenance,)) | provenances
        await self._store.publish(key, records)

    async def _provenances(self, digest: Digest) -> Provenances:
        """Return every provenance of a document that this replica or another knows."""
        known = await self._store.get_all(ProvenanceKey(digest))
        return functools.reduce(Provenances.__or__, known, Provenances())
