"""Blobs that are not on the disk: the node beside an nginx that stores what it fetches, before one registry."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benchmarks.edge.measured import Sample, beside, measure
from benchmarks.edge.nginx import Stock, serving, storing
from benchmarks.peers import Json
from tests.lab.proxy import Proxy

SIZE: Final = 64 * 2**20
STREAMS: Final = (1, 8)
_QUIET: Final = {"TWODFS_PROXY_LOG_LEVEL": "warning"}


def fills(directory: Path, rounds: int, blobs: int) -> Iterator[tuple[int, Json]]:
    """Return streams and medians; in each round both fetch ``blobs`` new blobs into empty directories."""
    stock = Stock(directory / "stock")
    stock.directory.mkdir()
    (directory / "origin").mkdir()
    with serving(directory / "origin", stock.directory) as origin:
        for streams in STREAMS:
            samples = []
            for number in range(rounds):
                targets = [stock.add(SIZE) for _ in range(blobs)]
                samples.append(_round(directory / f"round-{streams}-{number}", origin.address, targets, streams))
                stock.clear()
            yield streams, beside(samples)


def _round(directory: Path, origin: str, targets: list[str], streams: int) -> tuple[Sample, Sample]:
    directory.mkdir()
    (directory / "nginx").mkdir()
    with ExitStack() as stack:
        edge = ("--edge", str(directory / "edge"))
        node = stack.enter_context(Proxy.start(directory, f"http://{origin}", *edge, environment=_QUIET))
        nginx = stack.enter_context(storing(directory / "nginx", origin))
        samples = (
            measure(node, node.address, targets, streams),
            measure(nginx, nginx.address, targets, streams),
        )
        kept = sorted(file.stat().st_size for file in (directory / "edge" / "blobs" / "sha256").iterdir())
        assert kept == sorted(
            file.stat().st_size for file in (directory / "nginx" / "kept").rglob("*") if file.is_file()
        )
    shutil.rmtree(directory)
    return samples
