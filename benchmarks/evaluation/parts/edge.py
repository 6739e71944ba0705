"""Beyond the papers: a site of devices at the end of a thin line, with an edge node and without."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

from benchmarks.edge.site import MEGABITS, REPOSITORY, Far, Supply
from benchmarks.evaluation.measuring.bench import Bench
from benchmarks.evaluation.part import Comparison
from benchmarks.evaluation.results.summary import Summary
from benchmarks.evaluation.results.tables import medians
from benchmarks.plots import Panel, Plot
from tests.lab.device import pull_each

_MODEL: Final = "MobileNetV2"
WINDOW: Final = 3
DEVICES: Final = 8
"""As many as there are windows of the splits."""
_ROUNDS: Final = 3
"""At most: the rate of the line decides, so they hardly differ, and each takes long."""
NODE: Final = "2dfs partitions, edge node"
PARTITIONS: Final = "2dfs partitions"
IMAGES: Final = "Docker images"
_MEASURES: Final = (
    ("Until the last device has its window", "seconds", 1, "seconds"),
    ("Over the line", "bytes", 1e-6, "megabytes"),
)


class Edge:
    """Each round has new devices, and a node with an empty disk."""

    name = "edge"
    title = "A site at the end of a thin line"

    def measure(self, bench: Bench) -> None:
        with ExitStack() as stack:
            far = Far.start(stack, bench.scratch("site"), bench.model(_MODEL), window=WINDOW)
            far.line.throttle(MEGABITS)
            for number in range(min(bench.rounds, _ROUNDS)):
                with ExitStack() as of_round:
                    ways = {
                        NODE: far.cached(of_round, bench.scratch("node")),
                        PARTITIONS: far.cut(),
                        IMAGES: far.built(),
                    }
                    for turn, name in enumerate(bench.turns(tuple(ways), number)):
                        before, began = far.line.received(), time.perf_counter()
                        asyncio.run(_pull(ways[name]))
                        measured = {
                            "seconds": time.perf_counter() - began,
                            "bytes": far.line.received() - before,
                        }
                        bench.add_all(self.name, name, measured, round=number, turn=turn, model=_MODEL, at=DEVICES)

    def section(self, summary: Summary) -> Iterator[str]:
        (row, *_) = summary.find(self.name)
        yield (
            f"{row.at:g} devices at the end of a line of {MEGABITS} Mbit/s pull at the same time, each its own "
            f"{WINDOW} neighbouring splits of {row.model}. {WORDS}"
        )
        for heading, measure, scale, unit in _MEASURES:
            yield f"{heading}, in {unit}:"
            yield medians(summary.find(self.name, measure), "devices", scale=scale)
        yield LIMITS

    def plots(self, summary: Summary) -> Iterator[Plot]:
        panels = []
        for heading, measure, scale, unit in _MEASURES:
            rows = {row.contender: row.scaled(scale) for row in summary.find(self.name, measure)}
            lines = [(name, [rows[name]]) for name in (NODE, PARTITIONS, IMAGES)]
            panels.append(Panel(heading, "", unit, lines))
        yield Plot("edge", panels)

    def comparisons(self, _: Summary) -> Iterator[Comparison]:
        yield from ()

    def behind(self, summary: Summary) -> Iterator[str]:
        for ours, theirs in summary.ahead(self.name):
            yield f"{ours.median:.1f} s with an edge node, {theirs.median:.1f} s with Docker's images."


WORDS: Final = """\
Over the line they pull images that were built for each window, or partitions, which a proxy beside the registry cuts;
or partitions of an edge node at the site, whose disk is empty. Only the line limits: it has a queue as routers have.
Rounds hardly differ, so there are few."""
LIMITS: Final = """\
What crosses the line decides. Windows overlap, and without a node each device fetches all of its own; the node fetches
each layer once, while all that want it already read. Sliding windows, full images and pull-through registries at the
same site are in [the page on performance](performance.md)."""


async def _pull(supply: Supply) -> None:
    await pull_each(supply.url, REPOSITORY, [supply.tag(first) for first in range(DEVICES)])
