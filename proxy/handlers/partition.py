"""Partitions by tag: the partition, why there is none, or the registry's image under the tag."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import hdrs

from proxy.handlers.access_log import count_spared
from proxy.handlers.documents import manifest
from proxy.handlers.exchange import Answer, Call
from proxy.handlers.relay import Relay
from proxy.partitions.lookalikes import Lookalikes
from proxy.partitions.plain import PlainTags
from proxy.partitions.records import CutPartition, Provenance
from proxy.partitions.source import SourceImage, Sources, accepts_indexes
from proxy.partitions.synthesis import Partitions
from proxy.requests.kinds import MistypedPull, PartitionPull, RegistryRequest, TagPull
from proxy.requests.parsing import parse
from proxy.upstream.replies import STALE
from twodfs.field.partition import MAX_TAG_LENGTH, PartitionTag, mistyped
from twodfs.oci.documents import ACCEPT_IMAGES

if TYPE_CHECKING:
    from proxy.handlers.edge import EdgeContent

_ByTag = PartitionPull | MistypedPull | TagPull


class PartitionHandler:
    """Answers pulls of partitions."""

    def __init__(
        self,
        sources: Sources,
        partitions: Partitions,
        lookalikes: Lookalikes,
        relay: Relay,
        *,
        edge: EdgeContent | None = None,
        plain: PlainTags | None = None,
    ) -> None:
        """``edge`` None: nothing is kept on disk. ``plain`` None: plain tags give the registry's images."""
        self._sources = sources
        self._partitions = partitions
        self._lookalikes = lookalikes
        self._relay = relay
        self._edge = edge
        self._plain = plain

    async def answer(self, call: Call[PartitionPull]) -> Answer:
        """Return the partition by the first reading of the tag that leads to one.

        Raises:
            PartitionError, FormatError, EndedError, UnsignedError: as for ``Partitions.get``.
            UnknownPartitionError: the tag is neither a partition nor known to the registry.
            RefusedError, UpstreamError: the registry refuses, or gave no answer.
            TooManyRequestsError: too many partitions are to be cut before it.
        """
        accept = _accept(call)
        seen = image = None
        for reading in call.request.readings:
            source = await self._sources.resolve(call.request.repository, reading.base, call.identity, accept)
            if source is None:
                continue
            provenance = Provenance(source.digest, reading.selection())
            partition = await self._partitions.get(source, provenance, call.identity)
            if partition is not None:
                return await self._served(call, source, partition, call.request.resource.rest)
            seen = seen or (source, reading)
            if reading.is_of_image:
                image = source
        if image is not None:
            return await self._itself(call, image)
        return await self._registrys(call) or await self._literally(call, accept, seen)

    async def answer_plain(self, call: Call[TagPull]) -> Answer:
        """Return the partition that a plain tag gives, or the registry's answer where there is none to give.

        Raises:
            UnknownPartitionError: the image is a 2DFS image without that partition.
            PartitionError, FormatError, EndedError, UnsignedError, TooManyRequestsError: as for ``answer``.
            RefusedError, UpstreamError: the registry refuses, or gave no answer.
        """
        return await self._registrys(call) or await self._relay.open(call)

    async def _registrys(self, call: Call[_ByTag]) -> Answer | None:
        """Return the partition that stands for the registry's 2DFS image under a tag; None: there is none to give."""
        repository, tag = call.request.repository, call.request.resource.rest
        if self._plain is None or "+" in tag:  # which no registry can hold
            return None
        source = await self._sources.resolve(repository, tag, call.identity, _accept(call))
        partition = None if source is None else await self._plain.of(source, call.identity)
        if source is None or partition is None:
            return None
        return await self._served(call, source, partition, self._plain.tag(tag))

    async def _served(self, call: Call[_ByTag], source: SourceImage, partition: CutPartition, tag: str) -> Answer:
        if self._edge is not None:
            await self._edge.served(
                source.repository,
                source.digest,
                partition.documents.values(),
                tag=tag if len(tag) <= MAX_TAG_LENGTH else "",
                top=partition.root,
            )
        answer = manifest(partition.top, call.http)
        if source.is_stale:
            answer.headers[hdrs.WARNING] = STALE
        count_spared(partition, partition.root, call.http, answer)
        return answer

    async def _itself(self, call: Call[PartitionPull], image: SourceImage) -> Answer:
        """Return the registry's image under the tag, or where there is none, ``image``: whatever a plain tag gives."""
        answer = await self._relay.open_unless(HTTPStatus.NOT_FOUND, call)
        return answer or await self._relay.open(call, _retagged(call.request, image.reference))

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
        return await self._relay.open(call, None if known is None else _retagged(request, base))

    async def answer_mistyped(self, call: Call[MistypedPull]) -> Answer:
        """Return the registry's answer for the tag.

        Raises:
            UnknownPartitionError: it has nothing, but the tag is meant as a partition of an image that it has.
            RefusedError, UpstreamError: the registry refuses, or gave no answer.
        """
        answer = await self._registrys(call) or await self._relay.open_unless(HTTPStatus.NOT_FOUND, call)
        if answer is not None:
            return answer
        await self._lookalikes.explain_mistyped(call.request.repository, call.request.ways, call.identity)
        return await self._relay.open(call)


def _accept(call: Call[_ByTag]) -> str:
    return ", ".join(call.http.headers.getall(hdrs.ACCEPT, ()))


def _retagged(request: PartitionPull, tag: str) -> RegistryRequest:
    """Return the same request for another tag of its repository."""
    return parse(request.method, f"/v2/{request.repository.name}/manifests/{tag}", request.upstream)
