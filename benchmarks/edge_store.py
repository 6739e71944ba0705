"""An edge directory with a hundred thousand blobs: start-up, look-ups, the scan. `python -m benchmarks.edge_store`.

`benchmarks/README.md` says how to read what it prints.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import hashlib
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.peers import Json, machine
from proxy.config.edge import EdgeConfig
from proxy.edge.disk.directory import EdgeDirectory
from proxy.edge.disk.files import Fingerprint
from proxy.edge.disk.keeper import Keeper
from proxy.edge.disk.state import connected
from proxy.edge.disk.store import EdgeStore
from twodfs.oci.digest import Digest

DIRECTORY: Final = Path(__file__).parent
RESULTS: Final = DIRECTORY / "results" / "edge_store.json"
LOOK_UPS: Final = 20_000
HOT: Final = 1_000
"""Blobs that are looked up again and again."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure an edge directory with many blobs.")
    parser.add_argument("--blobs", type=int, default=100_000)
    parser.add_argument("--on", type=Path, help="a directory of the disk to measure on; else a temporary one")
    asked = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True, width=140)
    environment = machine()
    with tempfile.TemporaryDirectory(prefix="twodfs-bench-", dir=asked.on) as name:
        directory = EdgeDirectory.open(Path(name) / "edge")
        config = EdgeConfig(directory=directory.root)
        digests = asyncio.run(fill(config, directory, asked.blobs))
        rows = [{"state": "as it was left", **asyncio.run(measure(config, digests))}]
        for file in directory.root.glob("state.sqlite*"):
            file.unlink()
        rows.append({"state": "lost", **asyncio.run(measure(config, digests))})
    console.print(table(rows))
    RESULTS.write_text(json.dumps({"environment": environment, "blobs": asked.blobs, "stores": rows}, indent=2) + "\n")
    console.print(f"written to {RESULTS.relative_to(DIRECTORY.parent)}")


async def fill(config: EdgeConfig, directory: EdgeDirectory, count: int) -> list[Digest]:
    """Make ``count`` small blobs that the state knows; faster than they come, and not durable."""
    rows = []
    scratch = directory.root / "scratch"
    for number in range(count):
        content = b"blob %d" % number
        digest = Digest("sha256:" + hashlib.sha256(content).hexdigest())
        scratch.write_bytes(content)
        path = directory.blob(digest)
        scratch.rename(path)
        rows.append((digest, *Fingerprint.of(path.stat()), time.time()))
    async with EdgeStore.open(config):
        pass  # the tables are there
    with contextlib.closing(connected(directory.state, ())) as connection, connection:
        connection.executemany("INSERT OR REPLACE INTO blobs VALUES (?, ?, ?, ?, ?, ?)", rows)
    return [row[0] for row in rows]


async def measure(config: EdgeConfig, digests: Sequence[Digest]) -> Json:
    """Return the seconds of a start and a scan, and the microseconds of look-ups."""
    with kept_by_another(config):
        started = time.perf_counter()
        async with EdgeStore.open(config) as store:
            start = time.perf_counter() - started
            keeper = Keeper(store.directory, store.state, store.blobs, store.space, store.listing)
            started = time.perf_counter()
            async with asyncio.TaskGroup() as tasks:
                scanning = tasks.create_task(keeper.scan())
                meanwhile = []
                while not scanning.done():
                    meanwhile += await look_ups(store, random.choices(digests, k=100))
                    await asyncio.sleep(0)
            scan = time.perf_counter() - started
            anywhere = await look_ups(store, random.choices(digests, k=LOOK_UPS))
            hot = digests[:HOT]
            await look_ups(store, hot)
            return {
                "start_s": round(start, 3),
                "scan_s": round(scan, 2),
                "hot_us": percentiles(await look_ups(store, random.choices(hot, k=LOOK_UPS))),
                "anywhere_us": percentiles(anywhere),
                "during_the_scan_us": percentiles(meanwhile),
            }


@contextlib.contextmanager
def kept_by_another(config: EdgeConfig) -> Iterator[None]:
    """Hold the keeper's lock, so that the scan begins when it is measured."""
    assert config.directory
    with EdgeDirectory.open(config.directory).keeper_lock.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


async def look_ups(store: EdgeStore, digests: Sequence[Digest]) -> list[float]:
    """Open and close each blob; return the seconds that each took."""
    taken = []
    for digest in digests:
        started = time.perf_counter()
        blob = await store.blobs.find(digest)
        taken.append(time.perf_counter() - started)
        assert blob is not None
        blob.close()
    return taken


def percentiles(latencies: Sequence[float]) -> Json:
    cuts = statistics.quantiles(latencies, n=100)
    return {"p50": round(1e6 * cuts[49], 1), "p99": round(1e6 * cuts[98], 1)}


def table(rows: Sequence[Json]) -> Table:
    drawn = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for heading in ("state", "start s", "scan s", "look-up p50/p99 µs", "of any blob", "during the scan"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    for one in rows:
        spreads = (one[name] for name in ("hot_us", "anywhere_us", "during_the_scan_us"))
        drawn.add_row(
            one["state"],
            f"{one['start_s']:.3f}",
            f"{one['scan_s']:.2f}",
            *(f"{of['p50']:.0f}/{of['p99']:.0f}" for of in spreads),
        )
    return drawn


if __name__ == "__main__":
    main()
