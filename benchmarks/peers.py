"""What the benchmarks of the proxy share: the machine they run on, and what a server has used."""

from __future__ import annotations

import errno
import os
import platform
import re
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from tests.lab import command
from tests.lab.process import Server
from tests.lab.programs import environment as peer_environment
from tests.lab.programs import program

_ALL_THREADS: Final = 2
"""Linux's CPUCLOCK_SCHED: the time that all threads of a process ran, also those that ended."""

Json = dict[str, Any]


def process_seconds(process: int) -> float:
    """Return the processor time that a process has used, with its threads; raises ProcessLookupError once it ended."""
    try:
        # The clock of another process, as clock_getcpuclockid(3) makes it: stat counts in ticks of 10 ms.
        return time.clock_gettime((~process << 3) | _ALL_THREADS)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise ProcessLookupError(process) from error
        raise


def cpu_seconds(server: Server) -> float:
    """Return the processor time that a server has used, with whatever processes it started."""
    group = str(server.pid)
    used = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if stat.read_text().rpartition(")")[2].split()[2] == group:
                used += process_seconds(int(stat.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
    return used


def resident_bytes(server: Server) -> int:
    """Return the memory that a server's own process has resident now."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    found = re.search(r"^VmRSS:\s*(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return 1024 * int(found[1])


def machine() -> Json:
    return {
        "cpus": os.cpu_count(),
        "cpu": cpu_model(),
        "load_before": round(os.getloadavg()[0], 2),  # others at work on this machine blur the numbers
        "python": platform.python_version(),
        "versions": versions(),
    }


def cpu_model() -> str:
    found = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def versions() -> dict[str, str]:
    packages = ("twodfs-proxy", "aiohttp", "multidict", "yarl", "orjson", "structlog")
    registry = command.run((program("docker-registry"), "--version"), peer_environment())
    return {**{name: version(name) for name in packages}, "docker-registry": registry.split()[-1]}
