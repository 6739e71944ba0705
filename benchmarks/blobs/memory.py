"""What many slow downloads cost in memory, and what they do to the manifests of others."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from benchmarks.manifests import PARTITION, TAG, check_partition
from tests.lab import command
from tests.lab.images import push_field_image
from tests.lab.layers import Blob
from tests.lab.programs import environment, program
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient

DIRECTORY: Final = Path(__file__).parent
_RSS: Final = re.compile(r"^VmRSS:\s+(\d+) kB", re.MULTILINE)
_PEAK: Final = re.compile(r"^VmHWM:\s+(\d+) kB", re.MULTILINE)
_BLOB_SIZE: Final = 64 * 2**20


def slow_downloads(streams: int, seconds: int, relay: str) -> dict[str, Any]:
    """Run ``streams`` slow downloads and ask for a partition meanwhile."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="twodfs-bench-")))
        registry = stack.enter_context(Registry.start(directory))
        push_field_image(
            registry.url,
            "bench/field",
            TAG,
            cells={(r, c): {f"{r}-{c}": b"w"} for r in range(3) for c in range(3)},
        )
        blob = Blob(bytes(_BLOB_SIZE), "application/octet-stream")
        with RegistryClient(registry.url) as client:
            client.push_blob("bench/blob", blob)
        settings = {"TWODFS_PROXY_BLOBS_RELAY": relay}
        proxy = stack.enter_context(Proxy.start(directory, registry.url, environment=settings))
        check_partition(proxy)
        idle = resident(proxy.pid)
        target = f"/v2/bench/blob/blobs/{blob.digest}"
        alone = _manifests(proxy, 3)
        script = (sys.executable, str(DIRECTORY / "slow.py"), proxy.address, target)
        with subprocess.Popen([*script, str(streams), str(seconds + 10)], stdout=subprocess.PIPE, text=True) as slow:
            assert slow.stdout is not None
            assert slow.stdout.readline() == "under way\n"
            meanwhile = _manifests(proxy, seconds)
            mebibytes = resident(proxy.pid)
            seen = json.loads(slow.stdout.read())
        assert slow.returncode == 0
        return {
            "streams": seen["streams"],
            "resident_idle_mib": idle,
            "resident_mib": mebibytes,
            "peak_mib": resident(proxy.pid, _PEAK),
            "manifests_alone": alone,
            "manifests_meanwhile": meanwhile,
        }


def resident(process: int, which: re.Pattern[str] = _RSS) -> float:
    """Return the resident memory of a process in MiB."""
    found = which.search(Path(f"/proc/{process}/status").read_text())
    assert found is not None
    return round(int(found[1]) / 1024, 1)


def _manifests(proxy: Proxy, seconds: int) -> dict[str, float]:
    """Ask for a partition at a rate far below the limit: what matters is how long others wait."""
    url = f"{proxy.url}/v2/bench/field/manifests/{PARTITION}"
    script = str(DIRECTORY.parent / "wrk.lua")
    argv = (program("wrk"), "-t1", "-c4", f"-d{seconds}s", "--latency", "-s", script, url, "--", "")
    printed = command.run(argv, environment())
    seen = json.loads(printed.strip().rpartition("\n")[2])
    assert not seen["failed"], seen
    rate = seen["requests"] / seen["microseconds"] * 1e6
    return {"per_second": round(rate, 1), "p50_ms": seen["p50"] / 1000, "p99_ms": seen["p99"] / 1000}
