"""Pass-through: a request upstream and its answer back, streamed both ways, byte for byte."""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp import web

from proxy.bodies import Bodies
from proxy.headers import Origins, forwarded_request
from proxy.logs import get_logger
from proxy.server import Patience, RelayedResponse, expects_continue, hang_up
from proxy.upstream import Upstream, UpstreamError


class BodyError(Exception):
    """The client's request body is malformed; nothing was sent to the client yet."""


class Relay:
    """Passes requests on to one upstream."""

    def __init__(
        self,
        upstream: Upstream,
        origins: Origins,
        bodies: Bodies,
        *,
        client_timeout: float,
        upstream_timeout: float,
    ) -> None:
        """Timeouts are seconds of silence."""
        self._upstream = upstream
        self._origins = origins
        self._bodies = bodies
        self._client_timeout = client_timeout
        self._upstream_timeout = upstream_timeout

    async def forward(self, request: web.BaseRequest, target: str) -> web.StreamResponse:
        """Pass ``request`` on, whatever it is, and return the answer after it was sent.

        Args:
            request: the client's; its body is streamed.
            target: what to ask the registry for, in origin-form.

        Raises:
            UpstreamError: the registry gave no answer; nothing was sent to the client.
        """
        answer = await self._exchange(request, target, unless=None)
        assert answer is not None  # noqa: S101 - only a status in `unless` gives None
        return answer

    async def forward_unless(
        self, status: int, request: web.BaseRequest, target: str
    ) -> web.StreamResponse | None:
        """Pass a bodiless request on; None, with nothing sent, when the registry answers ``status``."""
        return await self._exchange(request, target, unless=status)

    async def _exchange(
        self, request: web.BaseRequest, target: str, *, unless: int | None
    ) -> web.StreamResponse | None:
        response: RelayedResponse | None = None
        try:
            async with asyncio.timeout(None) as limit:
                patience = Patience(limit, client=self._client_timeout, upstream=self._upstream_timeout)
                patience.for_upstream()
                body = self._bodies.of_request(request, patience)
                async with self._upstream.stream(
                    request.method,
                    target,
                    forwarded_request(request.headers),
                    body,
                    expect_continue=body is not None and expects_continue(request),
                ) as answer:
                    if answer.status == unless:
                        return None
                    response = self._begin(answer, request)
                    if body is not None and not body.is_begun:
                        # The client waits for a 100 that never comes; what it sends next may be body still.
                        response.force_close()
                    await self._bodies.pass_on(answer, response, request, patience)
        except TimeoutError:
            if response is None:
                raise _silence(patience.waiting_for, self._upstream.url) from None
            get_logger().warning("transfer stalled", path=request.path, waiting_for=patience.waiting_for)
            hang_up(request, at_once=True)
        except (UpstreamError, aiohttp.ClientError, OSError) as error:
            if response is None:
                raise _reason(error, request) from None
            # The client hung up, or the registry broke off in the middle of a body. A short body must not
            # look whole, so the connection ends with it.
            reason = str(error) or type(error).__name__
            get_logger().warning("transfer broke off", path=request.path, reason=reason)
            hang_up(request, at_once=False)
        return response

    def _begin(self, answer: aiohttp.ClientResponse, request: web.BaseRequest) -> RelayedResponse:
        headers = self._origins.forwarded_response(answer.headers, request)
        return RelayedResponse(status=answer.status, reason=answer.reason or "", headers=headers)


def _reason(error: Exception, request: web.BaseRequest) -> Exception:
    """Return why there is no answer: a malformed request body fails the request upstream as well."""
    if request.content.exception() is not None:
        return BodyError("the request's body is not framed as RFC 9112 has it")
    if isinstance(error, UpstreamError):
        return error
    return UpstreamError(f"the transfer broke off: {error or type(error).__name__}")


def _silence(waiting_for: str, upstream: str) -> UpstreamError:
    if waiting_for == "client":
        return UpstreamError("the request's body did not arrive in time", status=408)
    return UpstreamError(f"the registry at {upstream} does not answer in time", status=504)
