"""`make demo` as its users run it, with small files and the engine that runs anywhere."""

import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.lab.peers import require
from tests.lab.waiting import wait_until

_DEMO = Path(__file__).parents[2] / "deploy" / "demo" / "demo.py"
_PEERS = ("docker-registry", "redis-server", "skopeo")
_SERVERS = ("docker-registry", "redis-server", "twodfs-proxy")


def _start(directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(_DEMO), "--engine", "skopeo", "--cell-bytes", "10000"],
        env={**os.environ, "TMPDIR": str(directory)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_demo_holds_what_it_claims_and_cleans_up(tmp_path: Path) -> None:
    require(*_PEERS)
    with _start(tmp_path) as demo:
        printed, _ = demo.communicate(timeout=120)
    assert demo.returncode == 0, printed
    assert "Everything shown was checked, and holds." in printed
    assert printed.count("same as its source") == 2 + 6 + 2 * 2 * ("/bin/sh" in printed)
    assert "partition 7.7.8.8 selects no allotment" in printed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_stops_what_it_started(tmp_path: Path, how: signal.Signals) -> None:
    require(*_PEERS)
    with _start(tmp_path) as demo:
        try:
            wait_until(lambda: len(_children(demo.pid)) == len(_SERVERS), "its servers")
            children = _children(demo.pid)
            demo.send_signal(how)
            printed, _ = demo.communicate(timeout=30)
        finally:
            demo.kill()
    assert demo.returncode == 130, printed
    wait_until(lambda: not any(Path(f"/proc/{child}").exists() for child in children), "the end of its servers")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("found", [{}, {"a": b"other"}, {"a": b"1", "more": b"1"}])
def test_a_partition_that_differs_from_its_sources_fails_the_demo(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, bytes]
) -> None:
    monkeypatch.syspath_prepend(str(_DEMO.parent))
    demo: dict[str, Any] = runpy.run_path(str(_DEMO))
    demo["check_files"]({"a": b"1"}, {"a": b"1"})
    with pytest.raises(demo["UnprovenError"]):
        demo["check_files"](found, {"a": b"1"})


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
