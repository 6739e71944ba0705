"""A site of devices that each run four splits of ResNet50: what crosses the line, by the way the site is supplied.

`python -m benchmarks.edge.scenario` prints the table; `--scale 0.1` makes the splits a tenth as big. All devices pull
at the same time, each its own window of four splits; then each slides on by one split, until it had all windows. They
keep the layers that they have, as engines do.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks.edge.site import MEGABITS, REPOSITORY, Far, Supply, made
from benchmarks.edge.tables import SUPPLIED, drawn, way_rows
from benchmarks.models import Noise, make_model
from benchmarks.peers import Json
from tests.lab.device import Device
from tests.lab.registry import Registry

MODEL: Final = "ResNet50"
DEVICES: Final = 10
WINDOW: Final = 4


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
        model = make_model(MODEL, directory / "model", Noise(1))
        far = Far.start(stack, directory, model, window=WINDOW, scale=scale)
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


def _supplies(stack: ExitStack, far: Far) -> Iterator[Supply]:
    """Start what each way needs at the site, cold, when it is its turn."""

    def pull_through(name: str, upstream: str) -> str:
        """Start a stock registry at the site that caches another."""
        config = {"proxy": {"remoteurl": upstream}}
        return stack.enter_context(Registry.start(made(far.directory / name), extra_config=config)).url

    def full(_: int) -> str:
        return "full"

    built, cut = far.built(), far.cut()
    yield Supply("full images", far.registry.url, full)
    yield built
    yield cut
    yield Supply("full images, pull-through", pull_through("full", built.url), full)
    yield Supply(f"{built.name}, pull-through", pull_through("built", built.url), built.tag)
    yield Supply(f"{cut.name}, pull-through", pull_through("cut", cut.url), cut.tag)
    yield far.cached(stack, made(far.directory / "node"))


async def _pulled(supply: Supply, far: Far) -> Sequence[int]:
    """Let all devices pull and slide; return the bytes that crossed the line after each step."""
    before, crossed = far.line.received(), []
    async with AsyncExitStack() as stack:
        devices = [await stack.enter_async_context(Device.of(supply.url)) for _ in range(DEVICES)]
        for step in range(far.windows):
            async with asyncio.TaskGroup() as tasks:
                for number, device in enumerate(devices):
                    tag = supply.tag((number + step) % far.windows)
                    tasks.create_task(device.pull(REPOSITORY, tag))
            crossed.append(far.line.received() - before)
    return crossed


if __name__ == "__main__":
    main()
