"""Manifest requests: a partition from the proxy, beside a plain index from the proxy and from the registry.

Run it with `make bench`; `benchmarks/README.md` says how to read what it prints.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.drawings import draw
from benchmarks.peers import Json, cpu_seconds, machine
from tests.lab import command
from tests.lab.fields import large_field, push_bare_field
from tests.lab.images import push_field_image, push_image
from tests.lab.programs import environment as peer_environment
from tests.lab.programs import program
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient

DIRECTORY: Final = Path(__file__).parent
RESULTS: Final = DIRECTORY / "results" / "manifests.json"
CONNECTIONS: Final = 8
WARM_UP_SECONDS: Final = 2
ALONE: Final = ("registry", "partition", "partition, tag_ttl 1 s", "pass-through")
"""What is asked over a single connection as well, where nothing waits in a queue."""
ALONE_SECONDS: Final = 2
BASELINE: Final = "registry"
TAG: Final = "v1"
PARTITION: Final = "v1--0.0.1.2"
LARGE_SIDE: Final = 100
"""Rows and columns of the field whose partitions are never asked for twice; wrk.lua knows it too."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked for, of whom, and with which argument for ``wrk.lua``."""

    name: str
    url: str
    argument: str = ""


@dataclass(frozen=True, slots=True)
class Round:
    """What wrk and /proc saw in one round; seconds are of processor time."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    proxy_cpu: float
    registry_cpu: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


@dataclass(frozen=True, slots=True)
class Peers:
    """What is measured."""

    registry: Registry
    proxies: tuple[Proxy, ...]
    targets: tuple[Target, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure manifest requests.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=8, help="of each target in each round")
    arguments = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True, width=120)
    environment = machine()
    with peers() as measured:
        for target in measured.targets:
            measure(measured, target, WARM_UP_SECONDS)
        rounds = list(play(measured, arguments.rounds, arguments.seconds, console))
        console.print("one connection")
        alone = {one.name: measure(measured, one, ALONE_SECONDS, 1) for one in measured.targets if one.name in ALONE}
    by_target = {target.name: [one[target.name] for one in rounds] for target in measured.targets}
    results = {name: summary(own, by_target[BASELINE]) for name, own in by_target.items()}
    console.print(table(results))
    load = {"rounds": arguments.rounds, "seconds": arguments.seconds, "connections": CONNECTIONS}
    content = {"environment": environment, "load": load, "targets": results}
    content["alone"] = {name: latency(one, alone[BASELINE]) for name, one in alone.items()}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(content, indent=2) + "\n")
    draw("manifests", content, RESULTS.parent)
    console.print(f"written to {RESULTS.relative_to(DIRECTORY.parent)} and manifests.svg")


@contextmanager
def peers() -> Iterator[Peers]:
    """Start a registry with images in it, and the proxy twice: with its defaults, and with a `tag_ttl`."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="twodfs-bench-")))
        registry = stack.enter_context(Registry.start(directory))
        proxy = stack.enter_context(Proxy.start(directory, registry.url))
        (directory / "trusting").mkdir()
        trust = {"TWODFS_PROXY_CACHE_TAG_TTL": "1"}
        trusting = stack.enter_context(Proxy.start(directory / "trusting", registry.url, environment=trust))
        cells = {(row, column): {f"{row}-{column}": b"weights"} for row in range(3) for column in range(3)}
        push_field_image(registry.url, "bench/field", TAG, cells=cells)
        push_image(registry.url, "bench/plain", TAG)
        push_bare_field(registry.url, "bench/large", TAG, large_field(LARGE_SIDE, LARGE_SIDE))
        check_partition(proxy)
        yield Peers(registry, (proxy, trusting), tuple(targets(registry, proxy, trusting)))


