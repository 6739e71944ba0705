"""Pass-through: a request upstream and its answer back, streamed both ways, byte for byte."""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict

from proxy.bodies.idle_timeout import IdleTimeout
from proxy.bodies.transit import Bodies, RequestBody
from proxy.handlers.headers import LocationRewriter, forwarded_request
from proxy.logs import get_logger
from proxy.metrics.catalogue import BROKEN_TRANSFERS
from proxy.upstream.errors import describe
from proxy.upstream.replies import MAX_REFUSAL, HeldWriteError, Reply, UpstreamError, read
from proxy.upstream.upstream import Upstream
from proxy.wire.responses import RelayedResponse, expects_continue, hang_up


class BodyError(Exception):
    """The client's request body is malformed; nothing was sent to the client yet."""


class BodyTooLongError(Exception):
    """The client's request body is longer than it may be; nothing was sent to the client yet."""


class Relay:
    """Passes requests on to one upstream."""

    def __init__(
        self,
        upstream: Upstream,
        locations: LocationRewriter,
        bodies: Bodies,
        *,
        client_timeout: float,
        upstream_timeout: float,
    ) -> None:
        """Timeouts are seconds of silence."""
        self._upstream = upstream
        self._locations = locations
        self._bodies = bodies
        self._client_timeout = client_timeout
        self._upstream_timeout = upstream_timeout

    async def forward(
        self,
        request: web.BaseRequest,
        target: str,
        *,
        limit: int | None = None,
        held: frozenset[int] = frozenset(),
    ) -> web.StreamResponse:
        """Pass ``request`` on, whatever it is, and return the answer after it was sent.

        Args:
            request: the client's; its body is streamed.
            target: what to ask the registry for, in origin-form.
            limit: the most bytes that its body may have; None for any number.
            held: statuses that are raised, as what may be mended or asks for more; the body is kept for that.

        Raises:
            HeldWriteError: the registry heard all of it and answered one of ``held``, in few words.
            UpstreamError: the registry gave no answer; nothing was sent to the client.
            BodyTooLongError: the body is longer than ``limit``.
        """
        if limit is not None and (request.content_length or 0) > limit:
            raise BodyTooLongError(f"the body has {request.content_length} bytes; it may have {limit}")
        answer = await self._exchange(request, target, limit=limit, held=held)
        assert answer is not None  # noqa: S101 - only a status in `unless` gives None
        return answer

    async def repeat(self, request: web.BaseRequest, target: str, body: bytes) -> Reply:
        """Make a request of the client's once more, with the body that it had.

        Raises:
            UpstreamError: the registry gave no answer.
        """
        headers = self._forwarded(request)
        headers.popall(hdrs.CONTENT_LENGTH, None)
        return await self._upstream.send(request.method, target, headers, body)

    async def forward_unless(self, status: int, request: web.BaseRequest, target: str) -> web.StreamResponse | None:
        """Pass a bodiless request on; None, with nothing sent, when the registry answers ``status``."""
        return await self._exchange(request, target, unless=status)

    async def _exchange(
        self,
        request: web.BaseRequest,
        target: str,
        *,
        unless: int | None = None,
        limit: int | None = None,
        held: frozenset[int] = frozenset(),
    ) -> web.StreamResponse | None:
        response: RelayedResponse | None = None
        kept = bytearray() if held else None
        body: RequestBody | None = None
        try:
            async with asyncio.timeout(None) as deadline:
                idle_timeout = IdleTimeout(deadline, client=self._client_timeout, upstream=self._upstream_timeout)
                idle_timeout.for_upstream()
                body = self._bodies.of_request(request, idle_timeout, limit, kept)
                async with self._upstream.stream(
                    request.method,
                    target,
                    self._forwarded(request),
                    body,
                    client=self._locations.clients.rate_limit_key(request),
                    expect_continue=body is not None and expects_continue(request),
                ) as answer:
                    if answer.status == unless:
                        return None
                    if kept is not None and answer.status in held and _is_whole(request, answer):
                        raise HeldWriteError(await read(answer, MAX_REFUSAL, None), bytes(kept))
                    response = self._begin(answer, request)
                    if body is not None and not body.is_begun:
                        # The client waits for a 100 that never comes; what it sends next may be body still.
                        response.force_close()
                    await self._bodies.pass_on(answer, response, request, idle_timeout)
        except TimeoutError:
            if response is None:
                raise self._silence(idle_timeout.waiting_for) from None
            BROKEN_TRANSFERS.of(idle_timeout.waiting_for).add()
            get_logger().warning("transfer stalled", path=request.path, waiting_for=idle_timeout.waiting_for)
            hang_up(request, at_once=True)
        except (UpstreamError, aiohttp.ClientError, OSError) as error:
            if response is None and body is not None and body.is_too_long:
                raise BodyTooLongError(f"the body is longer than {limit} bytes") from None
            if response is None:
                raise _reason(error, request) from None
            # The client hung up, or the registry broke off in the middle of a body. A short body must not
            # look whole, so the connection ends with it.
            BROKEN_TRANSFERS.of("short" if isinstance(error, aiohttp.ClientPayloadError) else "broke_off").add()
            reason = describe(error)
            get_logger().warning("transfer broke off", path=request.path, reason=reason)
            hang_up(request, at_once=False)
        return response

    def _forwarded(self, request: web.BaseRequest) -> CIMultiDict[str]:
        return forwarded_request(request.headers, is_trusted=self._locations.clients.is_trusted(request))

    def _silence(self, waiting_for: str) -> UpstreamError:
        if waiting_for == "client":
            return UpstreamError("the request's body did not arrive in time", status=408)
        return UpstreamError(f"the registry at {self._upstream.url} does not answer in time", status=504)

    def _begin(self, answer: aiohttp.ClientResponse, request: web.BaseRequest) -> RelayedResponse:
        headers = self._locations.forwarded_response(answer.headers, request)
        return RelayedResponse(status=answer.status, reason=answer.reason or "", headers=headers)


def _is_whole(request: web.BaseRequest, answer: aiohttp.ClientResponse) -> bool:
    """Say whether a request was sent to its end, and its answer is small, as that to what was taken is."""
    length = answer.content_length
    is_small = answer.ok if length is None else length <= MAX_REFUSAL
    return request.content.is_eof() and is_small


def _reason(error: Exception, request: web.BaseRequest) -> Exception:
    """Return why there is no answer: a malformed request body fails the request upstream as well."""
    if request.content.exception() is not None:
        return BodyError("the request's body is not framed as RFC 9112 has it")
    if isinstance(error, UpstreamError):
        return error
    return UpstreamError(f"the transfer broke off: {describe(error)}")
