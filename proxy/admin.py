"""Health and metrics, on a listener of its own.

``/healthz``: the event loop turns. ``/readyz``: requests are welcome: the proxy is not shutting down and the
registry answers, or this is an edge node, which is there for when it does not. Redis is reported but never
makes the proxy unready: pulls go on without it. ``/metrics``: the text that Prometheus reads.
``/edge/prefetch``: orders of an edge node, see ``proxy.prefetch``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import orjson
from aiohttp import hdrs, web
from multidict import CIMultiDict

from proxy.auth.identity import Identity
from proxy.metrics.exposition import render
from proxy.metrics.instruments import Snapshot
from proxy.upstream.registry import UpstreamRegistry
from proxy.upstream.replies import UpstreamError

if TYPE_CHECKING:
    from proxy.prefetch.endpoint import PrefetchEndpoint
    from proxy.store.redis import RedisStore

_TIMEOUT: Final = 2.0
_REMEMBERED: Final = 1.0
"""Seconds: probes of many kinds must not become load on the registry."""
_ANONYMOUS: Final = Identity.of(CIMultiDict())

Report = tuple[bool, dict[str, str]]
"""Whether all is well, and the message that says so."""


@dataclass(frozen=True, slots=True)
class Admin:
    """The answers of the admin listener: from this process, or from its workers."""

    live: Callable[[], Awaitable[Report]]
    ready: Callable[[], Awaitable[Report]]
    state: Callable[[], Awaitable[Snapshot]]
    prefetch: PrefetchEndpoint | None = None
    """Of an edge node."""

    def application(self) -> web.Application:
        """Return the application of the admin listener."""
        application = web.Application()
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/metrics", self._metrics)
        if self.prefetch is not None:
            self.prefetch.add_to(application)
        return application

    async def _healthz(self, _: web.Request) -> web.Response:
        return _json(*await self.live())

    async def _readyz(self, _: web.Request) -> web.Response:
        return _json(*await self.ready())

    async def _metrics(self, request: web.Request) -> web.Response:
        accept = ",".join(request.headers.getall(hdrs.ACCEPT, ()))
        body, content_type = await asyncio.to_thread(render, await self.state(), accept)
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})


class ServiceHealth:
    """How this process is."""

    def __init__(self, upstream: UpstreamRegistry, redis: RedisStore | None, *, is_edge: bool = False) -> None:
        """``is_edge``: requests are welcome also while the registry does not answer."""
        self._upstream = upstream
        self._redis = redis
        self._is_edge = is_edge
        self._problem: str | None = None
        self._asked_at = -_REMEMBERED
        self._asking = asyncio.Lock()
        self.is_stopping = False

    async def live(self) -> Report:
        """Say that the loop turns."""
        return True, {"status": "ok"}

    async def ready(self) -> Report:
        """Say whether requests are welcome."""
        problem = "the proxy is shutting down" if self.is_stopping else await self._upstream_problem()
        is_ready = problem is None or (self._is_edge and not self.is_stopping)
        redis = "off" if self._redis is None else ("ok" if self._redis.is_available else "unavailable")
        document = {"status": "ready" if is_ready else "unready", "upstream": problem or "ok", "redis": redis}
        return is_ready, document

    async def _upstream_problem(self) -> str | None:
        async with self._asking:
            if time.monotonic() - self._asked_at >= _REMEMBERED:
                self._problem = await self._ask_upstream()
                self._asked_at = time.monotonic()
        return self._problem

    async def _ask_upstream(self) -> str | None:
        """Any answer will do, 401 too: it is a registry that wants credentials.

        Of several origins, a single healthy one suffices; the background probes know.
        """
        origins = self._upstream.origins.all
        if len(origins) > 1:
            is_any_well = any(one.is_up and one.has_answered for one in origins)
            return None if is_any_well else f"none of the registries at {self._upstream.url} answers"
        try:
            async with asyncio.timeout(_TIMEOUT):
                reply = await self._upstream.head("/v2/", _ANONYMOUS, "*/*")
        except TimeoutError:
            return f"the registry at {self._upstream.url} does not answer within {_TIMEOUT:g} s"
        except UpstreamError as error:
            return str(error)
        is_failing = reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        return f"the registry answers {reply.status}" if is_failing else None


def _json(is_well: bool, document: dict[str, str]) -> web.Response:  # noqa: FBT001 - the two parts of a Report
    return web.Response(
        status=HTTPStatus.OK if is_well else HTTPStatus.SERVICE_UNAVAILABLE,
        body=orjson.dumps(document),
        content_type="application/json",
    )
