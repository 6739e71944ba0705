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
ALONE: Final = "alone"
WHEN: Final = (ALONE, "alone again", "beside")
"""When each target is measured in a round; the second time tells what the machine does to a ratio."""
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
    parser.add_argument("--rounds", type=int, default=18)
    parser.add_argument("--seconds", type=int, default=2, help="of each target, alone and beside, in each round")
    parser.add_argument("--hanging", type=int, default=200, help="requests that wait meanwhile")
    arguments = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True, width=120)
    environment = machine()
    rounds: dict[str, list[dict[str, Round]]] = {}
    with silence() as port, peers(port) as measured:
        proxy = measured.proxies[0]
        for target in measured.targets:
            measure(measured, target, WARM_UP_SECONDS)
        for number in range(arguments.rounds):
            first = number % len(WHEN)
            for target in measured.targets:
                taken = {}
                for when in WHEN[first:] + WHEN[:first]:  # each comes first, second and last as often
                    with waiting(proxy, arguments.hanging if when == "beside" else 0):
                        taken[when] = measure(measured, target, arguments.seconds)
                rounds.setdefault(target.name, []).append(taken)
            console.print(f"round {number + 1} of {arguments.rounds}")
    results = {name: summary(taken) for name, taken in rounds.items()}
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


def summary(rounds: list[dict[str, Round]]) -> Json:
    """Return the medians of the rounds; ratios are to what was measured alone in the same round."""
    results: Json = {}
    for when in WHEN:
        own = [one[when] for one in rounds]
        results[when] = {
            "requests_per_second": round(statistics.median(one.rate for one in own), 1),
            "p50_ms": round(statistics.median(one.p50_ms for one in own), 3),
            "p99_ms": round(statistics.median(one.p99_ms for one in own), 3),
            "proxy_cpu_us_per_request": round(
                1e6 * sum(one.proxy_cpu for one in own) / sum(one.requests for one in own), 1
            ),
            "p50_ratio": round(statistics.median(one[when].p50_ms / one[ALONE].p50_ms for one in rounds), 3),
            "p99_ratio": round(statistics.median(one[when].p99_ms / one[ALONE].p99_ms for one in rounds), 3),
        }
    return results


def table(results: Json) -> Table:
    drawn = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    drawn.add_column("GET manifest", no_wrap=True)
    for heading in ("req/s", "p50 ms", "ratio", "p99 ms", "ratio", "proxy µs"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    for name, taken in results.items():
        for when, of in taken.items():
            drawn.add_row(
                f"{name}, {when}",
                f"{of['requests_per_second']:,.0f}",
                f"{of['p50_ms']:.2f}",
                f"{of['p50_ratio']:.2f}",
                f"{of['p99_ms']:.2f}",
                f"{of['p99_ratio']:.2f}",
                f"{of['proxy_cpu_us_per_request']:.0f}",
            )
    return drawn


if __name__ == "__main__":
    main()
