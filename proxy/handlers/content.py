"""Manifests and blobs by digest: the proxy's where it made them, else the registry's."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import hdrs

from proxy.handlers.access_log import count_spared
from proxy.handlers.documents import blob, manifest
from proxy.handlers.exchange import Answer, Call
from proxy.handlers.relay import Relay
from proxy.partitions.records import CutPartition
from proxy.partitions.synthesis import Partitions
from proxy.requests.kinds import ContentPull
from proxy.signing.attached import AttachedDocuments
from proxy.upstream.replies import UpstreamError
from twodfs.oci.documents import Document

if TYPE_CHECKING:
    from proxy.handlers.edge import EdgeContent


class ContentHandler:
    """Answers pulls by digest."""

    def __init__(
        self,
        partitions: Partitions,
        attached: AttachedDocuments | None,
        relay: Relay,
        edge: EdgeContent | None = None,
    ) -> None:
        """``attached`` None: nothing is signed. ``edge`` None: nothing is kept on disk."""
        self._partitions = partitions
        self._attached = attached
        self._relay = relay
        self._edge = edge

    async def answer(self, call: Call[ContentPull]) -> Answer:
        """Return the content with the digest: the registry is asked, unless this client's right to ours is known.

        Raises:
            UnsignedError: it is ours, and the source must be signed, and is not.
            RefusedError, UpstreamError: the registry refuses, or gave no answer.
        """
        request, identity = call.request, call.identity
        # Most blobs are layers, which are never ours: other replicas are asked only where that can help.
        shared = request.is_manifest or identity.may_pull(request.repository)
        found: CutPartition | Document | None = await self._partitions.recall(
            request.repository, request.digest, identity, shared=shared
        )
        if found is None:
            answer = await self._from_registry(call)
            if isinstance(answer, Answer):
                return answer
            found = answer or await self._find(call)
        if found is None:
            return await self._relay.open(call)
        document = found.documents[request.digest] if isinstance(found, CutPartition) else found
        answer = manifest(document, call.http) if request.is_manifest else blob(document, call.http)
        if isinstance(found, CutPartition):
            if self._edge is not None:
                await self._edge.served(request.repository, found.provenance.source, found.documents.values())
            count_spared(found, request.digest, call.http, answer)
        return answer

    async def _from_registry(self, call: Call[ContentPull]) -> Answer | CutPartition | Document | None:
        """Return the registry's content, from the disk where it is there; None where the registry has none.

        A registry that cannot be asked need not be, where the digest is that of a document of ours.
        """
        if self._edge is not None:
            if self._edge.is_offline and (found := await self._ours(call)) is not None:
                return found  # a registry that hangs is not waited for
            try:
                answer = await self._edge.answer(call)
            except UpstreamError:
                found = await self._ours(call)
                if found is None:
                    raise
                return found
            if answer is not None:
                return answer
        return await self._relay.open_unless(HTTPStatus.NOT_FOUND, call)

    async def _find(self, call: Call[ContentPull]) -> CutPartition | Document | None:
        """Return the partition that holds the digest, or the signature's document.

        Another replica may be about to tell of either. But a client about to push asks whether each document
        is there, and is to get its "no" at once.
        """
        request = call.request
        is_read = request.method == hdrs.METH_GET
        started = time.monotonic()
        while True:
            found = await self._ours(call)
            waited = time.monotonic() - started
            if found is not None or not (is_read or request.is_manifest):
                return found
            if not await self._partitions.settle(waited, only_failing=not is_read):
                return found

    async def _ours(self, call: Call[ContentPull]) -> CutPartition | Document | None:
        request, identity = call.request, call.identity
        found = await self._partitions.find(request.repository, request.digest, identity)
        if found is not None or self._attached is None:
            return found
        return await self._attached.find(request.repository, request.digest, identity)
