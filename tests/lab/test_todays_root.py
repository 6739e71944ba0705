"""The root of today's engines: nothing that runs in it stays behind, and nothing changes it."""

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.lab import command, todays_root
from tests.lab.mounts import mounts_below
from tests.lab.process import StartError, listens, marked_processes
from tests.lab.todays_root import TodaysRoot
from tests.lab.waiting import wait_until

_REPOSITORY = Path(__file__).parents[2]
_SCRIPT = Path(__file__).with_name("install-todays-engines.sh")


def test_a_directory_may_have_a_root_after_another(tmp_path: Path) -> None:
    for _ in range(2):
        with TodaysRoot.enter(tmp_path) as root:
            assert root.seen("/lab/.ready").exists()  # it is made in the root, once that is whole
            assert root.run("pwd").strip() == "/"


def test_what_is_below_lab_is_the_tests_and_all_else_is_as_it_was(tmp_path: Path) -> None:
    with TodaysRoot.enter(tmp_path) as root:
        root.run("sh", "-c", "echo hello >/lab/said; echo secret >/run/kept; echo $HOME >/root/home")
        assert (tmp_path / "said").read_text() == "hello\n"
        assert root.seen("/run/kept").read_text() == "secret\n"
        with pytest.raises(command.CommandError, match="Read-only file system"):
            root.run("touch", "/etc/changed")
    assert not (todays_root.place() / "run" / "kept").exists()
    assert mounts_below(todays_root.place()) == mounts_below(tmp_path) == []


def test_a_daemon_that_does_not_start_says_what_its_log_says(tmp_path: Path) -> None:
    with TodaysRoot.enter(tmp_path) as root, pytest.raises(StartError, match="no such daemon"):
        root.daemon("sh", "-c", "echo no such daemon; exit 1", log="log", ready=listens(tmp_path / "none"))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_all_that_runs_in_the_root_ends_with_the_test_run(tmp_path: Path, how: signal.Signals) -> None:
    todays_root.place()
    mark = uuid.uuid4().hex
    script = (
        "import pathlib, signal; from tests.lab.todays_root import TodaysRoot;"
        f"root = TodaysRoot.enter(pathlib.Path({str(tmp_path)!r}));"
        # It leaves its session and its parent, as daemons do.
        f"root.run('sh', '-c', 'setsid sh -c \"sleep 600; : {mark}\" >/lab/log 2>&1 &');"
        "root.run('mount', '-t', 'tmpfs', 'tmpfs', '/mnt');"
        "print('up', flush=True); signal.pause()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=_REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as run:
        try:
            assert run.stdout is not None
            assert run.stdout.readline() == b"up\n"
            assert any("sleep 600" in line for line in marked_processes(mark))
            os.kill(run.pid, how)
            run.wait(30)
        finally:
            run.kill()
    wait_until(lambda: marked_processes(mark) == [], "the daemon's end")
    assert mounts_below(todays_root.place()) == mounts_below(tmp_path) == []


def test_a_root_that_is_only_half_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    todays_root.place()
    monkeypatch.setenv("TWODFS_LAB_CACHE", str(tmp_path))
    root = _installed("--where")
    root.with_name(f"{root.name}.making").mkdir()
    with pytest.raises(pytest.fail.Exception, match=r"run tests/lab/install-todays-engines\.sh as root"):
        todays_root.place()
    root.mkdir()
    assert todays_root.place() == _installed() == root


def test_an_interrupted_installation_is_done_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first time debootstrap is killed, the second time it ends well, as far as can be seen."""
    todays_root.place()
    monkeypatch.setenv("TWODFS_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    _write_program(tmp_path / "debootstrap", 'mkdir -p "$4/usr/bin"; touch "$4/usr/bin/half"; kill -KILL $$')
    with pytest.raises(command.CommandError, match="that failed"):
        _installed()
    root = _installed("--where")
    assert not root.exists()
    _write_program(
        tmp_path / "debootstrap", 'mkdir -p "$4/proc" "$4/usr/sbin" "$4/usr/share"; touch "$4/usr/sbin/whole"'
    )
    _write_program(tmp_path / "chroot", "exit 0")
    assert _installed() == root
    assert (root / "usr" / "sbin" / "whole").exists()
    assert not (root / "usr" / "bin" / "half").exists()
    assert mounts_below(root) == []


def test_who_means_to_go_without_needs_no_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWODFS_LAB_CACHE", str(tmp_path))
    monkeypatch.setenv("TWODFS_TEST_WITHOUT", "skopeo,todays-engines")
    assert command.run((str(_SCRIPT),), os.environ) == ""
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(pytest.skip.Exception, match="TWODFS_TEST_WITHOUT names todays-engines"):
        todays_root.place()


def _installed(*arguments: str) -> Path:
    return Path(command.run((str(_SCRIPT), *arguments), os.environ).strip())


def _write_program(file: Path, script: str) -> None:
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
