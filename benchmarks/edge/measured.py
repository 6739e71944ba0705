"""One server in one round: how fast it handed out blobs, and what that cost it."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.peers import Json, cpu_seconds
from tests.lab import command
from tests.lab.process import Server
from tests.lab.programs import environment

_READER: Final = Path(__file__).parent.parent / "blobs" / "reader.py"
_SECONDS: Final = 300


@dataclass(frozen=True, slots=True)
class Sample:
    mb_per_second: float
    cpu_per_gib: float


def measure(server: Server, address: str, targets: Sequence[str], streams: int, mebibytes: int = 0) -> Sample:
    """Read so many mebibytes from ``server``, the targets in turn; without a number, each of them once."""
    before = cpu_seconds(server)
    script = (sys.executable, str(_READER), address, ",".join(targets), str(streams), str(mebibytes))
    seen = json.loads(command.run(script, environment(), seconds=_SECONDS))
    used = cpu_seconds(server) - before
    return Sample(seen["bytes"] / 1e6 / seen["seconds"], used / (seen["bytes"] / 2**30))


def in_turn(node: Callable[[], Sample], nginx: Callable[[], Sample], number: int) -> tuple[Sample, Sample]:
    """Measure both, in round ``number``: none is always the first."""
    if number % 2:
        last = nginx()
        return node(), last
    return node(), nginx()


def beside(rounds: Sequence[tuple[Sample, Sample]]) -> Json:
    """Return medians of the node's and nginx's samples, and of each round's ratio of the node to nginx."""

    def median(values: Sequence[float]) -> float:
        return round(statistics.median(values), 3)

    return {
        "node_mb_per_second": median([node.mb_per_second for node, _ in rounds]),
        "nginx_mb_per_second": median([nginx.mb_per_second for _, nginx in rounds]),
        "throughput_ratio": median([node.mb_per_second / nginx.mb_per_second for node, nginx in rounds]),
        "node_cpu_s_per_gib": median([node.cpu_per_gib for node, _ in rounds]),
        "nginx_cpu_s_per_gib": median([nginx.cpu_per_gib for _, nginx in rounds]),
        "cpu_ratio": median([node.cpu_per_gib / nginx.cpu_per_gib for node, nginx in rounds]),
    }
