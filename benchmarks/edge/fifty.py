"""Devices at the end of a thin line that pull overlapping partitions at the same time, from a cold node."""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benchmarks.edge.measured import measure
from benchmarks.edge.site import MEGABITS
from benchmarks.peers import Json
from tests.lab.device import pull_each
from tests.lab.images import push_field_image
from tests.lab.line import Line
from tests.lab.process import peak_resident
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry

DEVICES: Final = 50
REPOSITORY: Final = "bench/line"
_COLUMNS: Final = 12
_ALLOTMENT: Final = 2**20
_HEADERS: Final = 1514 / 1448
"""Of Ethernet, IPv4 and TCP."""


def fifty(directory: Path, rounds: int) -> Json:
    """Return what a plain download of all blobs took, what the slowest pull took, and the ratio of the two."""
    results = []
    for number in range(rounds):
        room = directory / f"line-{number}"
        room.mkdir()
        results.append(_round(room))
    return {
        "devices": DEVICES,
        "megabits": MEGABITS,
        "bytes": results[0]["bytes"],
        **{
            name: round(statistics.median(one[name] for one in results), 3)
            for name in ("plain_s", "slowest_s", "ratio", "bytes_ratio", "peak_mib")
        },
    }


def _round(directory: Path) -> Json:
    with ExitStack() as stack:
        line = stack.enter_context(Line.start(directory))
        (directory / "registry").mkdir()
        registry = stack.enter_context(Registry.start(directory / "registry", host=line.far, within=line.argv()))
        image = push_field_image(
            registry.url,
            REPOSITORY,
            "v1",
            cells={(0, column): {f"{column}.bin": os.urandom(_ALLOTMENT)} for column in range(_COLUMNS)},
            base={"base.bin": os.urandom(_ALLOTMENT)},
            allotment_compression="none",
            base_compression="none",
        )
        line.throttle(MEGABITS)
        layers = {layer.blob.digest: layer.blob.size for layer in image.layers(image.allotments)}
        total = sum(layers.values())
        targets = [f"/v2/{REPOSITORY}/blobs/{digest}" for digest in layers]
        plain = total / 1e6 / measure(registry, registry.address, targets, 1).mb_per_second
        edge = ("--edge", str(directory / "edge"))
        node = stack.enter_context(Proxy.start(directory, registry.url, *edge))
        windows = itertools.islice(itertools.combinations(range(_COLUMNS), 2), DEVICES)
        before = line.received()
        pulls = asyncio.run(pull_each(node.url, REPOSITORY, [f"v1--0.{first}.0.{last}" for first, last in windows]))
        slowest = max(one.seconds for one in pulls)
        return {
            "bytes": total,
            "plain_s": plain,
            "slowest_s": slowest,
            "ratio": slowest / plain,
            "bytes_ratio": (line.received() - before) / (total * _HEADERS),
            "peak_mib": peak_resident(node) / 2**20,
        }
