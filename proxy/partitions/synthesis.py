"""Source + selection -> partition: cut once, stored before it is answered, made again when it was lost."""

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
        self._flight: SingleFlight[CutPartition | None] = SingleFlight()
        self._cut_here: LRUCache[Digest, bool] = LRUCache(_MOST_CUT_HERE)
        # Partitions whose provenances were all in memory when it had lost so many records.
        self._whole: dict[PartitionKey, int] = {}

    async def get(self, source: SourceImage, provenance: Provenance, identity: Identity) -> CutPartition | None:
        """Return the partition of ``provenance``; None when no image in the source has a field that defines it.

        Args:
            source: what the upstream just allowed this client to read.
            provenance: its digest and the selection.
            identity: fetches what is not known yet.

        Raises:
            PartitionError: nothing is selected, or too many layers.
            FormatError: the source image is malformed, or too large.
            EndedError: a process that read a part of it was ended; it may work again.
            UnsignedError: the source must be signed, and is not.
            RefusedError, UpstreamError: a part of the source could not be had.
            TooManyRequestsError: too many others are to be cut before it.
        """
        key = provenance.key(source.repository)
        made = self._store.peek(key, counted=True) or await self._store.get(key)
        if made is not None:
            await self._cutter.permit(source, identity)
            await self._keep(key, made)
            return made
        # Errors name the image, so images that share a source do not share a flight.
        flight = (source.image, key)
        try:
            return await self._flight.do(flight, lambda: self._make(source, provenance, identity))
        except RefusedError:
            # The flight may have been another client's, refused for reasons of its own.
            own_flight = (*flight, identity.fingerprint)
            return await self._flight.do(own_flight, lambda: self._make(source, provenance, identity))

    async def recall(
        self, repository: Repository, digest: Digest, identity: Identity, *, shared: bool
    ) -> CutPartition | None:
        """Return the partition of ours that holds ``digest`` where no question upstream is needed; else None.

        It is content-addressed, so it is what the upstream would send if it had it: the client's right to
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
                made = await self._store.get(provenance.key(repository))
                if made is not None and digest in made.documents:
                    await self._cutter.permit(
                        SourceImage(repository, provenance.source, provenance.source, ""), identity
                    )
                    return made
        return None

    async def find(
        self, repository: Repository, digest: Digest, identity: Identity, *, by_us: bool = False
    ) -> CutPartition | None:
        """Return the partition of ours that holds ``digest``, if this client may read what it was cut from.

        To be asked only after the upstream said that it does not know the digest.

        Args:
            repository: as in the request.
            digest: of an index, manifest or config.
            identity: the client's own credentials.
            by_us: take nobody's word for it. What only the shared store says was cut is cut again.

        Raises:
            UnsignedError: the source must be signed, and is not.
            RefusedError, UpstreamError: a part of the source could not be had.
        """
        refusal: RefusedError | UnsignedError | None = None
        for provenance in (await self._provenances(digest)).ways:
            try:
                made = await self._by_provenance(repository, provenance, digest, identity, by_us=by_us)
            except (RefusedError, UnsignedError) as error:
                refusal = error
                continue
            if made is not None and digest in made.documents:
                return made
        if refusal is not None:
            raise refusal
        return None

    async def settle(self, waited: float, *, only_failing: bool) -> bool:
        """Pause and return True while what nobody knows may soon be known from another replica.

        A client that was given a tag by one replica may ask another for the children while Redis
        fails, or was too slow for the one that put them.

        Args:
            waited: seconds so far.
            only_failing: whether to wait only while this replica, too, sees Redis fail or recover.
        """
        return await self._store.settle(waited, only_failing=only_failing)

    async def knows(self, digest: Digest) -> bool:
        """Say whether ``digest`` was made here or by another replica; it says nothing of who may read it."""
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
        partition = await self._cutter.cut(source, provenance, identity)
        if partition is None:
            return None
        CELLS.add(partition.allotments)
        # Its documents are those of the rectangles, whatever they were called.
        resolved = Provenance(provenance.source, partition.selection, provenance.version)
        self._cut_here.update((document.digest, True) for document in partition.documents)
        made = CutPartition.of(resolved, partition.root.digest, partition.documents, partition.left_out_bytes)
        for key in {provenance.key(source.repository), resolved.key(source.repository)}:
            await self._publish(key, made)
        get_logger().info(
            "partition cut",
            image=source.image,
            source=source.digest,
            selection=str(provenance.selection),
            resolved=partition.selection.shown,
            digest=made.root,
            allotments=partition.allotments,
            selected_bytes=partition.selected_bytes,
            left_out_bytes=partition.left_out_bytes,
        )
        return made

    async def _keep(self, key: PartitionKey, made: CutPartition) -> None:
        """See to it that what answers the tag can also be found by digest, here and by the other replicas."""
        if self._whole.get(key) != self._store.losses:  # else its provenances are where they were last time
            if not all(self._store.peek(ProvenanceKey(digest)) for digest in made.documents):
                await self._publish(key, made)
            if len(self._whole) >= _MOST_WHOLE:
                self._whole.clear()
            self._whole[key] = self._store.losses
        if not self._store.is_published(key):
            await self._publish(key, made)

    @traced("store")
    async def _publish(self, key: PartitionKey, made: CutPartition) -> None:
        """Store ``made`` and the provenances of its documents.

        Rule 2: clients HEAD the tag and then GET the children by digest, from whichever replica.
        """
        records: dict[RecordKey[Any], Record] = {key: made}
        known = await asyncio.gather(*(self._provenances(digest) for digest in made.documents))
        for digest, provenances in zip(made.documents, known, strict=True):
            records[ProvenanceKey(digest)] = Provenances((made.provenance,)) | provenances
        await self._store.publish(key, records)

    async def _provenances(self, digest: Digest) -> Provenances:
        """Return every provenance of a document that this replica or another knows."""
        known = await self._store.get_all(ProvenanceKey(digest))
        return functools.reduce(Provenances.__or__, known, Provenances())
