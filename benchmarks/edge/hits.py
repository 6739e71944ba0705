"""Blobs that are on the disk already: the node beside nginx, which serves the very same files with sendfile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.edge.measured import beside, in_turn, measure
from benchmarks.edge.nginx import Stock, serving
from benchmarks.peers import Json
from tests.lab.proxy import Proxy

SIZES: Final[Mapping[str, int]] = {"64 MiB": 64 * 2**20, "512 KiB": 512 * 2**10}
STREAMS: Final = (1, 8, 64)
_QUIET: Final = {"TWODFS_PROXY_LOG_LEVEL": "warning"}


def hits(directory: Path, rounds: int, mebibytes: int) -> Iterator[tuple[str, int, Json]]:
    """Return size, streams and medians for each case; both take turns, ``mebibytes`` each in each round."""
    with ExitStack() as stack:
        stock = Stock(_made(directory / "stock"))
        origin = stack.enter_context(serving(_made(directory / "origin"), stock.directory))
        kept = directory / "node" / "edge"
        room = _made(directory / "node")
        node = stack.enter_context(Proxy.start(room, origin.url, "--edge", str(kept), environment=_QUIET))
        nginx = stack.enter_context(serving(_made(directory / "nginx"), kept / "blobs" / "sha256"))
        for name, size in SIZES.items():
            targets = [stock.add(size)]
            measure(node, node.address, targets, 1)  # now it is on the disk
            for streams in STREAMS:
                samples = [
                    in_turn(
                        partial(measure, node, node.address, targets, streams, mebibytes),
                        partial(measure, nginx, nginx.address, targets, streams, mebibytes),
                        number,
                    )
                    for number in range(rounds)
                ]
                yield name, streams, beside(samples)


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory
