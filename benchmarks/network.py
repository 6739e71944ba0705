"""A network of a benchmark's own: no traffic but its own, and Linux's default congestion control.

Where a machine paces each connection by a timer (``bbr`` without the ``fq`` queueing discipline), the timers
are most of what loopback costs, for every contender alike, and hide what they differ in.
"""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

_CONTROL: Final = "cubic"
_INSIDE: Final = "TWODFS_BENCH_NETWORK"
_LOOPBACK: Final = ("127.0.0.0/8", "127.0.0.1")


def enter(module: str) -> str:
    """Begin ``module`` anew in such a network; inside it, or where there can be none, return the control."""
    if _INSIDE in os.environ:
        return os.environ[_INSIDE]
    unshare = shutil.which("unshare")
    if os.geteuid() or unshare is None or shutil.which("ip") is None:
        return Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    # It comes back as another process, which is inside.
    argv = (unshare, "--net", "--", sys.executable, "-m", __name__, module, *sys.argv[1:])
    return os.execve(unshare, argv, {**os.environ, _INSIDE: _CONTROL})


def _set_up() -> None:
    def ip(*arguments: str) -> None:
        subprocess.run(("ip", *arguments), check=True)

    ip("link", "set", "lo", "up")
    for to in _LOOPBACK:
        route = ("local", to, "dev", "lo", "table", "local", "proto", "kernel", "scope", "host")
        ip("route", "change", *route, "src", "127.0.0.1", "congctl", _CONTROL)


if __name__ == "__main__":
    _set_up()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
