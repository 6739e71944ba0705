"""Pass-through: a request upstream and its answer back, streamed both ways, byte for byte."""

from __future__ import annotations

import contextlib
from http import HTTPStatus

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict

from proxy.bodies.transit import AnswerBody, Bodies, RequestBody
from proxy.handlers.exchange import Answer, Call
from proxy.handlers.headers import LocationRewriter, forwarded_request
from proxy.requests.kinds import RegistryRequest
from proxy.upstream.errors import describe
from proxy.upstream.registry import UpstreamRegistry
from proxy.upstream.replies import MAX_REFUSAL, HeldWriteError, Reply, UpstreamError, read
from proxy.wire.responses import expects_continue


class BodyError(Exception):
    """The client's request body is malformed; nothing was sent to the client yet."""


class BodyTooLongError(Exception):
    """The client's request body is longer than it may be; nothing was sent to the client yet."""


class Relay:
    """Passes requests on to one upstream, and opens its answers."""

    def __init__(self, upstream: UpstreamRegistry, locations: LocationRewriter, bodies: Bodies) -> None:
        self._upstream = upstream
        self._locations = locations
        self._bodies = bodies

    async def answer(self, call: Call[RegistryRequest]) -> Answer:
        """Pass a request of any kind on, and return the registry's answer.

        Raises:
            UpstreamError: the registry gave no answer.
            TooManyRequestsError: all connections to it are in use.
            BodyError: the request's body is malformed.
        """
        return await self.open(call)

    async def open(
        self,
        call: Call[RegistryRequest],
        request: RegistryRequest | None = None,
        *,
        limit: int | None = None,
        held: frozenset[int] = frozenset(),
    ) -> Answer:
        """Do the same as ``answer``, in another way.

        Args:
            call: the client's; its body is streamed.
            request: the request for the registry in place of the client's.
            limit: the most bytes that its body may have; None for any number.
            held: statuses that are raised, since the request may be repeated after a remedy; the body is kept for that.

        Raises:
            HeldWriteError: the registry took all of it and answered one of ``held``, with a short body.
            BodyTooLongError: the body is longer than ``limit``.
        """
        size = call.http.content_length or 0
        if limit is not None and size > limit:
            raise BodyTooLongError(f"the body has {size} bytes; it may have {limit}")
        answer = await self._open(call, request or call.request, limit=limit, held=held)
        assert answer is not None  # noqa: S101 - only a status in `unless` gives None
        return answer

    async def open_unless(self, status: HTTPStatus, call: Call[RegistryRequest]) -> Answer | None:
        """Pass a bodiless request on; None when the registry answers ``status``."""
        return await self._open(call, call.request, unless=status)

    async def repeat(self, call: Call[RegistryRequest], body: bytes) -> Reply:
        """Make a request of the client's once more, with the body that it had.

        Raises:
            UpstreamError: the registry gave no answer.
        """
        headers = self._forwarded(call.http)
        headers.popall(hdrs.CONTENT_LENGTH, None)
        return await self._upstream.send(call.request.method, call.request.target, headers, body)

    async def _open(
        self,
        call: Call[RegistryRequest],
        request: RegistryRequest,
        *,
        unless: HTTPStatus | None = None,
        limit: int | None = None,
        held: frozenset[int] = frozenset(),
    ) -> Answer | None:
        http, idle_timeout = call.http, call.idle_timeout
        kept = bytearray() if held else None
        body = self._bodies.of_request(http, idle_timeout, limit, kept)
        try:
            async with idle_timeout, contextlib.AsyncExitStack() as opening:
                idle_timeout.for_upstream()
                answer = await opening.enter_async_context(
                    self._upstream.stream(
                        request,
                        self._forwarded(http),
                        body,
                        client=call.identity.client,
                        expect_continue=body is not None and expects_continue(http),
                    )
                )
                if answer.status == unless:
                    return None
                if kept is not None and answer.status in held and _is_whole(http, answer):
                    raise HeldWriteError(await read(answer, MAX_REFUSAL, None), bytes(kept))
                headers = self._locations.forwarded_response(answer.headers, http)
                return Answer(
                    answer.status,
                    headers,
                    AnswerBody(self._bodies, answer, opening.pop_all()),
                    reason=answer.reason or "",
                    is_relayed=True,
                    # The client waits for a 100 that never comes; its next bytes may still be body.
                    ends_connection=body is not None and not body.is_begun,
                )
        except TimeoutError:
            raise self._silence(idle_timeout.waiting_for) from None
        except (UpstreamError, aiohttp.ClientError, OSError) as error:
            raise _reason(error, http, body, limit) from None

    def _forwarded(self, http: web.BaseRequest) -> CIMultiDict[str]:
        return forwarded_request(http.headers, is_trusted=self._locations.clients.is_trusted(http))

    def _silence(self, waiting_for: str) -> UpstreamError:
        if waiting_for == "client":
            return UpstreamError("the request's body did not arrive in time", status=HTTPStatus.REQUEST_TIMEOUT)
        return UpstreamError(
            f"the registry at {self._upstream.url} does not answer in time", status=HTTPStatus.GATEWAY_TIMEOUT
        )


def _is_whole(http: web.BaseRequest, answer: aiohttp.ClientResponse) -> bool:
    """Say whether a request was sent to its end, and its answer is small, as for an accepted one."""
    length = answer.content_length
    is_small = answer.ok if length is None else length <= MAX_REFUSAL
    return http.content.is_eof() and is_small


def _reason(error: Exception, http: web.BaseRequest, body: RequestBody | None, limit: int | None) -> Exception:
    """Return why there is no answer: a malformed request body fails the request upstream as well."""
    if body is not None and body.is_too_long:
        return BodyTooLongError(f"the body is longer than {limit} bytes")
    if http.content.exception() is not None:
        return BodyError("the request's body is not framed as RFC 9112 has it")
    if isinstance(error, UpstreamError):
        return error
    return UpstreamError(f"the transfer broke off: {describe(error)}")
