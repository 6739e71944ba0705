"""Files of a configuration: a regular file, up to a bound, and never waited for."""

import os
import socket
import threading
from pathlib import Path

import pytest

from twodfs import files
from twodfs.files import read_file


def problem(path: Path, limit: int = 100, *, may_be_pipe: bool = False) -> str:
    with pytest.raises(OSError, match=r".") as caught:
        read_file(path, limit=limit, may_be_pipe=may_be_pipe)
    return str(caught.value.strerror)


def test_a_file_is_read_up_to_its_bound_and_through_links(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 100)
    (tmp_path / "link").symlink_to(file)
    assert read_file(file, limit=100) == read_file(tmp_path / "link", limit=100) == b"x" * 100
    assert problem(file, 99) == "it has more than 99 bytes"


def test_a_file_that_announces_nothing_is_read_to_its_end() -> None:
    assert read_file(Path("/proc/self/cmdline")) == Path("/proc/self/cmdline").read_bytes()


@pytest.mark.parametrize("may_be_pipe", [False, True])
def test_what_is_no_file_is_refused_with_its_kind(tmp_path: Path, *, may_be_pipe: bool) -> None:
    (tmp_path / "link").symlink_to("/dev/zero")
    assert problem(tmp_path, may_be_pipe=may_be_pipe) == "it is a directory, and has to be a regular file"
    for device in (Path("/dev/zero"), tmp_path / "link", Path("/dev/random")):
        assert problem(device, may_be_pipe=may_be_pipe) == "it is a device, and has to be a regular file"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        assert problem(tmp_path / "socket", may_be_pipe=may_be_pipe)
    assert problem(tmp_path / "none", may_be_pipe=may_be_pipe) == "No such file or directory"


def test_a_pipe_is_refused_without_waiting_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert problem(tmp_path / "pipe") == "it is a pipe, and has to be a regular file"
    assert problem(Path("/dev/null")) == "it is a device, and has to be a regular file"


def test_what_is_read_once_may_come_through_a_pipe() -> None:
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as file:
            file.write(b"x" * 150_000)

    writer = threading.Thread(target=write)
    writer.start()
    assert read_file(Path(f"/dev/fd/{reading}"), may_be_pipe=True) == b"x" * 150_000
    writer.join()
    os.close(reading)
    assert read_file(Path("/dev/null"), may_be_pipe=True) == b""


def test_a_pipe_that_nobody_writes_to_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PIPE_SECONDS", 0.05)
    os.mkfifo(tmp_path / "pipe")
    assert "not through" in problem(tmp_path / "pipe", may_be_pipe=True)
    reading, writing = os.pipe()
    os.write(writing, b"x")
    assert "not through" in problem(Path(f"/dev/fd/{reading}"), may_be_pipe=True)
    os.write(writing, b"x" * 200)
    assert problem(Path(f"/dev/fd/{reading}"), may_be_pipe=True) == "it has more than 100 bytes"
    os.close(reading)
    os.close(writing)
