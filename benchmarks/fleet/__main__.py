"""One real proxy process, a registry replayed with its recorded latency, and a fleet that pulls from it."""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks.fleet import nodes
from benchmarks.fleet.forecast import forecast
from benchmarks.fleet.recording import Recording, record
from benchmarks.fleet.stub import COUNTER
from benchmarks.peers import cpu_seconds, machine
from tests.lab.documents import FieldStyle
from tests.lab.images import push_field_image
from tests.lab.process import Launch, Server, free_port, listens
from tests.lab.programs import environment as peer_environment
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient
from twodfs.field.field import Field

ROOT: Final = Path(__file__).parents[2]
RESULTS: Final = ROOT / "benchmarks" / "results" / "fleet.json"
REPOSITORY, TAG, PARTITION = "fleet/model", "v1", "v1--0.0.0.2"
LEVELS: Final = (1, 50, 500)
IDLE: Final = 2000
CELLS: Final = 10_000
LONGEST: Final = 170.0
"""Seconds; the run is ended then, whatever happens."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stage:
    """What is measured, and what it costs the registry that the stub replaces."""

    proxy: Proxy
    """With default settings."""
    trusting: Proxy
    """One that trusts a tag for a second."""
    stub: Server
    stub_port: int
    recording: Recording
    registry_cpu: float
    """Seconds of processor time for a request."""

    @property
    def target(self) -> nodes.Target:
        return nodes.Target(int(self.proxy.address.rpartition(":")[2]), REPOSITORY, PARTITION)

    def registry_requests(self) -> int:
        with RegistryClient(f"http://127.0.0.1:{self.stub_port}") as client:
            return int(client.request("GET", COUNTER).body)


def main() -> None:
    parser = argparse.ArgumentParser(description="Let a fleet pull from one proxy process.")
    parser.add_argument("--nodes", type=int, default=10_000, help="of the fleet that is forecast")
    parser.add_argument("--burst", type=int, default=2000, help="nodes that really begin at once")
    parser.add_argument("--seconds", type=float, default=6, help="of each level")
    arguments = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    console = Console(highlight=False, soft_wrap=True, width=180)
    content: Json = {"environment": machine()}
    with staged() as stage:
        console.print(f"registry, recorded (median ms): {stage.recording.medians_ms()}")
        content |= asyncio.run(measure(stage, arguments.burst, arguments.seconds))
        content["registry"] = {
            "median_ms": stage.recording.medians_ms(),
            "cpu_us_per_request": round(1e6 * stage.registry_cpu, 1),
        }
    content["memory"]["bytes_per_field_cell"] = field_cell_bytes()
    content["forecast"] = forecasts(content, arguments.nodes)
    for drawn in tables(content):
        console.print(drawn)
    RESULTS.write_text(json.dumps(content, indent=2) + "\n")
    console.print(f"written to {RESULTS.relative_to(ROOT)}")


@contextmanager
def staged() -> Iterator[Stage]:
    """Record a stock registry, stop it, and put the stub in its place behind proxies."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="twodfs-bench-")))
        with Registry.start(directory) as registry:
            cells = {(row, column): {f"{row}-{column}": b"weights"} for row in range(3) for column in range(3)}
            image = push_field_image(registry.url, REPOSITORY, TAG, cells=cells, field_style=FieldStyle(sizes=True))
            before = cpu_seconds(registry)
            recording, asked = record(registry.url, image)
            registry_cpu = (cpu_seconds(registry) - before) / asked
        file = directory / "recording.json"
        recording.save(file)
        port = free_port()
        launch = Launch(
            argv=(sys.executable, "-m", "benchmarks.fleet.stub", str(file), str(port)),
            log=directory / "stub.log",
            ready=listens(port),
            environment=peer_environment(),
            directory=ROOT,
        )
        stub = stack.enter_context(Server(launch))
        stub.launch()
        upstream = f"http://127.0.0.1:{port}"
        (directory / "trusting").mkdir()
        proxy = stack.enter_context(Proxy.start(directory, upstream))
        trusting = stack.enter_context(
            Proxy.start(directory / "trusting", upstream, environment={"TWODFS_PROXY_CACHE_TAG_TTL": "1"})
        )
        yield Stage(proxy, trusting, stub, port, recording, registry_cpu)


async def measure(stage: Stage, burst: int, seconds: float) -> Json:
    async with asyncio.timeout(LONGEST):
        await nodes.keep_pulling(stage.target, 10, 1)  # warm
        memory = {"resident_bytes": resident(stage.proxy)}
        async with nodes.idle(stage.target, IDLE):
            grown = resident(stage.proxy) - memory["resident_bytes"]
            memory["bytes_per_idle_connection"] = max(0, grown) // IDLE
        runs = list(kinds(stage))
        levels = [
            await level(run, concurrency, seconds)
            for run in runs
            for concurrency in (LEVELS if run.stage is stage else LEVELS[-1:])
        ]
        bursts = [await fleet(run, burst) for run in runs if run.stage is stage]
        for one in bursts:
            same = highest(levels, one["kind"])
            one["predicted_seconds"] = round(burst * same["proxy_cpu_ms_per_pull"] / 1000, 2)
        memory["resident_bytes_after_bursts"] = resident(stage.proxy)
        return {"levels": levels, "bursts": bursts, "memory": memory}


@dataclass(frozen=True, slots=True)
class Kind:
    """Who pulls through which proxy."""

    name: str
    stage: Stage
    target: nodes.Target


def kinds(stage: Stage) -> Iterator[Kind]:
    trusting = replace(stage, proxy=stage.trusting)
    yield Kind("same credentials", stage, stage.target)
    yield Kind("own credentials", stage, replace(stage.target, own_credentials=True))
    yield Kind("own, tag_ttl = 1", trusting, replace(trusting.target, own_credentials=True))


