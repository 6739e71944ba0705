"""Fields of a hundred to a million cells: the first partition, another one, the same again; and who waits.

Run it with `make bench-fields`; `benchmarks/README.md` says how to read what it prints.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.drawings import draw
from benchmarks.peers import Json, cpu_seconds, machine, resident_bytes
from tests.lab.fields import large_field, push_bare_field
from tests.lab.images import push_image
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry

DIRECTORY: Final = Path(__file__).parent
RESULTS: Final = DIRECTORY / "results" / "fields.json"
SIDES: Final = (10, 32, 100, 316, 1000)
LARGE: Final = 316
FIRSTS: Final = 7
REPEATS: Final = 200
QUIET_SECONDS: Final = 2.0
# Of fewer requests there is no 99th percentile.
ENOUGH: Final = 100
PLAIN: Final = "/v2/bench/plain/manifests/v1"
_TYPES: Final = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.docker.distribution.manifest.v2+json"
)


class Client:
    """One kept connection, and the milliseconds that each GET took."""

    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=300)

    def get(self, path: str) -> float:
        started = time.perf_counter()
        self._connection.request("GET", path, headers={"Accept": _TYPES})
        answer = self._connection.getresponse()
        body = answer.read()
        spent = time.perf_counter() - started
        assert answer.status == 200, f"{path}: {answer.status} {body!r}"
        return 1000 * spent

    def close(self) -> None:
        self._connection.close()


@dataclass(slots=True)
class Others:
    """Clients that pull a plain manifest through the proxy all the time."""

    address: str
    latencies: list[float] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def pulling(self) -> Iterator[None]:
        thread = threading.Thread(target=self._pull)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _pull(self) -> None:
        client = Client(self.address)
        while not self._stop.is_set():
            self.latencies.append(client.get(PLAIN))
        client.close()

    def taken(self) -> list[float]:
        """Return the latencies since the last call."""
        taken, self.latencies = self.latencies, []
        return taken


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure fields of growing size.")
    parser.add_argument("--largest", type=int, default=SIDES[-1], help="cells on a side of the largest field")
    arguments = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True, width=140)
    environment = machine()
    rows = []
    with tempfile.TemporaryDirectory(prefix="twodfs-bench-") as name, Registry.start(Path(name)) as registry:
        push_image(registry.url, "bench/plain", "v1")
        push_bare_field(registry.url, "bench/warm", "v1", large_field(4, 4))
        for side in (one for one in SIDES if one <= arguments.largest):
            rows.append(measure(Path(name), registry, side))
            console.print(f"{side * side:,} cells: first {rows[-1]['first_ms']} ms")
    console.print(table(rows))
    RESULTS.parent.mkdir(exist_ok=True)
    content = {"environment": environment, "fields": rows}
    RESULTS.write_text(json.dumps(content, indent=2) + "\n")
    draw("fields", content, RESULTS.parent)
    console.print(f"written to {RESULTS.relative_to(DIRECTORY.parent)} and fields.svg")


def measure(directory: Path, registry: Registry, side: int) -> Json:
    """Measure one field behind a proxy of its own."""
    content = large_field(side, side)
    # What one repository has been read of is unknown in another.
    repositories = [f"bench/field{side}-{number}" for number in range(FIRSTS if side < LARGE else 1)]
    for one in repositories:
        push_bare_field(registry.url, one, "v1", content)
    repository = repositories[0]
    with Proxy.start(directory, registry.url) as proxy:
        client, stock = Client(proxy.address), Client(registry.address)
        warm_up(client)
        before, spent = resident_bytes(proxy), cpu_seconds(proxy)
        firsts = [client.get(partition(repository, 0, side))]
        known, spent = resident_bytes(proxy) - before, cpu_seconds(proxy) - spent
        firsts += [client.get(partition(one, 0, side)) for one in repositories[1:]]
        another = [client.get(partition(repository, at, side)) for at in range(1, min(side, 65))]
        same = [client.get(partition(repository, 1, side)) for _ in range(REPEATS)]
        plain = [stock.get(PLAIN) for _ in range(REPEATS)]
        client.close()
        stock.close()
    with Proxy.start(directory, registry.url) as proxy:
        client, others = Client(proxy.address), Others(proxy.address)
        warm_up(client)
        with others.pulling():
            time.sleep(QUIET_SECONDS)
            quiet = others.taken()
            with burning():
                time.sleep(QUIET_SECONDS)
            beside = others.taken()
            client.get(partition(repository, 0, side))
            meanwhile = others.taken()
        client.close()
    one_plain = statistics.median(plain)
    return {
        "cells": side * side,
        "json_bytes": len(content.content),
        "first_ms": round(statistics.median(firsts), 2),
        "first_cpu_s": round(spent, 2),
        "another_ms": round(statistics.median(another), 2),
        "same_ms": round(statistics.median(same), 2),
        "registry_plain_ms": round(one_plain, 2),
        "another_ratio": round(statistics.median(another) / one_plain, 2),
        "same_ratio": round(statistics.median(same) / one_plain, 2),
        "resident_bytes": known,
        "others_quiet": percentiles(quiet),
        "others_beside_a_burner": percentiles(beside),
        "others_meanwhile": percentiles(meanwhile),
    }


@contextmanager
def burning() -> Iterator[None]:
    """Run a process that does nothing but take time, at the priority of the one that parses large fields."""
    with subprocess.Popen([sys.executable, "-c", "import os\nos.nice(19)\nwhile True: pass"]) as burner:
        try:
            yield
        finally:
            burner.kill()


def warm_up(client: Client) -> None:
    """Have every path taken once, with another image."""
    for _ in range(REPEATS):
        client.get(PLAIN)
        client.get(partition("bench/warm", 0, 4))


def partition(repository: str, at: int, side: int) -> str:
    """Return the path of a partition of six cells, another one for each `at`."""
    row = at * 7 % (side - 1)
    return f"/v2/{repository}/manifests/v1--{row}.{at % (side - 2)}.{row + 1}.{at % (side - 2) + 2}"


def percentiles(latencies: Sequence[float]) -> Json | None:
    if len(latencies) < ENOUGH:
        return None
    cuts = statistics.quantiles(latencies, n=100)
    return {"requests": len(latencies), "p50_ms": round(cuts[49], 2), "p99_ms": round(cuts[98], 2)}


def table(rows: Sequence[Json]) -> Table:
    drawn = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    headings = ("cells", "first ms", "another ms", "same ms", "registry ms", "another/registry", "MiB")
    for heading in (*headings, "others p50/p99 ms", "beside a burner", "during the first"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    for one in rows:
        drawn.add_row(
            f"{one['cells']:,}",
            f"{one['first_ms']:.1f}",
            f"{one['another_ms']:.2f}",
            f"{one['same_ms']:.2f}",
            f"{one['registry_plain_ms']:.2f}",
            f"{one['another_ratio']:.2f}",
            f"{one['resident_bytes'] / 2**20:.1f}",
            both(one["others_quiet"]),
            both(one["others_beside_a_burner"]),
            both(one["others_meanwhile"]),
        )
    return drawn


def both(of: Mapping[str, float] | None) -> str:
    return "-" if of is None else f"{of['p50_ms']:.2f}/{of['p99_ms']:.2f}"


if __name__ == "__main__":
    main()
