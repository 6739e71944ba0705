"""Whatever ends a test run, nothing that it started stays behind."""

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.lab.mounts import mounts_below
from tests.lab.process import marked_processes
from tests.lab.waiting import wait_until

_REPOSITORY = Path(__file__).parents[2]
_INTERRUPTED_TEST = """
from pathlib import Path
from tests.lab.images import busybox_base, push_image

def test_interrupted(registry, redis_server, docker_engine, containerd_engine, podman_engine):
    redis_server.pause()
    pushed = push_image(registry.url, "lab/sleep", "v1", base=busybox_base())
    {engine}.pull(pushed.reference())
    Path({started!r}).touch()
    {engine}.run(pushed.reference(), "/bin/sh", "-c", "sleep 60; : {mark}")
"""


@pytest.mark.parametrize(
    ("engine", "more"),
    [
        ("docker_engine", ()),
        ("containerd_engine", ()),
        ("podman_engine", ()),
        ("containerd_engine", ("-n", "1", "-p", "tests.lab.parallel")),
    ],
)
def test_an_interrupted_run_leaves_no_process_and_no_mount(tmp_path: Path, engine: str, more: tuple[str, ...]) -> None:
    mark = uuid.uuid4().hex
    run = _start_pytest(tmp_path, engine, mark, *more)
    try:
        wait_until(lambda: any("sleep 60" in line for line in marked_processes(mark)), "the container")
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does, and `timeout`
        written, _ = run.communicate(timeout=60)
    finally:
        run.kill()
        run.communicate()
    assert run.returncode == pytest.ExitCode.INTERRUPTED, written
    assert marked_processes(mark) == []
    assert mounts_below(tmp_path) == []


def test_servers_end_with_a_test_run_that_was_killed(tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    script = (
        "import sys, time, pathlib; from tests.lab.registry import Registry;"
        f"server = Registry.start(pathlib.Path({str(tmp_path)!r})); print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=_REPOSITORY,
        env={**os.environ, "LAB_MARK": mark},
        stdout=subprocess.PIPE,
    ) as run:
        try:
            assert run.stdout is not None
            assert run.stdout.readline() == b"up\n"
            assert len(marked_processes(mark)) == 2
        finally:
            run.kill()
    wait_until(lambda: marked_processes(mark) == [], "the end of the registry")


def _start_pytest(directory: Path, engine: str, mark: str, *more: str) -> subprocess.Popen[bytes]:
    started = directory / "started"
    test = directory / "test_interrupted.py"
    test.write_text(_INTERRUPTED_TEST.format(engine=engine, started=str(started), mark=mark))
    run = subprocess.Popen(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "tests.lab.fixtures", "-p", "no:cacheprovider"),
            *("-c", os.devnull, "--rootdir", str(directory), "--basetemp", str(directory / "t"), str(test)),
            *more,
        ],
        cwd=_REPOSITORY,
        env={**os.environ, "LAB_MARK": mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    wait_until(lambda: started.exists() or run.poll() is not None, "the inner test")
    return run
