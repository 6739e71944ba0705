"""Tags that look like partitions: the partition, why there is none, or the registry's image under the tag."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import hdrs

from proxy.handlers.access_log import count_spared
from proxy.handlers.documents import manifest
from proxy.handlers.exchange import Answer, Call
from proxy.handlers.relay import Relay
from proxy.partitions.lookalikes import Lookalikes
from proxy.partitions.records import Provenance
from proxy.partitions.source import SourceImage, Sources, accepts_indexes
from proxy.partitions.synthesis import Partitions
from proxy.requests.kinds import MistypedPull, PartitionPull
from proxy.requests.parsing import parse
from proxy.upstream.replies import STALE
from twodfs.field.partition import PartitionTag, mistyped
from twodfs.oci.documents import ACCEPT_IMAGES

if TYPE_CHECKING:
    from proxy.handlers.edge import EdgeContent


class PartitionHandler:
    """Answers pulls of partitions."""

    def __init__(
        self,
        sources: Sources,
        partitions: Partitions,
        lookalikes: Lookalikes,
        relay: Relay,
        edge: EdgeContent | None = None,
    ) -> None:
        """``edge`` None: nothing is kept on disk."""
        self._sources = sources
        self._partitions = partitions
        self._lookalikes = lookalikes
        self._relay = relay
        self._edge = edge

    async def answer(self, call: Call[PartitionPull]) -> Answer:
        """Return the partition by the first reading of the tag that leads to one.

        Raises:
            PartitionError, FormatError, EndedError, UnsignedError: as for ``Partitions.get``.
            UnknownPartitionError: the tag is neither a partition nor known to the registry.
            RefusedError, UpstreamError: the registry refuses, or gave no answer.
            TooManyRequestsError: too many partitions are to be cut before it.
        """
        accept = ", ".join(call.http.headers.getall(hdrs.ACCEPT, ()))
        seen = None
        for reading in call.request.readings:
            source = await self._sources.resolve(call.request.repository, reading.base, call.identity, accept)
            if source is None:
                continue
            provenance = Provenance(source.digest, reading.selection())
            partition = await self._partitions.get(source, provenance, call.identity)
            if partition is not None:
                if self._edge is not None:
                    await self._edge.served(
                        source.repository,
                        source.digest,
                        partition.documents.values(),
                        tag=call.request.resource.rest,
                        top=partition.root,
                    )
                answer = manifest(partition.top, call.http)
                if source.is_stale:
                    answer.headers[hdrs.WARNING] = STALE
                count_spared(partition, partition.root, call.http, answer)
                return answer
            seen = seen or (source, reading)
        return await self._literally(call, accept, seen)

    async def _literally(
        self, call: Call[PartitionPull], accept: str, seen: tuple[SourceImage, PartitionTag] | None
    ) -> Answer:
        """Pass a tag on that merely looks like a partition, or say why it is none.

        ``seen`` is the first image that it could be a partition of.
        """
        request = call.request
        meant = mistyped(str(request.readings[0])) if seen is None else ()
        if seen is None and not meant and accepts_indexes(accept):
            return await self._relay.open(call)
        answer = await self._relay.open_unless(HTTPStatus.NOT_FOUND, call)
        if answer is not None:
            return answer
        if seen is not None:
            await self._lookalikes.explain(*seen, call.identity)
        await self._lookalikes.explain_mistyped(request.repository, meant, call.identity)
        if seen is not None or accepts_indexes(accept):
            return await self._relay.open(call)
        # A client that takes no index gets the registry's answer for the source image, but
        # where the registry gives it the image, there is no such partition.
        base = request.readings[0].base
        known = await self._sources.resolve(request.repository, base, call.identity, ACCEPT_IMAGES)
        of_source = parse(request.method, f"/v2/{request.repository.name}/manifests/{base}", request.upstream)
        return await self._relay.open(call, None if known is None else of_source)

    async def answer_mistyped(self, call: Call[MistypedPull]) -> Answer:
        """Return the registry's answer for the tag.

        Raises:
            UnknownPartitionError: it has nothing, but the tag is meant as a partition of an image that it has.
            RefusedError, UpstreamError: the registry refuses, or gave no answer.
        """
        answer = await self._relay.open_unless(HTTPStatus.NOT_FOUND, call)
        if answer is not None:
            return answer
        await self._lookalikes.explain_mistyped(call.request.repository, call.request.ways, call.identity)
        return await self._relay.open(call)
