"""Figure 15: devices that run a model together each need their own slice of it, from files to pulled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from benchmarks.evaluation.contenders.builder import Builder
from benchmarks.evaluation.contenders.docker import Docker, DockerImages
from benchmarks.evaluation.contenders.field import Twodfs
from benchmarks.evaluation.measuring.bench import Bench
from benchmarks.evaluation.paper import INFERENCE
from benchmarks.evaluation.part import Comparison
from benchmarks.evaluation.results.summary import Summary
from benchmarks.evaluation.results.tables import medians
from benchmarks.plots import Panel, Plot
from tests.lab.device import pull_images
from tests.lab.images import busybox_base, push_image
from tests.lab.proxy import Proxy

_MODEL: Final = "ResNet50"
DEVICES: Final = (1, 4, 10)
FIELD: Final = "2dfs"
IMAGES: Final = "Docker, an image for each device"
WORDS: Final = """\
A model is divided into as many slices as there are devices, by its layers, and each device needs its own. What is
measured begins with files that nothing has seen, in a build that knows nothing, and ends when the last device has all
bytes of its slice. With 2DFS that is one build and push, and each device pulls its partition through a proxy; with
Docker an image is built and pushed for each device, one after another, as scripts do it, and each device pulls its own
from the registry. The paper published no script for this. Here devices are clients that ask for what an engine asks
for, at most three layers at a time, and hash every byte, but unpack nothing: real engines, as many as there are
devices, would have to share this machine's processors, and would do the same with either image. All pull at the same
time."""
LIMITS: Final = """\
Whatever is cut, the same bytes are hashed, sent and stored once. So Docker's time grows with the number of images, each
of which costs a build and a push by processes of its own; one field costs both once. Docker's older releases compress
weights when they push; the newest gives up on what hardly compresses, so that the ratio is smaller here than in the
paper."""
WHY: Final = "today's Docker gives up on compressing weights, and builds and pushes faster than the paper's did"
BEHIND: Final = "One image with all of it is as little work as one field, and the proxy is one hop more."


@dataclass(frozen=True, slots=True)
class _Way:
    """How slices come to devices."""

    name: str
    builder: Builder
    url: str
    """That devices pull from."""

    def images(self, repository: str, slices: int) -> Sequence[tuple[str, str]]:
        """Return repository and tag of each slice."""
        if self.name == FIELD:
            return [(f"{repository}/field", f"v1--0.{at}.0.{at}") for at in range(slices)]
        return [(f"{repository}/image-{at:03}", "v1") for at in range(slices)]


class Inference:
    """Each round has a model with new bytes for each number of devices."""

    name = "inference"
    title = "Distributed inference: from files to the devices"

    def measure(self, bench: Bench) -> None:
        with ExitStack() as stack:
            registry = stack.enter_context(bench.registry())
            push_image(registry.url, "base", "v1", base=busybox_base())
            proxy = stack.enter_context(Proxy.start(bench.scratch("proxy"), registry.url))
            docker = stack.enter_context(Docker.start(bench.directory))
            bench.versions["Docker"] = docker.version
            twodfs = Twodfs(bench.scratch("store"))
            for number in range(bench.rounds):
                for devices in DEVICES[:2] if bench.quick else DEVICES:
                    ways = (
                        _Way(FIELD, twodfs, proxy.url),
                        _Way(IMAGES, DockerImages(docker, devices), registry.url),
                    )
                    model = bench.model(_MODEL, splits=devices, base=f"{registry.address}/base:v1")
                    for turn, way in enumerate(bench.turns(ways, number)):
                        way.builder.forget()
                        repository = f"round-{number}-{devices}"
                        began = time.perf_counter()
                        way.builder.publish(model, f"{registry.address}/{repository}")
                        pullable = time.perf_counter()
                        asyncio.run(_pull(way, repository, devices))
                        ended = time.perf_counter()
                        measured = {"seconds": ended - began, "pull_seconds": ended - pullable}
                        bench.add_all(self.name, way.name, measured, round=number, turn=turn, model=_MODEL, at=devices)

    def section(self, summary: Summary) -> Iterator[str]:
        yield WORDS
        yield "Seconds from files until the last device has its slice:"
        yield medians(summary.find(self.name), "devices")
        yield "Of these, seconds of the pulls:"
        yield medians(summary.find(self.name, "pull_seconds"), "devices")
        yield LIMITS

    def plots(self, summary: Summary) -> Iterator[Plot]:
        lines = [(one, summary.find(self.name, contender=one)) for one in (FIELD, IMAGES)]
        yield Plot("inference", [Panel(_MODEL, "devices", "seconds from files to pulled", lines)])

    def comparisons(self, summary: Summary) -> Iterator[Comparison]:
        ours, theirs = (summary.find(self.name, contender=one) for one in (FIELD, IMAGES))
        if not ours or not theirs:
            return
        ratios = [their.median / our.median for our, their in zip(ours, theirs, strict=True)]
        yield Comparison(
            INFERENCE.figure,
            f"{_MODEL}, {ours[0].at:g} to {ours[-1].at:g} devices, from files to pulled",
            INFERENCE.said,
            f"{ours[0].median:.2f} to {ours[-1].median:.2f} s, "
            f"Docker {theirs[0].median:.2f} to {theirs[-1].median:.2f} s",
            min(ratios) >= INFERENCE.value,
            WHY,
        )

    def behind(self, summary: Summary) -> Iterator[str]:
        for ours, theirs in summary.ahead(self.name):
            yield f"{ours.at:g} devices: {ours.median:.2f} s, {theirs.contender} {theirs.median:.2f} s. {BEHIND}"


async def _pull(way: _Way, repository: str, slices: int) -> None:
    await pull_images(way.url, way.images(repository, slices))
