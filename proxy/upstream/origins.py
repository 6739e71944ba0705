"""Several origins of one registry: which is asked first, and which are left alone for a while.

An origin that takes no connection is down; it is then left alone for a second, after each further failure for
twice as long, up to half a minute. Then a probe asks ``HEAD /v2/`` of it, and any answer below 500 brings it
back. Healthy ones are probed too, so an origin that takes connections but answers 5xx is found. When all are
down, requests try them all the same.

The origins are addresses of one registry: one storage, one ``http.secret``, one set of users. An upload that was
begun at one may then go on at any other.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

from proxy.logs import bind_upstream, get_logger
from proxy.metrics.catalogue import BREAKER_OPEN, UPSTREAM_UP
from proxy.repository import DEFAULT_UPSTREAM

_SHORTEST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0
_PROBED_EVERY: Final = 5.0
"""Seconds between probes of an origin that is up."""
_TICK: Final = 0.25

Probe = Callable[["Origin"], Awaitable[bool]]
"""Asks an origin whether it is well; bounded in time, raises nothing."""


@dataclass(slots=True, eq=False)
class Origin:
    """One address of the registry, and how it is."""

    url: str
    is_up: bool = True
    has_answered: bool = False
    pause: float = 0.0
    probe_at: float = 0.0
    """On the monotonic clock."""


class OriginPool:
    """The origins, in the order of the configuration."""

    def __init__(
        self,
        urls: Sequence[str],
        balance: Literal["failover", "round-robin"] = "failover",
        name: str = DEFAULT_UPSTREAM,
    ) -> None:
        """``urls``: at least one; ``name``: the registry's, as ``Repository.upstream`` has it."""
        self._name = name
        self.all = tuple(map(Origin, urls))
        self._up = self.all
        self._is_rotating = balance == "round-robin"
        self._turn = 0

    def order(self) -> tuple[Origin, ...]:
        """Return the origins that a request tries, one after the other: the healthy ones, or else all."""
        up = self._up
        if not self._is_rotating or len(up) == 1:
            return up
        self._turn += 1
        at = self._turn % len(up)
        return up[at:] + up[:at]

    def failed(self, origin: Origin, reason: str) -> None:
        """Leave ``origin`` alone for a while. Failures of requests that were under way count once."""
        now = time.monotonic()
        if not origin.is_up and now < origin.probe_at:
            return
        if origin.is_up:
            get_logger().warning("registry down", origin=origin.url, reason=reason)
        origin.is_up = False
        origin.pause = min(max(origin.pause * 2, _SHORTEST_PAUSE), _LONGEST_PAUSE)
        origin.probe_at = now + origin.pause
        self._sort()

    def answered(self, origin: Origin) -> None:
        """Ask ``origin`` again from now on."""
        origin.has_answered = True
        if origin.is_up:
            return
        get_logger().info("registry up", origin=origin.url)
        origin.is_up = True
        origin.pause = 0.0
        self._sort()

    def _sort(self) -> None:
        self._up = tuple(one for one in self.all if one.is_up) or self.all

    @contextlib.contextmanager
    def measured(self) -> Iterator[None]:
        """Let the metrics see the origins for the time of the context."""
        with contextlib.ExitStack() as stack:
            for index, origin in enumerate(self.all):
                stack.enter_context(UPSTREAM_UP.read_from(partial(_is_up, origin), str(index), self._name))
                if len(self.all) > 1:  # a single one is always asked
                    is_down = partial(_is_down, origin)
                    stack.enter_context(BREAKER_OPEN.read_from(is_down, f"upstream-{index}", self._name))
            yield

    @contextlib.asynccontextmanager
    async def watched(self, probe: Probe) -> AsyncIterator[None]:
        """Probe the origins in the background for the time of the context; a single one is not probed."""
        if len(self.all) == 1:
            yield
            return
        async with asyncio.TaskGroup() as group:
            watchers = [group.create_task(self._watch(origin, probe)) for origin in self.all]
            try:
                yield
            finally:
                for watcher in watchers:
                    watcher.cancel()

    async def _watch(self, origin: Origin, probe: Probe) -> None:
        bind_upstream(self._name)
        while True:
            if time.monotonic() >= origin.probe_at:
                if await probe(origin):
                    origin.probe_at = time.monotonic() + _PROBED_EVERY
                    self.answered(origin)
                else:
                    self.failed(origin, "the probe was not answered")
            await asyncio.sleep(_TICK)


def _is_up(origin: Origin) -> bool:
    return origin.is_up


def _is_down(origin: Origin) -> bool:
    return not origin.is_up
