"""One proxy under load for a long time: blobs, manifests and clients that leave, with flat memory and files.

Run it with `make soak`; it fails when memory or open files grow.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks.blobs.memory import resident
from benchmarks.manifests import PARTITION, TAG, check_partition
from benchmarks.peers import machine
from tests.lab import command
from tests.lab.images import push_field_image
from tests.lab.layers import Blob
from tests.lab.programs import environment, program
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient

DIRECTORY: Final = Path(__file__).parent
RESULTS: Final = DIRECTORY / "results" / "soak.json"
BLOB_SIZE: Final = 32 * 2**20
STREAMS: Final = 8
SECONDS: Final = 8
LEAVING: Final = 20
MEMORY_MARGIN: Final = 16.0
FILES_MARGIN: Final = 8


@dataclass(frozen=True, slots=True)
class Reading:
    """The proxy after a round, when its clients are gone."""

    gibibytes: float
    requests: int
    mebibytes: float
    files: int


def main() -> None:
    parser = argparse.ArgumentParser(description="Soak one proxy.")
    parser.add_argument("--gibibytes", type=float, default=20)
    parser.add_argument("--requests", type=int, default=100_000)
    arguments = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    measured_on = machine()
    readings: list[Reading] = []
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="twodfs-soak-")))
        registry = stack.enter_context(Registry.start(directory))
        blob = Blob(os.urandom(BLOB_SIZE), "application/octet-stream")
        with RegistryClient(registry.url) as client:
            client.push_blob("soak/blob", blob)
        push_field_image(
            registry.url, "bench/field", TAG, cells={(0, column): {str(column): b"w"} for column in range(3)}
        )
        settings = {"TWODFS_PROXY_LOG_LEVEL": "error", "TWODFS_PROXY_UPSTREAM_KEEPALIVE_TIMEOUT": "1"}
        proxy = stack.enter_context(Proxy.start(directory, registry.url, environment=settings))
        check_partition(proxy)
        target = f"/v2/soak/blob/blobs/{blob.digest}"
        gibibytes, requests = 0.0, 0
        while gibibytes < arguments.gibibytes or requests < arguments.requests:
            seen_bytes, seen_requests = play(proxy, target, blobs=gibibytes < arguments.gibibytes)
            gibibytes += seen_bytes / 2**30
            requests += seen_requests
            time.sleep(2)  # kept connections end
            files = len(list(Path(f"/proc/{proxy.pid}/fd").iterdir()))
            readings.append(Reading(gibibytes, requests, resident(proxy.pid), files))
            done = f"{gibibytes:7.1f} GiB {requests:8,} requests"
            console.print(f"{done} {readings[-1].mebibytes:6.1f} MiB {files:4} files")
    memory, left_open = growth(readings)
    content = {
        "environment": measured_on,
        "readings": [asdict(one) for one in readings],
        "memory_growth_mib": round(memory, 1),
        "memory_margin_mib": MEMORY_MARGIN,
        "files_growth": left_open,
        "files_margin": FILES_MARGIN,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(content, indent=2) + "\n")
    sys.exit(verdict(memory, left_open))


def play(proxy: Proxy, target: str, *, blobs: bool) -> tuple[int, int]:
    """Load the proxy for a round; returns bytes and requests."""
    manifest = f"{proxy.url}/v2/bench/field/manifests/{PARTITION}"
    wrk = (
        program("wrk"),
        "-t1",
        "-c8",
        f"-d{SECONDS}s",
        "--latency",
        "-s",
        str(DIRECTORY / "wrk.lua"),
        manifest,
        "--",
        "",
    )
    reader = (sys.executable, str(DIRECTORY / "blobs" / "reader.py"), proxy.address, target, str(STREAMS))
    size = str(2048 if blobs else 32)
    with subprocess.Popen((*reader, size), stdout=subprocess.PIPE, text=True) as reading:
        leave_early(proxy, target)
        seen = json.loads(command.run(wrk, environment()).strip().rpartition("\n")[2])
        printed, _ = reading.communicate(timeout=120)
    assert reading.returncode == 0
    assert not seen["failed"], seen
    received = json.loads(printed)["bytes"]
    return received, seen["requests"] + LEAVING + received // BLOB_SIZE


def leave_early(proxy: Proxy, target: str) -> None:
    """Hang up in the middle of some downloads."""
    host, _, port = proxy.address.rpartition(":")
    for at in range(LEAVING):
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            received = 0
            while received < at * BLOB_SIZE // LEAVING // 4:
                received += len(connection.recv(65536))


def growth(readings: list[Reading]) -> tuple[float, float]:
    """Return what grew between the second quarter and the last: MiB of memory, and open files."""
    quarter = max(1, len(readings) // 4)
    early, late = readings[quarter : 2 * quarter] or readings[:1], readings[-quarter:]
    memory = statistics.median(one.mebibytes for one in late) - statistics.median(one.mebibytes for one in early)
    files = statistics.median(one.files for one in late) - statistics.median(one.files for one in early)
    return memory, files


def verdict(memory: float, files: float) -> str | None:
    """Return what grew too much; None when nothing did."""
    if memory > MEMORY_MARGIN:
        return f"memory grew by {memory:.1f} MiB"
    if files > FILES_MARGIN:
        return f"open files grew by {files:g}"
    print(f"flat: {memory:+.1f} MiB, {files:+g} files between the second quarter and the last")
    return None


if __name__ == "__main__":
    main()
