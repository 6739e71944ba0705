"""Blobs that are not on the disk: the node beside an nginx that stores what it fetches, before one registry."""

from __future__ import annotations

import hashlib
import shutil
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.edge.measured import Sample, beside, in_turn, measure
from benchmarks.edge.nginx import Stock, serving, storing
from benchmarks.peers import Json
from tests.lab.proxy import Proxy
from tests.lab.waiting import wait_until

SIZE: Final = 64 * 2**20
STREAMS: Final = (1, 8)
_QUIET: Final = {"TWODFS_PROXY_LOG_LEVEL": "warning"}


def fills(directory: Path, rounds: int, blobs: int) -> Iterator[tuple[int, Json]]:
    """Return streams and medians, beside nginx, and beside nginx and SHA-256 together.

    In each round both fetch ``blobs`` new blobs into empty directories.
    """
    stock = Stock(directory / "stock")
    stock.directory.mkdir()
    (directory / "origin").mkdir()
    with serving(directory / "origin", stock.directory) as origin:
        for streams in STREAMS:
            samples, hashing = [], []
            for number in range(rounds):
                targets = [stock.add(SIZE) for _ in range(blobs)]
                room = directory / f"round-{streams}-{number}"
                samples.append(_round(room, origin.address, targets, streams, number))
                hashing.append(_hashing(stock.directory / targets[0].rpartition(":")[2]))
                stock.clear()
            yield streams, beside(samples) | _beside_hashing(samples, hashing)


def _hashing(blob: Path) -> float:
    """Return the processor seconds that SHA-256 takes for each GiB, in this process."""
    content = blob.read_bytes()
    before = time.process_time()
    hashlib.sha256(content)
    return (time.process_time() - before) * 2**30 / len(content)


def _beside_hashing(samples: Sequence[tuple[Sample, Sample]], hashing: Sequence[float]) -> Json:
    """Return what hashing costs, and the node's cost to that of nginx and the hashing together."""
    pairs = zip(samples, hashing, strict=True)
    both = statistics.median(node.cpu_per_gib / (nginx.cpu_per_gib + hashed) for (node, nginx), hashed in pairs)
    return {"sha256_cpu_s_per_gib": round(statistics.median(hashing), 3), "cpu_ratio_with_sha256": round(both, 3)}


def _round(directory: Path, origin: str, targets: list[str], streams: int, number: int) -> tuple[Sample, Sample]:
    directory.mkdir()
    (directory / "nginx").mkdir()
    with ExitStack() as stack:
        edge = ("--edge", str(directory / "edge"))
        node = stack.enter_context(Proxy.start(directory, f"http://{origin}", *edge, environment=_QUIET))
        nginx = stack.enter_context(storing(directory / "nginx", origin))
        samples = in_turn(
            partial(measure, node, node.address, targets, streams),
            partial(measure, nginx, nginx.address, targets, streams),
            number,
        )
        stored = _sizes(directory / "nginx" / "kept")
        wait_until(lambda: _sizes(directory / "edge" / "blobs") == stored, "all blobs on the node's disk")
    shutil.rmtree(directory)
    return samples


def _sizes(directory: Path) -> list[int]:
    return sorted(file.stat().st_size for file in directory.rglob("*") if file.is_file())
