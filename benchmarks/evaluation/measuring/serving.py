"""What a span of pulls costs the servers that it comes from: bytes of the registry, processor time of each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from benchmarks.peers import cpu_seconds
from tests.lab.process import Server
from tests.lab.registry import Registry

_SETTLED: Final = 0.02
"""Seconds in which the registry writes down what it has just sent."""


class Serving:
    """``with Serving(registry, proxies) as served: ...``; afterwards its attributes say what was used."""

    def __init__(self, registry: Registry, proxies: Sequence[Server] = ()) -> None:
        self._registry = registry
        self._proxies = proxies
        self._begun = 0
        self.seconds = 0.0
        self.bytes = 0
        """Of bodies that the registry sent."""
        self.registry_cpu_seconds = 0.0
        self.proxy_cpu_seconds = 0.0

    def __enter__(self) -> Self:
        self._begun = self._registry.log.stat().st_size
        self.registry_cpu_seconds = -cpu_seconds(self._registry)
        self.proxy_cpu_seconds = -sum(map(cpu_seconds, self._proxies))
        self.seconds = -time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds += time.perf_counter()
        before = -1
        while before != (now := self._registry.log.stat().st_size):
            before = now
            time.sleep(_SETTLED)
        self.registry_cpu_seconds += cpu_seconds(self._registry)
        self.proxy_cpu_seconds += sum(map(cpu_seconds, self._proxies))
        self.bytes = sum(request.size for request in self._registry.requests(since=self._begun))

    def measures(self) -> dict[str, float]:
        """Return all of it by the names of measures; the proxies' processor time where there are any."""
        of_proxies = {"proxy_cpu_seconds": self.proxy_cpu_seconds} if self._proxies else {}
        return {
            "seconds": self.seconds,
            "bytes": self.bytes,
            "bytes_per_second": self.bytes / self.seconds,
            "registry_cpu_seconds": self.registry_cpu_seconds,
            **of_proxies,
        }
