"""One way to read a file of somebody's configuration: keys, certificates, passwords, Docker's own.

Such a file is a regular one with a bounded size. A device may never end, and a pipe that nobody writes to
never begin, so neither is read by chance. What is read once, at the start, may come through a pipe
(``--config <(…)``, ``/dev/stdin``): whoever writes to it has ``PIPE_SECONDS`` to be through.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from pathlib import Path
from typing import Final

MOST: Final = 2**20
"""Bytes that a file has at most, unless it is said otherwise."""
PIPE_SECONDS: Final = 10.0
_AT_ONCE: Final = 64 * 1024
_KINDS: Final = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def read_file(path: Path, *, limit: int = MOST, may_be_pipe: bool = False) -> bytes:
    """Return what is in ``path``.

    Args:
        path: of a regular file, or a link to one.
        limit: most bytes that it may have.
        may_be_pipe: whether a pipe and ``/dev/null`` will do as well, for what is read once.

    Raises:
        OSError: it cannot be read, is no regular file, or has more bytes; ``strerror`` says which, without
            the path.
    """
    # O_NONBLOCK: else a pipe without a writer is waited for while it is opened.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        mode = os.fstat(descriptor).st_mode
        is_pipe = may_be_pipe and stat.S_ISFIFO(mode)
        is_empty = may_be_pipe and stat.S_ISCHR(mode) and os.path.samestat(os.fstat(descriptor), _null())
        if not (stat.S_ISREG(mode) or is_pipe or is_empty):
            kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "something else")
            raise OSError(errno.EINVAL, f"it is {kind}, and has to be a regular file")
        return _read(descriptor, limit, time.monotonic() + PIPE_SECONDS if is_pipe else None)
    finally:
        os.close(descriptor)


def _null() -> os.stat_result:
    return Path(os.devnull).stat()


def _read(descriptor: int, limit: int, deadline: float | None) -> bytes:
    content = bytearray()
    while len(content) <= limit:
        if deadline is not None and not _is_ready(descriptor, deadline):
            raise OSError(errno.ETIMEDOUT, f"it is a pipe whose writer is not through after {PIPE_SECONDS:g} s")
        chunk = os.read(descriptor, min(_AT_ONCE, limit + 1 - len(content)))
        if not chunk:
            return bytes(content)
        content += chunk
    raise OSError(errno.EFBIG, f"it has more than {limit} bytes")


def _is_ready(descriptor: int, deadline: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
