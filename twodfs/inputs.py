"""Files that somebody names to us, opened so that nothing hangs and nothing is endless.

A pipe that nobody writes to holds up whoever opens it, and a device has no end. So both are refused, and what
is read is read up to a bound.
"""

from __future__ import annotations

import errno
import os
import stat
from io import FileIO
from pathlib import Path
from typing import Final

from twodfs.errors import BuildError

_WORDS: Final = {
    stat.S_IFIFO: "it is a pipe, not a file",
    stat.S_IFCHR: "it is a device, not a file",
    stat.S_IFBLK: "it is a device, not a file",
    stat.S_IFSOCK: "it is a socket, not a file",
    stat.S_IFDIR: "it is a directory, not a file",
}


def open_file(path: Path, *, follow: bool = True) -> FileIO:
    """Return a regular file, to be read without a buffer and closed. Never waits for anybody.

    Args:
        path: where it is.
        follow: whether ``path`` itself may be a link.

    Raises:
        OSError: there is none, it may not be read, or it is no regular file; ``strerror`` says which.
    """
    # Looked at first: to open some devices is to do something.
    _check_kind(path.stat(follow_symlinks=follow).st_mode, path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    try:
        _check_kind(os.fstat(descriptor).st_mode, path)
        return FileIO(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_file(path: Path, *, limit: int) -> bytes:
    """Return a regular file, of a longer one its first ``limit`` bytes and one more.

    Raises:
        OSError: as ``open_file`` does.
    """
    with open_file(path) as file:
        return read_up_to(file, limit + 1)


def read_up_to(file: FileIO, most: int) -> bytes:
    """Return what ``file`` has left, ``most`` bytes at most."""
    content = bytearray()
    while len(content) < most and (piece := file.read(min(most - len(content), 1024 * 1024))):
        content += piece
    return bytes(content)


def inside(directory: Path, name: str) -> Path:
    """Return where the file ``name`` of ``directory`` is, links followed as long as they stay in it.

    Raises:
        BuildError: one leads out of it.
        OSError: links go round.
    """
    root = os.path.realpath(directory)
    place = os.path.realpath(directory / name)
    if os.path.commonpath((root, place)) != root:
        raise BuildError(f"{directory / name} is refused: it is a link that leads out of {directory}")
    return Path(place)


def _check_kind(mode: int, path: Path) -> None:
    kind = stat.S_IFMT(mode)
    if kind != stat.S_IFREG:
        code = errno.EISDIR if kind == stat.S_IFDIR else errno.EINVAL
        raise OSError(code, _WORDS.get(kind, "it is no file"), str(path))
