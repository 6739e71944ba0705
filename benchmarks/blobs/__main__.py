"""Blobs through the proxy and through nginx, from one upstream, in turn.

Run it with `make bench-blobs`; `benchmarks/README.md` says how to read what it prints.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks import network
from benchmarks.blobs.memory import slow_downloads
from benchmarks.blobs.nginx import BLOB, STOCK, TUNED, Nginx
from benchmarks.drawings import draw
from benchmarks.peers import cpu_seconds, machine
from tests.lab import command
from tests.lab.layers import Blob
from tests.lab.process import Server
from tests.lab.programs import environment
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient

DIRECTORY: Final = Path(__file__).parent
RESULTS: Final = DIRECTORY.parent / "results"
BLOB_SIZE: Final = 64 * 2**20
STREAMS: Final = (1, 4, 64)
UPSTREAMS: Final = ("plaintext", "TLS", "registry")
REFERENCE: Final = "nginx, tuned"
OPEN_FILES: Final = 16_384

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Contender:
    """A server that hands out the blob, and what is asked of it."""

    name: str
    server: Server
    address: str
    target: str = BLOB


@dataclass(frozen=True, slots=True)
class Sample:
    """One contender in one round."""

    mib_per_second: float
    cpu_per_gib: float


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure blob downloads.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mebibytes", type=int, default=4096, help="of each contender in each round")
    parser.add_argument("--upstreams", nargs="+", choices=UPSTREAMS, default=UPSTREAMS, help="default: all")
    parser.add_argument("--slow", type=int, default=1000, help="slow downloads at once; 0: none")
    arguments = parser.parse_args()
    control = network.enter("benchmarks.blobs")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, hard), hard))
    console = Console(highlight=False, soft_wrap=True)
    content: Json = {
        "environment": machine() | {"congestion_control": control},
        "load": vars(arguments),
        "upstreams": {},
    }
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="twodfs-bench-")))
        for title, contenders, streams in line_ups(stack, directory):
            if title not in arguments.upstreams:
                continue
            for count in streams:
                console.print(f"{title}, {count} streams")
                rounds = [measure_all(contenders, count, arguments.mebibytes) for _ in range(arguments.rounds)]
                content["upstreams"].setdefault(title, {})[str(count)] = summary(rounds)
    console.print(table(content["upstreams"]))
    if arguments.slow:
        console.print(f"{arguments.slow} slow downloads at once, twice")
        content["slow"] = {relay: slow_downloads(arguments.slow, 10, relay) for relay in ("auto", "buffered")}
        console.print_json(data=content["slow"])
    if set(arguments.upstreams) != set(UPSTREAMS) or not arguments.slow:
        return  # the report takes whole runs
    write(content)
    console.print("written to benchmarks/results/blobs.json and blobs.svg")


def line_ups(stack: ExitStack, directory: Path) -> Iterator[tuple[str, tuple[Contender, ...], tuple[int, ...]]]:
    """Start each upstream with everything in front of it."""

    def room(name: str) -> Path:
        (directory / name).mkdir()
        return directory / name

    def proxy(name: str, upstream: str, relay: str) -> Contender:
        settings = {
            "TWODFS_PROXY_BLOBS_RELAY": relay,
            "TWODFS_PROXY_LOG_LEVEL": "warning",
            "SSL_CERT_FILE": str(directory / "origin" / "cert.pem"),
        }
        server = stack.enter_context(Proxy.start(room(name), upstream, environment=settings))
        return Contender("proxy" if relay == "auto" else "proxy, buffered", server, server.address)

    def nginx(name: str, upstream: str, tuning: str) -> Contender:
        server = stack.enter_context(Nginx.proxy(room(name), upstream, tuning))
        return Contender(REFERENCE if tuning else "nginx", server, server.address)

    origin = stack.enter_context(Nginx.origin(room("origin"), BLOB_SIZE))
    yield (
        "plaintext",
        (
            Contender("upstream alone", origin, origin.address),
            nginx("tuned", origin.url, TUNED),
            proxy("auto", origin.url, "auto"),
            proxy("buffered", origin.url, "buffered"),
            nginx("stock", origin.url, STOCK),
        ),
        STREAMS,
    )
    yield (
        "TLS",
        (
            nginx("tuned-tls", origin.tls_url, TUNED),
            proxy("tls", origin.tls_url, "auto"),
            proxy("tls-buffered", origin.tls_url, "buffered"),
            nginx("stock-tls", origin.tls_url, STOCK),
        ),
        STREAMS,
    )
    registry = stack.enter_context(Registry.start(room("registry")))
    blob = Blob(bytes(BLOB_SIZE), "application/octet-stream")
    with RegistryClient(registry.url) as client:
        client.push_blob("bench/blob", blob)
    target = f"/v2/bench/blob/blobs/{blob.digest}"
    row = (
        Contender("upstream alone", registry, registry.address),
        nginx("tuned-registry", registry.url, TUNED),
        proxy("auto-registry", registry.url, "auto"),
    )
    yield "registry", tuple(Contender(one.name, one.server, one.address, target) for one in row), (4,)


def measure_all(contenders: tuple[Contender, ...], streams: int, mebibytes: int) -> dict[str, Sample]:
    """Measure all in turn: what slows the machine down slows all of them."""
    return {one.name: measure(one, streams, mebibytes) for one in contenders}


def measure(contender: Contender, streams: int, mebibytes: int) -> Sample:
    before = cpu_seconds(contender.server)
    script = (sys.executable, str(DIRECTORY / "reader.py"), contender.address, contender.target)
    seen = json.loads(command.run((*script, str(streams), str(mebibytes)), environment(), seconds=300))
    used = cpu_seconds(contender.server) - before
    gibibytes = seen["bytes"] / 2**30
    return Sample(gibibytes * 1024 / seen["seconds"], used / gibibytes)


def summary(rounds: list[dict[str, Sample]]) -> Json:
    """Return medians, and medians of each round's ratio to tuned nginx."""

    def median(values: Iterator[float]) -> float:
        return round(statistics.median(values), 3)

    return {
        name: {
            "mib_per_second": median(one[name].mib_per_second for one in rounds),
            "cpu_s_per_gib": median(one[name].cpu_per_gib for one in rounds),
            "throughput_ratio": median(one[name].mib_per_second / one[REFERENCE].mib_per_second for one in rounds),
            "cpu_ratio": median(one[name].cpu_per_gib / one[REFERENCE].cpu_per_gib for one in rounds),
        }
        for name in rounds[0]
    }


def table(upstreams: Mapping[str, Mapping[str, Mapping[str, Json]]]) -> Table:
    drawn = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for heading in ("upstream", "streams", "through"):
        drawn.add_column(heading, no_wrap=True)
    for heading in ("MiB/s", "ratio", "CPU s/GiB", "ratio"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    for title, counts in upstreams.items():
        for count, results in counts.items():
            for name, of in results.items():
                drawn.add_row(
                    title,
                    count,
                    name,
                    f"{of['mib_per_second']:,.0f}",
                    f"{of['throughput_ratio']:.2f}",
                    f"{of['cpu_s_per_gib']:.3f}",
                    f"{of['cpu_ratio']:.2f}",
                )
    return drawn


def write(content: Json) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "blobs.json").write_text(json.dumps(content, indent=2) + "\n")
    draw("blobs", content, RESULTS)


if __name__ == "__main__":
    main()
