"""The watchdog of event loops finds what it is for, and nothing that a busy machine does."""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.injected.loop_watchdog import Stall, Watchdog

_REPOSITORY = Path(__file__).parents[2]
_VERDICT = r"^(PASSED|FAILED|ERROR) \S+::(\w+)"


def _work(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def _call_of_c(seconds: float) -> None:
    """Hold the interpreter in calls that run no line of Python, each about half as long as asked for."""
    document = b"[" + b"1.5," * 1_000_000 + b"1]"
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        json.loads(document)


def _read_from_a_silent_socket(seconds: float) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(seconds)
        with pytest.raises(TimeoutError):
            ours.recv(1)


def _wait_for_a_lock(seconds: float) -> None:
    lock = threading.Lock()
    lock.acquire()
    assert not lock.acquire(timeout=seconds)


def _execute_child(seconds: float) -> None:
    """Stand in for the start of a process on a machine that has no processor for it."""
    time.sleep(seconds)


def _noticed(block: Callable[[], None]) -> list[Stall]:
    """Run `block` in a callback of a loop in a thread of its own; return what a watchdog there reported."""
    found: list[Stall] = []

    async def main() -> None:
        asyncio.get_running_loop().call_soon(block)
        await asyncio.sleep(0)
        await asyncio.sleep(0.05)

    def run() -> None:
        with Watchdog(found.append):
            asyncio.run(main())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found


@pytest.mark.parametrize("block", [_work, _call_of_c])
def test_work_is_noticed_with_the_place_where_it_is_done(block: Callable[[float], None]) -> None:
    (stall,) = _noticed(lambda: block(0.3))
    assert stall.processor >= 0.3
    assert block.__name__ in stall.stack


@pytest.mark.parametrize("block", [time.sleep, _read_from_a_silent_socket, _wait_for_a_lock])
def test_sleep_is_noticed_with_the_place_where_it_sleeps(block: Callable[[float], None]) -> None:
    (stall,) = _noticed(lambda: block(0.5))
    assert stall.asleep > 0.1
    assert "lambda" in stall.stack


def test_many_short_callbacks_are_no_stall() -> None:
    async def main() -> None:
        for _ in range(10):
            _work(0.02)
            await asyncio.sleep(0)

    assert _noticed(lambda: None) == []
    found: list[Stall] = []
    with Watchdog(found.append):
        asyncio.run(main())
    assert found == []


_STARVED = """
import asyncio, json, os, subprocess, sys, time
from tests.lab.injected.loop_watchdog import Watchdog

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3)]
found, longest = [], 0.0
try:
    os.nice(5)
    async def main():
        global longest
        began = time.monotonic()
        asyncio.get_running_loop().call_soon(work)
        await asyncio.sleep(0)
        longest = time.monotonic() - began
    def work():
        end = time.thread_time() + 0.04
        while time.thread_time() < end:
            pass
    with Watchdog(found.append):
        asyncio.run(main())
finally:
    for hog in hogs:
        hog.kill()
        hog.wait()
print(json.dumps([longest, list(map(str, found))]))
"""


def test_a_callback_that_gets_no_processor_is_no_stall() -> None:
    argv = (sys.executable, "-c", _STARVED)
    done = subprocess.run(argv, cwd=_REPOSITORY, capture_output=True, check=True, timeout=60)
    longest, found = json.loads(done.stdout)
    assert longest >= 0.2, "the machine left nobody waiting"
    assert found == []


_STANDING = """
import asyncio, os, signal, time
from pathlib import Path
import pytest
from tests.lab.proxy import Proxy
from tests.lab.process import answers_http

@pytest.fixture(scope="module")
def proxy(registry, tmp_path_factory):
    directory = tmp_path_factory.mktemp("proxy")
    with Proxy.start(directory, registry.url, module="tests.lab.standing_proxy") as started:
        yield started

def hear(proxy):
    is_well = answers_http(int(proxy.admin_url.rpartition(":")[2]), "/healthz")
    end = time.monotonic() + 30
    while not is_well():
        assert time.monotonic() < end

def stand(proxy, how):
    os.kill(proxy.pid, how)
    hear(proxy)

def test_stands_asleep(proxy):
    stand(proxy, signal.SIGUSR1)

def test_stands_at_work(proxy):
    stand(proxy, signal.SIGUSR2)

@pytest.mark.loop_may_stand(reason="it is told to")
def test_stands_for_a_reason(proxy):
    stand(proxy, signal.SIGUSR1)

def test_turns(proxy):
    hear(proxy)

def run(path):
    code = compile("time.sleep(0.3)", path, "exec")
    async def main():
        asyncio.get_running_loop().call_soon(exec, code, {"time": time})
        await asyncio.sleep(0)
    asyncio.run(main())

def test_stands_here_by_the_proxys_own_doing():
    run(PLANTED)

def test_stands_here_by_a_tests_doing():
    run(str(Path(__file__)))
"""


def test_a_test_fails_when_a_loop_of_the_proxy_stood_in_it_without_a_reason(tmp_path: Path) -> None:
    planted = str(_REPOSITORY / "proxy" / "planted.py")
    test = tmp_path / "test_standing.py"
    test.write_text(_STANDING.replace("PLANTED", repr(planted)))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "-c", os.devnull),
            *("-p", "tests.lab.fixtures", "-p", "tests.lab.loops", "--rootdir", str(tmp_path), str(test)),
        ],
        cwd=_REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "planted.py" in done.stdout
    verdicts = {name: outcome for outcome, name in re.findall(_VERDICT, done.stdout, re.MULTILINE)}
    assert verdicts == {
        "test_stands_asleep": "FAILED",
        "test_stands_at_work": "FAILED",
        "test_stands_for_a_reason": "PASSED",
        "test_turns": "PASSED",
        "test_stands_here_by_the_proxys_own_doing": "FAILED",
        "test_stands_here_by_a_tests_doing": "PASSED",
    }, done.stdout


def test_the_start_of_a_process_may_wait_for_a_processor_but_not_for_ever() -> None:
    assert not _noticed(lambda: _execute_child(0.2))
    assert _noticed(lambda: _execute_child(0.7))
