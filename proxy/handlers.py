"""Typed request -> answer."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from typing import Final

from aiohttp import hdrs, web
from multidict import CIMultiDict

from proxy.access import Accounts, count_spared
from proxy.headers import Origins
from proxy.identity import Identity
from proxy.logs import bind_request_id, get_logger
from proxy.metrics.catalogue import CLIENT_GONE
from proxy.records import Recipe
from proxy.relay import BodyError, Relay
from proxy.route import (
    ContentPull,
    ManifestWrite,
    Other,
    PartitionPull,
    Request,
    TargetError,
    origin_form,
    route,
)
from proxy.server import JSON, WholeResponse, oci_errors, whole
from proxy.source import ALL_TYPES, Sources, accepts_indexes
from proxy.synthesis import Partitions
from proxy.tracing.spans import serves
from proxy.upstream import RefusedError, Reply, UpstreamError
from twodfs.errors import FormatError, NothingSelectedError, PartitionError, TooManyLayersError
from twodfs.oci import Document

_REQUEST_ID: Final = "X-Request-Id"
_NOT_FOUND: Final = 404
_OUR_FAULT: Final = 500
_BLOB_TYPE: Final = "application/octet-stream"
_RANGE: Final = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


class Handlers:
    """Answers every request that reaches the public listener."""

    def __init__(
        self, relay: Relay, sources: Sources, partitions: Partitions, origins: Origins, accounts: Accounts
    ) -> None:
        self._relay = relay
        self._sources = sources
        self._partitions = partitions
        self._origins = origins
        self._accounts = accounts
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def finish(self, seconds: float) -> None:
        """Wait until no request is running, at most ``seconds``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()

    @property
    def in_flight(self) -> int:
        """How many requests are being answered."""
        return self._running

    @serves
    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer ``request`` and log one line about it, also when the client leaves before its answer."""
        started = time.perf_counter()
        request_id = bind_request_id(request.headers.get(_REQUEST_ID))
        routed, status = None, CLIENT_GONE
        self._running += 1
        self._idle.clear()
        try:
            target = origin_form(request.raw_path)
            routed = route(request.method, target)
            response = await self._answer(request, target, routed)
            status = response.status
        except Exception as error:  # noqa: BLE001 - the last line of defence: an error document, never a traceback
            response = _explain(error, self._origins, request)
            response.headers[_REQUEST_ID] = request_id
            status = response.status
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()
            self._accounts.close(request, routed, status, time.perf_counter() - started)
        return response

    async def _answer(self, request: web.BaseRequest, target: str, routed: Request) -> web.StreamResponse:
        if request.body_exists and isinstance(routed, PartitionPull | ContentPull):
            # A body can be passed on once, and these may ask the registry twice. No client sends one.
            return await self._relay.forward(request, target)
        match routed:
            case PartitionPull():
                return await self._pull_partition(request, target, routed)
            case ContentPull():
                return await self._pull_content(request, target, routed)
            case ManifestWrite(repository):
                self._sources.forget(repository)
                try:
                    return await self._relay.forward(request, target)
                finally:
                    self._sources.forget(repository)
            case Other():
                return await self._relay.forward(request, target)

    async def _pull_partition(
        self, request: web.BaseRequest, target: str, pull: PartitionPull
    ) -> web.StreamResponse:
        identity = Identity.of(request.headers)
        accept = ", ".join(request.headers.getall(hdrs.ACCEPT, ()))
        for reading in pull.readings:
            source = await self._sources.resolve(pull.repository, reading.base, identity, accept)
            if source is None:
                continue
            made = await self._partitions.get(source, Recipe(source.digest, reading.selection()), identity)
            if made is not None:
                response = _manifest(made.top, request)
                count_spared(made, made.root, request, response)
                return response
        # The tag merely looks like a partition, so it is passed on literally.
        if accepts_indexes(accept):
            return await self._relay.forward(request, target)
        answer = await self._relay.forward_unless(_NOT_FOUND, request, target)
        if answer is not None:
            return answer
        # A client that takes no index hears of the partition what the registry says of the source image, but
        # where the registry gives it the image, that has no such partition.
        base = pull.readings[0].base
        if await self._sources.resolve(pull.repository, base, identity, accept) is not None:
            return await self._relay.forward(request, target)
        known = await self._sources.resolve(pull.repository, base, identity, ALL_TYPES)
        source_target = f"/v2/{pull.repository}/manifests/{base}"
        return await self._relay.forward(request, target if known is None else source_target)

    async def _pull_content(
        self, request: web.BaseRequest, target: str, pull: ContentPull
    ) -> web.StreamResponse:
        answer = await self._relay.forward_unless(_NOT_FOUND, request, target)
        if answer is not None:
            return answer
        identity = Identity.of(request.headers)
        made = await self._partitions.find(pull.repository, pull.digest, identity)
        if made is None:
            return await self._relay.forward(request, target)
        document = made.documents[pull.digest]
        response = _manifest(document, request) if pull.is_manifest else _blob(document, request)
        count_spared(made, pull.digest, request, response)
        return response


def _manifest(document: Document, request: web.BaseRequest) -> web.StreamResponse:
    return _unless_held(request, document, _headers(document, document.media_type))


def _blob(document: Document, request: web.BaseRequest) -> web.StreamResponse:
    headers = _headers(document, _BLOB_TYPE)
    headers[hdrs.ACCEPT_RANGES] = "bytes"
    asked = byte_range(request.headers.get(hdrs.RANGE, ""), len(document.body))
    if asked is None or request.method == hdrs.METH_HEAD:
        return _unless_held(request, document, headers)
    if asked.start >= len(document.body):
        body = oci_errors("RANGE_INVALID", f"the blob has {len(document.body)} bytes, none in this range")
        return whole(416, body, JSON, {hdrs.CONTENT_RANGE: f"bytes */{len(document.body)}"})
    part = document.body[asked.start : asked.stop]
    headers[hdrs.CONTENT_RANGE] = f"bytes {asked.start}-{asked.stop - 1}/{len(document.body)}"
    headers[hdrs.CONTENT_LENGTH] = str(len(part))
    return WholeResponse(status=206, headers=headers, body=part)


def _headers(document: Document, content_type: str) -> CIMultiDict[str]:
    return CIMultiDict(
        {
            hdrs.CONTENT_TYPE: content_type,
            hdrs.CONTENT_LENGTH: str(len(document.body)),
            "Docker-Content-Digest": document.digest,
            "Docker-Distribution-Api-Version": "registry/2.0",
            hdrs.ETAG: f'"{document.digest}"',
        }
    )


def _unless_held(
    request: web.BaseRequest, document: Document, headers: CIMultiDict[str]
) -> web.StreamResponse:
    """Return the document, or 304 to a client that names it in ``If-None-Match`` (RFC 9110, 13.1.2)."""
    held = {tag.strip().removeprefix("W/") for tag in request.headers.get(hdrs.IF_NONE_MATCH, "").split(",")}
    if held & {headers[hdrs.ETAG], "*"}:
        del headers[hdrs.CONTENT_LENGTH], headers[hdrs.CONTENT_TYPE]
        return WholeResponse(status=304, headers=headers, body=b"")
    return WholeResponse(status=200, headers=headers, body=document.body)


def byte_range(header: str, size: int) -> range | None:
    """Return the bytes that a ``Range`` header of one range asks for (RFC 9110, 14.1.2).

    None: no range, several, or not understood: the whole is sent, as the RFC allows. A range that starts at
    or behind ``size`` cannot be satisfied.
    """
    match = _RANGE.fullmatch(header)
    if match is None:
        return None
    first, last = match.groups()
    if not first:
        suffix = int(last) if last else 0
        return range(max(0, size - suffix), size) if suffix else range(size, size)
    stop = min(int(last) + 1, size) if last else size
    return None if last and int(last) < int(first) else range(int(first), max(stop, int(first)))


def _explain(error: Exception, origins: Origins, request: web.BaseRequest) -> web.StreamResponse:
    """Return the answer to a request that failed: the upstream's own words, or a sentence that helps."""
    if isinstance(error, RefusedError):
        return _as_it_came(error.reply, origins, request)
    status, code, message = _verdict(error)
    if status == _OUR_FAULT:
        get_logger().error("request failed", exc_info=error, path=request.path)
    response = whole(status, oci_errors(code, message), JSON)
    if isinstance(error, BodyError):
        response.force_close()  # where its body ends, and the next request begins, nobody can tell
    return response


