"""A site of devices that each run four splits of ResNet50: what crosses the line, by the way the site is supplied.

`python -m benchmarks.edge.scenario` prints the table; `--scale 0.1` makes the splits a tenth as big. All devices pull
at the same time, each its own window of four splits; then each slides on by one split, until it had all windows. They
keep the layers that they have, as engines do.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks.edge.tables import SUPPLIED, drawn, way_rows
from benchmarks.models import Noise, make_model
from benchmarks.peers import Json
from tests.lab.device import Device
from tests.lab.images import push_field_image, push_image
from tests.lab.line import Line
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry

MODEL: Final = "ResNet50"
DEVICES: Final = 10
WINDOW: Final = 4
MEGABITS: Final = 20
"""Of the line for which times are told."""
REPOSITORY: Final = "site/model"

Tag = Callable[[int], str]
"""What a device pulls for the window that begins at a split."""


@dataclass(frozen=True, slots=True)
class Supply:
    """One way to supply the site: from where devices pull, and what."""

    name: str
    url: str
    tag: Tag


@dataclass(frozen=True, slots=True)
class Far:
    """What is at the far end of the line: a registry, and a plain 2DFS proxy before it."""

    directory: Path
    line: Line
    registry: Registry
    proxy: Proxy
    splits: int
    size: int
    """Bytes of all splits."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Count what crosses the line to a site.")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the splits; 1: as they are")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="twodfs-bench-") as directory:
        content = scenario(Path(directory), arguments.scale)
    Console(highlight=False, soft_wrap=True, width=150).print(drawn(("supplied by", *SUPPLIED), way_rows(content)))


def scenario(directory: Path, scale: float = 1.0) -> Json:
    """Return the bytes that crossed the line after the first pulls and after all, for each way to supply the site."""
    ways = {}
    with ExitStack() as stack:
        far = _far(stack, directory, scale)
        for supply in _supplies(stack, far):
            crossed = asyncio.run(_pulled(supply, far))
            ways[supply.name] = {"first_bytes": crossed[0], "all_bytes": crossed[-1]}
        return {
            "model": MODEL,
            "model_bytes": far.size,
            "splits": far.splits,
            "devices": DEVICES,
            "window": WINDOW,
            "scale": scale,
            "megabits": MEGABITS,
            "ways": ways,
        }


def _far(stack: ExitStack, directory: Path, scale: float) -> Far:
    model = make_model(MODEL, directory / "model", Noise(1))
    contents = [(model.directory / name).read_bytes() for name in model.files]
    files = [
        {f"model/{name}": content[: max(1, round(scale * len(content)))]}
        for name, content in zip(model.files, contents, strict=True)
    ]
    line = stack.enter_context(Line.start(directory))
    registry = stack.enter_context(Registry.start(_made(directory / "far"), host=line.far, within=line.argv()))
    base = {"etc/model": MODEL.encode()}
    cells = {(0, column): one for column, one in enumerate(files)}
    push_field_image(
        registry.url, REPOSITORY, "v1", cells=cells, base=base, allotment_compression="none", base_compression="none"
    )
    # As Docker builds them: all splits in one image, and an image for each window.
    push_image(registry.url, REPOSITORY, "full", base=[base, *files], base_compression="none")
    for first in range(len(files) - WINDOW + 1):
        merged = {name: content for one in files[first : first + WINDOW] for name, content in one.items()}
        push_image(registry.url, REPOSITORY, f"window-{first}", base=[base, merged], base_compression="none")
    proxy = Proxy.start(_made(directory / "proxy"), registry.url, host=line.far, within=line.argv())
    size = sum(len(content) for one in files for content in one.values())
    return Far(directory, line, registry, stack.enter_context(proxy), len(files), size)


def _supplies(stack: ExitStack, far: Far) -> Iterator[Supply]:
    """Start what each way needs at the site, cold, when it is its turn."""

    def pull_through(name: str, upstream: str) -> str:
        """Start a stock registry at the site that caches another."""
        config = {"proxy": {"remoteurl": upstream}}
        return stack.enter_context(Registry.start(_made(far.directory / name), extra_config=config)).url

    def full(_: int) -> str:
        return "full"

    def built(first: int) -> str:
        return f"window-{first}"

    def partition(first: int) -> str:
        return f"v1--0.{first}.0.{first + WINDOW - 1}"

    yield Supply("full images", far.registry.url, full)
    yield Supply("window images", far.registry.url, built)
    yield Supply("partitions", far.proxy.url, partition)
    yield Supply("full images, pull-through", pull_through("full", far.registry.url), full)
    yield Supply("window images, pull-through", pull_through("built", far.registry.url), built)
    yield Supply("partitions, pull-through", pull_through("cut", far.proxy.url), partition)
    edge = _made(far.directory / "node")
    node = stack.enter_context(Proxy.start(edge, far.registry.url, "--edge", str(edge / "edge")))
    yield Supply("partitions, edge node", node.url, partition)


async def _pulled(supply: Supply, far: Far) -> Sequence[int]:
    """Let all devices pull and slide; return the bytes that crossed the line after each step."""
    windows = far.splits - WINDOW + 1
    before, crossed = far.line.received(), []
    async with AsyncExitStack() as stack:
        devices = [await stack.enter_async_context(Device.of(supply.url)) for _ in range(DEVICES)]
        for step in range(windows):
            async with asyncio.TaskGroup() as tasks:
                for number, device in enumerate(devices):
                    tag = supply.tag((number + step) % windows)
                    tasks.create_task(device.pull(REPOSITORY, tag))
            crossed.append(far.line.received() - before)
    return crossed


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


if __name__ == "__main__":
    main()
