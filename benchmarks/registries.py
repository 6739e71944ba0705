"""Manifest requests to one registry while another one hangs, beside the same requests while nothing hangs.

Run it with `make bench-registries`; `benchmarks/README.md` says how to read what it prints.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.manifests import DIRECTORY, PARTITION, TAG, Peers, Round, Target, check_partition, measure
from benchmarks.peers import Json, machine
from tests.lab.exposition import Scrape
from tests.lab.images import push_field_image, push_image
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry
from tests.lab.waiting import wait_until

RESULTS: Final = DIRECTORY / "results" / "registries.json"
WARM_UP_SECONDS: Final = 2
CONFIG: Final = """
[[upstream]]
name = "main"
url = "{main}"

[[upstream]]
name = "hanging"
url = "http://127.0.0.1:{port}"
prefix = "hanging"
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure one registry while another hangs.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=int, default=2, help="of each target, alone and beside, in each round")
    parser.add_argument("--hanging", type=int, default=200, help="requests that wait meanwhile")
    arguments = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True, width=120)
    environment = machine()
    rounds: dict[str, list[tuple[Round, Round]]] = {}
    with silence() as port, peers(port) as measured:
        proxy = measured.proxies[0]
        for target in measured.targets:
            measure(measured, target, WARM_UP_SECONDS)
        for number in range(arguments.rounds):
            for target in measured.targets:
                # Whichever comes first has the machine as it was before.
                order = (False, True) if number % 2 else (True, False)
                taken = {}
                for hangs in order:
                    with waiting(proxy, arguments.hanging if hangs else 0):
                        taken[hangs] = measure(measured, target, arguments.seconds)
                rounds.setdefault(target.name, []).append((taken[False], taken[True]))
            console.print(f"round {number + 1} of {arguments.rounds}")
    results = {name: summary(pairs) for name, pairs in rounds.items()}
    console.print(table(results))
    load = {"rounds": arguments.rounds, "seconds": arguments.seconds, "hanging": arguments.hanging}
    RESULTS.write_text(json.dumps({"environment": environment, "load": load, "targets": results}, indent=2) + "\n")
    console.print(f"written to {RESULTS.relative_to(DIRECTORY.parent)}")


@contextlib.contextmanager
def silence() -> Iterator[int]:
    """Yield the port of a registry that takes connections and requests, and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as server:
        yield server.getsockname()[1]


@contextlib.contextmanager
def peers(silent_port: int) -> Iterator[Peers]:
    """Start a registry with images in it, and a proxy in front of it and of the silent one."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="twodfs-bench-")))
        registry = stack.enter_context(Registry.start(directory))
        config = CONFIG.format(main=registry.url, port=silent_port)
        proxy = stack.enter_context(Proxy.start(directory, registry.url, config=config))
        cells = {(row, column): {f"{row}-{column}": os.urandom(64)} for row in range(3) for column in range(3)}
        push_field_image(registry.url, "bench/field", TAG, cells=cells)
        push_image(registry.url, "bench/plain", TAG)
        check_partition(proxy)
        targets = (
            Target("partition", f"{proxy.url}/v2/bench/field/manifests/{PARTITION}"),
            Target("pass-through", f"{proxy.url}/v2/bench/plain/manifests/{TAG}"),
        )
        yield Peers(registry, (proxy,), targets)


@contextlib.contextmanager
def waiting(proxy: Proxy, requests: int) -> Iterator[None]:
    """Keep so many requests to the silent registry waiting for the time of the context."""
    host, _, port = proxy.address.rpartition(":")
    with contextlib.ExitStack() as stack:
        for _ in range(requests):
            connection = stack.enter_context(socket.create_connection((host, int(port)), timeout=60))
            connection.sendall(f"GET /v2/hanging/bench/plain/manifests/{TAG} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        wait_until(lambda: in_flight(proxy) == requests, f"{requests} requests that wait")
        yield
        assert in_flight(proxy) == requests
    wait_until(lambda: in_flight(proxy) == 0, "the end of the requests that waited")


def in_flight(proxy: Proxy) -> float:
    return Scrape.of(proxy.admin_url).value("twodfs_proxy_in_flight", upstream="hanging")


def summary(pairs: list[tuple[Round, Round]]) -> Json:
    """Return the medians of the rounds; ratios are of measurements that followed each other."""
    results: Json = {}
    for at, name in enumerate(("alone", "beside")):
        results[name] = {
            "requests_per_second": round(statistics.median(pair[at].rate for pair in pairs), 1),
            "p50_ms": round(statistics.median(pair[at].p50_ms for pair in pairs), 3),
            "p99_ms": round(statistics.median(pair[at].p99_ms for pair in pairs), 3),
            "proxy_cpu_us_per_request": round(
                1e6 * sum(pair[at].proxy_cpu for pair in pairs) / sum(pair[at].requests for pair in pairs), 1
            ),
        }
    ratios = {
        "p50": [beside.p50_ms / alone.p50_ms for alone, beside in pairs],
        "p99": [beside.p99_ms / alone.p99_ms for alone, beside in pairs],
    }
    for name, values in ratios.items():
        results[f"{name}_ratio"] = round(statistics.median(values), 3)
        results[f"{name}_ratios"] = [round(value, 3) for value in values]
    return results


def table(results: Json) -> Table:
    drawn = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    drawn.add_column("GET manifest", no_wrap=True)
    for heading in ("p50 ms", "beside", "ratio", "p99 ms", "beside", "ratio", "proxy µs", "beside"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    for name, of in results.items():
        p50 = (f"{of['alone']['p50_ms']:.2f}", f"{of['beside']['p50_ms']:.2f}", f"{of['p50_ratio']:.2f}")
        p99 = (f"{of['alone']['p99_ms']:.2f}", f"{of['beside']['p99_ms']:.2f}", f"{of['p99_ratio']:.2f}")
        costs = [f"{of[when]['proxy_cpu_us_per_request']:.0f}" for when in ("alone", "beside")]
        drawn.add_row(name, *p50, *p99, *costs)
    return drawn


if __name__ == "__main__":
    main()