def targets(registry: Registry, proxy: Proxy, trusting: Proxy) -> Iterator[Target]:
    plain = f"/v2/bench/plain/manifests/{TAG}"
    partition = f"/v2/bench/field/manifests/{PARTITION}"
    yield Target(BASELINE, f"{registry.url}{plain}")
    yield Target("partition", f"{proxy.url}{partition}")
    yield Target("partition, unshared", f"{proxy.url}{partition}", "unshared")
    yield Target("partition, tag_ttl 1 s", f"{trusting.url}{partition}")
    yield Target("partition, cold", f"{proxy.url}/v2/bench/large/manifests/{TAG}", "cold")
    yield Target("pass-through", f"{proxy.url}{plain}")


def check_partition(proxy: Proxy) -> None:
    """Make sure that a partition is measured, not an error."""
    with RegistryClient(proxy.url) as client:
        answer = client.get_manifest("bench/field", PARTITION)
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/vnd.oci.image.index.v1+json"


def play(measured: Peers, rounds: int, seconds: int, console: Console) -> Iterator[dict[str, Round]]:
    """Measure all targets in turn, round after round: what slows the machine down slows all of them."""
    for number in range(1, rounds + 1):
        results = {target.name: measure(measured, target, seconds) for target in measured.targets}
        rates = ", ".join(f"{name} {one.rate:,.0f}/s" for name, one in results.items())
        console.print(f"round {number} of {rounds}: {rates}")
        yield results


def measure(measured: Peers, target: Target, seconds: int, connections: int = CONNECTIONS) -> Round:
    """Load one target."""
    servers = (*measured.proxies, measured.registry)
    before = [cpu_seconds(server) for server in servers]
    load = (program("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "--latency")
    script = ("-s", str(DIRECTORY / "wrk.lua"), target.url, "--", target.argument)
    printed = command.run((*load, *script), peer_environment())
    spent = [cpu_seconds(one) - then for one, then in zip(servers, before, strict=True)]
    seen: dict[str, int] = json.loads(printed.strip().rpartition("\n")[2])
    assert not seen["failed"], f"{target.name}: {seen['failed']} of {seen['requests']} requests failed"
    return Round(
        requests=seen["requests"],
        seconds=seen["microseconds"] / 1e6,
        p50_ms=seen["p50"] / 1000,
        p99_ms=seen["p99"] / 1000,
        proxy_cpu=sum(spent[:-1]),
        registry_cpu=spent[-1],
    )


def summary(rounds: list[Round], baseline: list[Round]) -> Json:
    """Return the numbers of one target: medians of the rounds, and processor time over all of them."""
    requests = sum(one.requests for one in rounds)
    ratios = [one.rate / other.rate for one, other in zip(rounds, baseline, strict=True)]
    return {
        "requests_per_second": round(statistics.median(one.rate for one in rounds), 1),
        "p50_ms": round(statistics.median(one.p50_ms for one in rounds), 3),
        "p99_ms": round(statistics.median(one.p99_ms for one in rounds), 3),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "proxy_cpu_us_per_request": round(1e6 * sum(one.proxy_cpu for one in rounds) / requests, 1),
        "registry_cpu_us_per_request": round(1e6 * sum(one.registry_cpu for one in rounds) / requests, 1),
    }


def latency(one: Round, registry: Round) -> Json:
    """Return how long one connection waited, and how much longer at the median than for the registry."""
    return {"p50_ms": one.p50_ms, "p99_ms": one.p99_ms, "more_ms": round(one.p50_ms - registry.p50_ms, 3)}


def table(results: Mapping[str, Json]) -> Table:
    drawn = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    drawn.add_column("GET manifest", no_wrap=True)
    for heading in ("req/s", "ratio", "p50 ms", "p99 ms", "proxy µs", "registry µs"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    for name, of in results.items():
        drawn.add_row(
            name,
            f"{of['requests_per_second']:,.0f}",
            f"{of['ratio']:.2f}",
            f"{of['p50_ms']:.2f}",
            f"{of['p99_ms']:.2f}",
            f"{of['proxy_cpu_us_per_request']:.0f}",
            f"{of['registry_cpu_us_per_request']:.0f}",
        )
    return drawn


if __name__ == "__main__":
    main()
