import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import command
from tests.lab.layers import Blob
from tests.lab.line import Line
from tests.lab.peers import require
from tests.lab.programs import environment, program
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient
from tests.lab.waiting import wait_until

_REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    require("ip", "tc", "nsenter", "unshare", "iptables")
    with Line.start(tmp_path) as started:
        yield started


def test_a_registry_at_the_far_end_is_reached_over_the_line_alone(tmp_path: Path, line: Line) -> None:
    require("docker-registry")
    blob = Blob(os.urandom(200_000), "application/octet-stream")
    with Registry.start(tmp_path, host=line.far, within=line.argv()) as registry:
        with RegistryClient(registry.url) as client:
            client.push_blob("lab/line", blob)
        line.throttle(20)
        before = line.received()
        with RegistryClient(registry.url) as client:
            assert client.request("GET", f"/v2/lab/line/blobs/{blob.digest}").body == blob.content
        crossed = line.received() - before
        assert blob.size < crossed < 1.1 * blob.size  # each packet has its headers, as on a wire
        assert registry.requests()[-1].size == blob.size


def test_a_line_refuses_hangs_and_comes_back(tmp_path: Path, line: Line) -> None:
    require("docker-registry")
    with Registry.start(tmp_path, host=line.far, within=line.argv()) as registry:
        host, _, port = registry.address.partition(":")
        line.refuse()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)), timeout=5)
        line.restore()
        socket.create_connection((host, int(port)), timeout=5).close()
        line.cut()
        with pytest.raises(TimeoutError):
            socket.create_connection((host, int(port)), timeout=0.2)
        line.restore()
        socket.create_connection((host, int(port)), timeout=5).close()


def test_the_queue_before_a_line_is_short(line: Line) -> None:
    """Else what is asked behind a big download would wait for seconds, and lines would look worse than they are."""
    line.throttle(8)
    shape = line.run("tc", "qdisc")
    assert "rate 8Mbit" in shape
    assert int(shape.partition(" lat ")[2].partition("ms")[0]) <= 250


def test_two_lines_are_two(tmp_path: Path, line: Line) -> None:
    (tmp_path / "other").mkdir()
    with Line.start(tmp_path / "other") as other:
        assert {line.near, line.far}.isdisjoint({other.near, other.far})


def test_a_killed_run_leaves_no_interface(tmp_path: Path) -> None:
    require("ip", "tc", "nsenter", "unshare", "iptables")
    script = (
        "import sys, time, pathlib; from tests.lab.line import Line;"
        f"made = Line.start(pathlib.Path({str(tmp_path)!r})); line = made.__enter__();"
        "print(line.near, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=_REPOSITORY, stdout=subprocess.PIPE, text=True) as run:
        try:
            assert run.stdout is not None
            address = run.stdout.readline().strip()
            assert address in command.run((program("ip"), "address"), environment())
        finally:
            run.send_signal(signal.SIGKILL)
    wait_until(
        lambda: address not in command.run((program("ip"), "address"), environment()), "the end of the interface"
    )