def _verdict(error: Exception) -> tuple[int, str, str]:
    """Return status, code (distribution-spec, "Error Codes") and message for ``error``."""
    match error:
        case UpstreamError(status=status):
            verdict = status, "MANIFEST_UNKNOWN" if status == _NOT_FOUND else "UNAVAILABLE", str(error)
        case NothingSelectedError():
            verdict = _NOT_FOUND, "MANIFEST_UNKNOWN", str(error)
        case TooManyLayersError():
            verdict = 400, "MANIFEST_INVALID", str(error)
        case PartitionError():
            verdict = 400, "TAG_INVALID", str(error)
        case TargetError() | BodyError():
            verdict = 400, "UNSUPPORTED", str(error)
        case FormatError():
            verdict = 400, "MANIFEST_INVALID", f"the image in the registry is malformed: {error}"
        case _:
            verdict = _OUR_FAULT, "UNKNOWN", "the proxy failed on this request; its log has the reason"
    return verdict


def _as_it_came(reply: Reply, origins: Origins, request: web.BaseRequest) -> web.StreamResponse:
    headers = origins.forwarded_response(reply.headers, request)
    if request.method != hdrs.METH_HEAD:
        headers[hdrs.CONTENT_LENGTH] = str(len(reply.body))
    return WholeResponse(status=reply.status, reason=reply.reason, headers=headers, body=reply.body)
