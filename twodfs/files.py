"""One way to open a file that a user names: a configuration, a key, a build file, a part of an image.

Such a file is a regular one and is read up to a bound. A device may never end, and a pipe without a writer
holds up the reader, so neither is read by chance. A file that is read once, at the start, may come through a
pipe (``--config <(…)``, ``/dev/stdin``): its writer has ``PIPE_SECONDS`` to be through.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from io import FileIO
from pathlib import Path
from typing import Final, NamedTuple, Self

MOST: Final = 2**20
"""Bytes that a file of a configuration has at most, by default."""
MOST_PEM: Final = 4 * 2**20
"""Bytes that a file of certificates or keys has at most; those of all public authorities have a quarter of it."""
PIPE_SECONDS: Final = 10.0
_PIPE_PIECE: Final = 64 * 1024
_PIECE: Final = 1024 * 1024
_KINDS: Final = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


class Stamp(NamedTuple):
    """Metadata that tells a file from a changed one. The ctime changes with each change, and cannot be set."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    links: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """Return the stamp of a file that was looked at."""
        return cls(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_nlink)

    def is_unchanged(self, since: Stamp) -> bool:
        """Say whether the file was not written to; one of its names may have come or gone."""
        return self == since or (self.links != since.links and self[:3] == since[:3])


def open_file(path: Path, *, follow: bool = True, may_be_pipe: bool = False) -> FileIO:
    """Return a regular file, to be read without a buffer and closed. Never waits.

    Args:
        path: where it is.
        follow: whether ``path`` itself may be a link.
        may_be_pipe: whether a pipe and ``/dev/null`` will do as well; reads of a pipe do not wait either.

    Raises:
        OSError: there is none, it may not be read, or it is no regular file; ``strerror`` says which, without
            the path.
    """
    # Looked at first: to open some devices is to do something.
    _check_kind(path.stat(follow_symlinks=follow), path, may_be_pipe=may_be_pipe)
    # O_NONBLOCK: else a pipe without a writer is waited for while it is opened.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    descriptor = os.open(path, flags | (0 if follow else os.O_NOFOLLOW))
    try:
        _check_kind(os.fstat(descriptor), path, may_be_pipe=may_be_pipe)
        return FileIO(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_file(path: Path, *, limit: int = MOST, may_be_pipe: bool = False) -> bytes:
    """Return the content of ``path``; arguments as for ``open_file``, and the most bytes that it may have.

    Raises:
        OSError: as ``open_file`` does; or it has more bytes, or is a pipe whose writer takes too long.
    """
    with open_file(path, may_be_pipe=may_be_pipe) as file:
        is_pipe = stat.S_ISFIFO(os.fstat(file.fileno()).st_mode)
        content = _read_pipe(file, limit + 1) if is_pipe else read_up_to(file, limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit} bytes")
    return content


def read_up_to(file: FileIO, most: int) -> bytes:
    """Return the rest of ``file``, ``most`` bytes at most."""
    content = bytearray()
    while len(content) < most and (piece := file.read(min(most - len(content), _PIECE))):
        content += piece
    return bytes(content)


def _read_pipe(file: FileIO, most: int) -> bytes:
    content = bytearray()
    deadline = time.monotonic() + PIPE_SECONDS
    poll = select.poll()
    poll.register(file, select.POLLIN)
    while len(content) < most:
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise OSError(errno.ETIMEDOUT, f"it is a pipe whose writer is not through after {PIPE_SECONDS:g} s")
        piece = os.read(file.fileno(), min(_PIPE_PIECE, most - len(content)))
        if not piece:
            break
        content += piece
    return bytes(content)


def _check_kind(found: os.stat_result, path: Path, *, may_be_pipe: bool) -> None:
    kind = stat.S_IFMT(found.st_mode)
    if kind == stat.S_IFREG or (may_be_pipe and (kind == stat.S_IFIFO or _is_null(found))):
        return
    code = errno.EISDIR if kind == stat.S_IFDIR else errno.EINVAL
    raise OSError(code, f"it is {_KINDS.get(kind, 'something else')}, and has to be a regular file", str(path))


def _is_null(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and os.path.samestat(found, Path(os.devnull).stat())
