import ast
import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.process import Launch, Server, StartError, answers_http, free_port, listens
from tests.lab.programs import environment

_REPOSITORY = Path(__file__).parents[2]
_DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(60)
"""
_FORKING = "import os, time; os.fork(); time.sleep(60)"


def _python(directory: Path, code: str, ready: Callable[[], bool], patience: float = 10) -> Server:
    return Server(
        Launch(
            argv=(sys.executable, "-c", code),
            log=directory / "log",
            ready=ready,
            environment=environment(),
            directory=directory,
            patience=patience,
        )
    )


def _web_server(directory: Path, port: int) -> Server:
    argv = (sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port))
    launch = Launch(
        argv=argv,
        log=directory / "log",
        ready=answers_http(port, "/"),
        environment=environment(),
        directory=directory,
    )
    return Server(launch)


def test_a_server_answers_once_launched_and_not_after_stop(tmp_path: Path) -> None:
    port = free_port()
    with _web_server(tmp_path, port) as server:
        server.launch()
        assert server.is_running()
        assert answers_http(port, "/log")()
        assert not answers_http(port, "/absent")()
        assert server.stop() == -signal.SIGTERM
        assert not server.is_running()
        assert not listens(port)()
        server.restart()
        assert answers_http(port, "/")()
    assert not listens(port)()


def test_a_paused_server_accepts_and_does_not_answer_and_still_stops(tmp_path: Path) -> None:
    port = free_port()
    with _web_server(tmp_path, port) as server:
        server.launch()
        server.pause()
        assert listens(port)()
        assert not answers_http(port, "/")()
        server.resume()
        assert answers_http(port, "/")()
        server.pause()
        assert server.stop() == -signal.SIGTERM


def test_a_server_that_does_not_heed_sigterm_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with _python(tmp_path, _DEAF, lambda: "up" in log.read_text()) as server:
        server.launch()
        assert server.stop(grace=0.1) == -signal.SIGKILL


def test_a_server_that_ends_at_once_says_what_its_log_says(tmp_path: Path) -> None:
    server = _python(tmp_path, "raise SystemExit('out of luck')", lambda: False)
    with pytest.raises(StartError, match=r"ended before it was ready; .*/log ends:\nout of luck"):
        server.launch()
    assert not server.is_running()


def test_a_server_that_never_gets_ready_is_ended(tmp_path: Path) -> None:
    server = _python(tmp_path, "import time; time.sleep(60)", lambda: False, patience=0.2)
    with pytest.raises(StartError, match=r"was not ready after 0.2 s"):
        server.launch()
    assert not server.is_running()


def test_what_a_server_forked_ends_with_it(tmp_path: Path) -> None:
    with _python(tmp_path, _FORKING, lambda: True) as server:
        server.launch()
        group = server.pid
        assert server.kill() == -signal.SIGKILL
    assert [one for one in _states_and_groups() if one[1] == str(group) and one[0] != "Z"] == []


def test_free_ports_lie_below_the_ephemeral_range() -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(1024 < free_port() < first for _ in range(20))


def test_ports_are_given_to_one_test_run_at_a_time() -> None:
    ports = "print({free_port() for _ in range(400)}, flush=True); input()"
    script = f"from tests.lab.process import free_port; {ports}"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=_REPOSITORY
    ) as other:
        assert other.stdout is not None
        theirs = ast.literal_eval(other.stdout.readline().decode())
        ours = [free_port() for _ in range(400)]
        other.communicate(b"\n")
    assert len(set(ours)) == 400
    assert theirs.isdisjoint(ours)


def _states_and_groups() -> Iterator[tuple[str, str]]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended while we looked
            state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
            yield state, group
