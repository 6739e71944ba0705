"""Beyond the papers: many devices pull different windows of a model at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from benchmarks.evaluation.contenders.field import Twodfs
from benchmarks.evaluation.measuring.bench import Bench
from benchmarks.evaluation.measuring.serving import Serving
from benchmarks.evaluation.part import Comparison
from benchmarks.evaluation.results.summary import Summary
from benchmarks.evaluation.results.tables import medians
from benchmarks.plots import Panel, Plot
from benchmarks.prebuilt import prebuild
from tests.lab.device import pull_each
from tests.lab.images import busybox_base, push_image
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry

_MODEL: Final = "ResNet50"
_SPLITS: Final = 24
WINDOW: Final = 4
DEVICES: Final = 20
PARTITIONS: Final = "2dfs partitions"
EDGE: Final = "2dfs partitions, edge node"
IMAGES: Final = "Docker images, same layers"
_MEASURES: Final = (
    ("Until the last device has its window", "seconds", 1, "seconds"),
    ("Sent by the registry", "bytes", 1e-6, "megabytes"),
    ("Registry", "registry_cpu_seconds", 1, "processor seconds"),
    ("Proxy or node", "proxy_cpu_seconds", 1, "processor seconds"),
)


@dataclass(frozen=True, slots=True)
class _Way:
    """What devices pull, and from where."""

    name: str
    url: str
    repository: str
    proxies: Sequence[Proxy] = ()


class Windows:
    """Each round has a new proxy and an edge node with an empty directory."""

    name = "windows"
    title = "Many devices with windows of their own"

    def measure(self, bench: Bench) -> None:
        with bench.registry() as registry:
            push_image(registry.url, "base", "v1", base=busybox_base())
            model = bench.model(_MODEL, splits=_SPLITS, base=f"{registry.address}/base:v1")
            Twodfs(bench.scratch("store")).publish(model, f"{registry.address}/windows")
            with Proxy.start(bench.scratch("proxy"), registry.url) as proxy:
                for tag in tags():
                    prebuild(proxy.url, registry.url, "windows/field", tag, to="windows/images", under=tag)
            for number in range(bench.rounds):
                with ExitStack() as stack:
                    ways = _ways(bench, stack, registry)
                    for turn, way in enumerate(bench.turns(ways, number)):
                        with Serving(registry, way.proxies) as served:
                            asyncio.run(_pull(way))
                        bench.add_all(
                            self.name,
                            way.name,
                            served.measures(),
                            round=number,
                            turn=turn,
                            model=_MODEL,
                            at=DEVICES,
                        )

    def section(self, summary: Summary) -> Iterator[str]:
        (row, *_) = summary.find(self.name)
        yield (
            f"{row.at:g} devices pull at the same time, each its own {WINDOW} neighbouring splits of the {_SPLITS} of "
            f"{row.model}. {WORDS}"
        )
        for heading, measure, scale, unit in _MEASURES:
            yield f"{heading}, in {unit}:"
            yield medians(summary.find(self.name, measure), "devices", scale=scale)
        yield LIMITS

    def plots(self, summary: Summary) -> Iterator[Plot]:
        panels = []
        for heading, measure, scale, unit in _MEASURES:
            rows = {row.contender: row.scaled(scale) for row in summary.find(self.name, measure)}
            lines = [(one, [rows[one]]) for one in (PARTITIONS, EDGE, IMAGES) if one in rows]
            panels.append(Panel(heading, "", unit, lines))
        yield Plot("windows", panels)

    def comparisons(self, _: Summary) -> Iterator[Comparison]:
        yield from ()

    def behind(self, summary: Summary) -> Iterator[str]:
        for ours, theirs in summary.ahead(self.name):
            yield (
                f"{ours.at:g} devices have their windows after {theirs.median:.2f} s as images made beforehand, after "
                f"{ours.median:.2f} s as partitions. {BEHIND}"
            )


WORDS: Final = """\
They pull partitions through a proxy that starts with nothing in memory, the same through an edge node whose disk is
empty, or, from the registry itself, an image that was made beforehand for each window, with the very layers of the
partition. Devices are clients as in the part before, all of them in one process, which shares the processors with the
servers."""
LIMITS: Final = """\
Windows overlap, but each device fetches all of its own, so the registry sends the same bytes for images as for
partitions, and the proxy comes on top. The edge node asks for each layer once, however many devices want it, and the
others read it from its disk: the registry is spared, at the price of hashing and writing on the node."""
BEHIND: Final = "The proxy is one hop more, and shares the processors with registry and devices."


def tags() -> Sequence[str]:
    """Return the partition of each device."""
    return [f"v1--0.{first}.0.{first + WINDOW - 1}" for first in range(DEVICES)]


def _ways(bench: Bench, stack: ExitStack, registry: Registry) -> Sequence[_Way]:
    proxy = stack.enter_context(Proxy.start(bench.scratch("proxy"), registry.url))
    directory = bench.scratch("node")
    node = stack.enter_context(Proxy.start(directory, registry.url, "--edge", str(directory / "edge")))
    return (
        _Way(PARTITIONS, proxy.url, "windows/field", (proxy,)),
        _Way(EDGE, node.url, "windows/field", (node,)),
        _Way(IMAGES, registry.url, "windows/images"),
    )


async def _pull(way: _Way) -> None:
    await pull_each(way.url, way.repository, tags())
