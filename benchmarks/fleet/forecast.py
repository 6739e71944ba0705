"""From what was measured to what a fleet needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

BUSY = 0.7
"""Share of a core that a forecast lets a process use; the rest is for peaks and for what was not measured."""
WITHIN = (10, 30, 60, 300)


@dataclass(frozen=True, slots=True)
class Need:
    """What it takes to serve `nodes` pulls within `seconds`. A proxy process uses one core."""

    nodes: int
    seconds: int
    pulls_per_second: float
    proxy_processes: int
    registry_requests_per_second: float
    registry_cores: float


def forecast(
    nodes: int, *, proxy_cpu: float, registry_requests: float, registry_cpu: float
) -> Iterator[dict[str, Any]]:
    """Yield the needs for some durations.

    Processor time is what runs out first, so cores = pulls a second x seconds of processor time for each.
    It grows somewhat with how many pulls are under way; the caller gives the dearest that was measured.

    Args:
        nodes: pulls.
        proxy_cpu: seconds of processor time of the proxy for a pull.
        registry_requests: requests to the registry for a pull.
        registry_cpu: seconds of processor time of the registry for a request.
    """
    for seconds in WITHIN:
        rate = nodes / seconds
        yield asdict(
            Need(
                nodes=nodes,
                seconds=seconds,
                pulls_per_second=round(rate, 1),
                proxy_processes=ceil(rate * proxy_cpu / BUSY),
                registry_requests_per_second=round(rate * registry_requests, 1),
                registry_cores=round(rate * registry_requests * registry_cpu / BUSY, 2),
            )
        )
