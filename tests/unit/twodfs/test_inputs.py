import os
import socket
from pathlib import Path

import pytest

from twodfs.errors import BuildError
from twodfs.images.archive import Directory
from twodfs.inputs import open_file, read_file


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
    with pytest.raises(OSError, match=f"it is a {kind}, not a file"):
        open_file(kinds / kind)


def test_no_more_than_a_byte_beyond_the_limit_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345678")
    assert read_file(tmp_path / "file", limit=5) == b"123456"
    assert read_file(tmp_path / "file", limit=8) == b"12345678"


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
    with pytest.raises(BuildError, match=r"cannot read .*pipe: it is a pipe, not a file"):
        Directory(kinds).open("pipe")
    with pytest.raises(BuildError, match="device is refused: it is a link that leads out of"):
        Directory(kinds).open("device")
