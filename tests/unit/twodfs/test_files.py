"""Files of a configuration: a regular file, up to a bound, and never waited for."""

import os
import socket
import threading
from pathlib import Path

import pytest

from twodfs import files
from twodfs.errors import BuildError
from twodfs.files import open_file, read_file, read_up_to
from twodfs.images.archive import Directory


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


@pytest.fixture
def kinds(tmp_path: Path) -> Path:
    """A directory with one of each kind that is no file."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "directory").mkdir()
    listener = socket.socket(socket.AF_UNIX)
    here = os.open(tmp_path, os.O_RDONLY)
    listener.bind(f"/proc/self/fd/{here}/socket")
    listener.close()
    os.close(here)
    return tmp_path


@pytest.mark.parametrize("kind", ["pipe", "device", "directory", "socket"])
def test_what_is_no_file_is_refused_without_a_wait(kinds: Path, kind: str) -> None:
    with pytest.raises(OSError, match=f"it is a {kind}, and has to be a regular file"):
        open_file(kinds / kind)


def test_no_more_than_a_byte_beyond_the_limit_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345678")
    for most, expected in ((6, b"123456"), (9, b"12345678")):
        with open_file(tmp_path / "file") as file:
            assert read_up_to(file, most) == expected


def test_links_are_followed_within_a_layout_and_not_out_of_it(tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    (layout / "blobs").mkdir(parents=True)
    (layout / "blobs" / "a").write_bytes(b"a")
    (layout / "b").symlink_to("blobs/a")
    (layout / "blobs" / "c").symlink_to("../b")
    (tmp_path / "outside").write_bytes(b"secret")
    (layout / "d").symlink_to("../outside")
    (layout / "e").symlink_to(tmp_path)
    (layout / "loop").symlink_to("loop")
    (tmp_path / "alias").symlink_to("layout")
    for directory in (Directory(layout), Directory(tmp_path / "alias")):
        for name in ("b", "blobs/c"):
            with directory.open(name) as file:
                assert file.read() == b"a"
        for name in ("d", "e/outside", "../outside"):
            with pytest.raises(BuildError, match="is refused: it is a link that leads out of"):
                directory.open(name)
        with pytest.raises(BuildError, match=r"cannot read .*loop"):
            directory.open("loop")


def test_pipes_and_devices_in_a_layout_are_refused(kinds: Path) -> None:
    with pytest.raises(BuildError, match=r"cannot read .*pipe: it is a pipe, and has to be a regular file"):
        Directory(kinds).open("pipe")
    with pytest.raises(BuildError, match="device is refused: it is a link that leads out of"):
        Directory(kinds).open("device")
