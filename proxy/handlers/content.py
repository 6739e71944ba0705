"""Manifests and blobs by digest: the proxy's where it made them, else the registry's."""

from __future__ import annotations

import time
from http import HTTPStatus

from aiohttp import hdrs

from proxy.handlers.access_log import count_spared
from proxy.handlers.documents import blob, manifest
from proxy.handlers.exchange import Answer, Call
from proxy.handlers.relay import Relay
from proxy.partitions.records import CutPartition
from proxy.partitions.synthesis import Partitions
from proxy.requests.kinds import ContentPull
from proxy.signing.attached import AttachedDocuments
from twodfs.oci.documents import Document


class ContentHandler:
    """Answers pulls by digest."""

    def __init__(self, partitions: Partitions, attached: AttachedDocuments | None, relay: Relay) -> None:
        """``attached`` None: nothing is signed."""
        self._partitions = partitions
        self._attached = attached
        self._relay = relay

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
            answer = await self._relay.open_unless(HTTPStatus.NOT_FOUND, call)
            if answer is not None:
                return answer
            found = await self._find(call)
        if found is None:
            return await self._relay.open(call)
        document = found.documents[request.digest] if isinstance(found, CutPartition) else found
        answer = manifest(document, call.http) if request.is_manifest else blob(document, call.http)
        if isinstance(found, CutPartition):
            count_spared(found, request.digest, call.http, answer)
        return answer

    async def _find(self, call: Call[ContentPull]) -> CutPartition | Document | None:
        """Return the partition that holds the digest, or the signature's document.

        Another replica may be about to tell of either. But a client about to push asks whether each document
        is there, and is to get its "no" at once.
        """
        request, identity = call.request, call.identity
        is_read = request.method == hdrs.METH_GET
        started = time.monotonic()
        while True:
            found: CutPartition | Document | None = await self._partitions.find(
                request.repository, request.digest, identity
            )
            if found is None and self._attached is not None:
                found = await self._attached.find(request.repository, request.digest, identity)
            waited = time.monotonic() - started
            if found is not None or not (is_read or request.is_manifest):
                return found
            if not await self._partitions.settle(waited, only_failing=not is_read):
                return found
