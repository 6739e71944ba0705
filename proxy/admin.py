"""Health and metrics, on a listener of its own.

``/healthz``: the event loop turns. ``/readyz``: requests are welcome: the proxy is not shutting down and the
registry answers (of several: those of ``ready_when``), or this is an edge node, which is there for when it does
not. Redis is reported but never makes the proxy unready: pulls go on without it.
``/metrics``: the text that Prometheus reads.
``/edge/prefetch``: orders of an edge node, see ``proxy.prefetch``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import hdrs, web

from proxy.metrics.exposition import render
from proxy.metrics.instruments import Snapshot
from proxy.readiness import Readiness
from proxy.repository import DEFAULT_UPSTREAM

if TYPE_CHECKING:
    from proxy.prefetch.endpoint import PrefetchEndpoint
    from proxy.store.redis import RedisStore

Report = tuple[bool, dict[str, Any]]
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

    def __init__(
        self, readiness: Readiness, redis: RedisStore | None, *, names: Sequence[str] = (), is_edge: bool = False
    ) -> None:
        """Tell of this process.

        Args:
            readiness: whether enough registries answer.
            redis: None where none is configured.
            names: of the registries, for people, the default one first.
            is_edge: requests are welcome also while no registry answers.
        """
        self._readiness = readiness
        self._redis = redis
        self._names = names
        self._is_edge = is_edge
        self.is_stopping = False

    async def live(self) -> Report:
        """Say that the loop turns."""
        return True, {"status": "ok"}

    async def ready(self) -> Report:
        """Say whether requests are welcome."""
        redis = "off" if self._redis is None else ("ok" if self._redis.is_available else "unavailable")
        is_ready = not self.is_stopping and (await self._readiness.is_given() or self._is_edge)
        problems = self._readiness.problems
        problem = "the proxy is shutting down" if self.is_stopping else problems[DEFAULT_UPSTREAM]
        document: dict[str, Any] = {
            "status": "ready" if is_ready else "unready",
            "upstream": problem or "ok",
            "redis": redis,
        }
        if len(problems) > 1:
            shown = (problem or "ok" for problem in problems.values())
            document["upstreams"] = dict(zip(self._names, shown, strict=True))
        return is_ready, document


def _json(is_well: bool, document: dict[str, Any]) -> web.Response:  # noqa: FBT001 - the two parts of a Report
    return web.Response(
        status=HTTPStatus.OK if is_well else HTTPStatus.SERVICE_UNAVAILABLE,
        body=orjson.dumps(document),
        content_type="application/json",
    )