def highest(levels: list[Json], kind: str) -> Json:
    """Return the most concurrent level of a kind."""
    return max((one for one in levels if one["kind"] == kind), key=lambda one: int(one["concurrent"]))


async def level(kind: Kind, concurrency: int, seconds: float) -> Json:
    with metered(kind.stage) as meter:
        tally, spent = await nodes.keep_pulling(kind.target, concurrency, seconds)
    return {"kind": kind.name, "concurrent": concurrency, **summary(tally, spent, meter)}


async def fleet(kind: Kind, size: int) -> Json:
    with metered(kind.stage) as meter:
        tally, spent = await nodes.burst(kind.target, size)
    return {"kind": kind.name, "nodes": size, "seconds": round(spent, 2), **summary(tally, spent, meter)}


@contextmanager
def metered(stage: Stage) -> Iterator[Json]:
    """Yield what is filled in behind the block: processor time by process, requests to the registry."""
    meter: Json = {}
    cpu, own, asked = cpu_seconds(stage.proxy), time.process_time(), stage.registry_requests()
    yield meter
    meter["proxy_cpu"] = cpu_seconds(stage.proxy) - cpu
    meter["nodes_cpu"] = time.process_time() - own
    meter["registry_requests"] = stage.registry_requests() - asked


def summary(tally: nodes.Tally, seconds: float, meter: Json) -> Json:
    pulls = len(tally.pulls)
    return {
        "pulls": pulls,
        "pulls_per_second": round(pulls / seconds, 1),
        "requests_per_second": round(len(tally.requests) / seconds, 1),
        "request_p50_ms": tally.quantile_ms(tally.requests, 0.5),
        "request_p99_ms": tally.quantile_ms(tally.requests, 0.99),
        "pull_p50_ms": tally.quantile_ms(tally.pulls, 0.5),
        "pull_p99_ms": tally.quantile_ms(tally.pulls, 0.99),
        "retries": tally.retries,
        "proxy_cpu_ms_per_pull": round(1000 * meter["proxy_cpu"] / pulls, 3),
        "proxy_cpu_us_per_request": round(1e6 * meter["proxy_cpu"] / len(tally.requests), 1),
        "proxy_core_share": round(meter["proxy_cpu"] / seconds, 2),
        "nodes_core_share": round(meter["nodes_cpu"] / seconds, 2),
        "registry_requests_per_pull": round(meter["registry_requests"] / pulls, 2),
    }


def resident(server: Server) -> int:
    """Return the bytes of memory that a process holds now."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))


def field_cell_bytes() -> int:
    """Return what a cell of a parsed field takes in memory."""
    rows = [
        {
            "allotments": [
                {"row": row, "col": col, "digest": f"{row:032x}{col:032x}", "diffid": f"{col:064x}"}
                for col in range(100)
            ],
            "allotments_size": 100,
        }
        for row in range(CELLS // 100)
    ]
    body = json.dumps({"rows": rows, "rows_size": len(rows), "owner": ""}).encode()
    tracemalloc.start()
    parsed = Field.parse(body)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert parsed.count == CELLS
    return held // CELLS


def forecasts(content: Json, fleet_size: int) -> Json:
    """Forecast from the dearest run of each kind that had many nodes at once."""
    found = {}
    runs = [one for one in content["levels"] if one["concurrent"] > 1] + content["bursts"]
    for kind in dict.fromkeys(one["kind"] for one in runs):
        of_kind = [one for one in runs if one["kind"] == kind]
        found[kind] = list(
            forecast(
                fleet_size,
                proxy_cpu=max(one["proxy_cpu_ms_per_pull"] for one in of_kind) / 1000,
                registry_requests=max(one["registry_requests_per_pull"] for one in of_kind),
                registry_cpu=content["registry"]["cpu_us_per_request"] / 1e6,
            )
        )
    return found


def tables(content: Json) -> Iterator[Table]:
    load = {
        "pulls_per_second": "pulls/s",
        "requests_per_second": "req/s",
        "request_p50_ms": "p50 ms",
        "request_p99_ms": "p99 ms",
        "pull_p99_ms": "pull p99 ms",
        "proxy_cpu_ms_per_pull": "proxy ms/pull",
        "proxy_core_share": "proxy cores",
        "nodes_core_share": "load cores",
        "registry_requests_per_pull": "registry req/pull",
        "retries": "retries",
    }
    yield _table("One proxy process", content["levels"], {"kind": "", "concurrent": "at once", **load})
    begun = {"kind": "", "nodes": "nodes", "seconds": "seconds", "predicted_seconds": "predicted"}
    yield _table("All at the same moment", content["bursts"], begun | load)
    rows = [{"kind": kind, **need} for kind, needs in content["forecast"].items() for need in needs]
    yield _table(
        "Forecast",
        rows,
        {
            "kind": "",
            "nodes": "nodes",
            "seconds": "within s",
            "pulls_per_second": "pulls/s",
            "proxy_processes": "proxy processes",
            "registry_requests_per_second": "registry req/s",
            "registry_cores": "registry cores",
        },
    )


def _table(title: str, rows: list[Json], columns: dict[str, str]) -> Table:
    drawn = Table(title=f"\n{title}", box=None, pad_edge=False, padding=(0, 2, 0, 0), title_justify="left")
    for at, heading in enumerate(columns.values()):
        drawn.add_column(heading, justify="right" if at else "left", no_wrap=True)
    for row in rows:
        drawn.add_row(*(str(row.get(key, "")) for key in columns))
    return drawn


if __name__ == "__main__":
    main()
