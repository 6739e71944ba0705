"""Files that are there as a whole or not at all, and that are removed only while nobody uses them.

A file is written under another name beside its place, flushed to the disk and renamed. Whoever writes or reads a file
holds a lock on it (``flock``), which ends with its process however that ends; who removes files takes the lock first.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from proxy.logs import get_logger

_BESIDE: Final = re.compile(r"\..+\.[0-9a-f]{16}")
"""Names of files that are not in their place yet, or not any more."""
_TOKEN_BYTES: Final = 8
PRIVATE: Final = 0o600
_PIECE: Final = 2**20
_SILENT: Final = 600.0
"""Seconds between two log lines about the same failure."""


class Fingerprint(NamedTuple):
    """What a file was when it was hashed; times in nanoseconds."""

    size: int
    inode: int
    mtime: int
    ctime: int

    @classmethod
    def of(cls, status: os.stat_result) -> Fingerprint:
        """Return what the file is now."""
        return cls(status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)


class Faults:
    """What the disk fails at, in the log once in ten minutes for each kind."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], float] = {}

    def tell(self, doing: str, error: Exception) -> None:
        """Log that ``error`` came while ``doing``, unless that was logged lately."""
        code = error.errno if isinstance(error, OSError) else None
        kind = errno.errorcode.get(code, str(code)) if code else type(error).__name__
        now = time.monotonic()
        if now - self._told.get((doing, kind), -_SILENT) >= _SILENT:
            self._told[doing, kind] = now
            get_logger().error("edge disk fails", doing=doing, kind=kind, reason=str(error))


def opened(path: str | Path) -> int:
    """Return a descriptor to read ``path``, which is no link; never waits, whatever is there.

    Raises:
        OSError: there is nothing, or nothing to read.
    """
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)


@contextlib.contextmanager
def beside(target: Path, mode: int = PRIVATE) -> Iterator[tuple[int, Path]]:
    """Yield a new file for ``target``, open and locked, and its path; removed at the end where it is still there.

    Raises:
        OSError: it cannot be made.
    """
    while True:
        path = _beside(target)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW, mode)
        try:
            if not lock(descriptor, fcntl.LOCK_EX) or not os.fstat(descriptor).st_nlink:
                continue  # the keeper takes it for a leftover, in the moment before it was locked
            try:
                yield descriptor, path
            finally:
                path.unlink(missing_ok=True)
            return
        finally:
            os.close(descriptor)


def place(descriptor: int, path: Path, target: Path) -> os.stat_result:
    """Rename the file at ``path`` to ``target``, flushed before and after, and return what it is then.

    Raises:
        OSError: it failed; ``target`` is what it was, or the new file.
    """
    os.fsync(descriptor)
    try:
        path.replace(target)
    except IsADirectoryError:
        put_aside(target)
        path.replace(target)
    flush_directory(target.parent)
    return os.fstat(descriptor)


def write_atomically(path: Path, content: bytes, mode: int = PRIVATE) -> os.stat_result:
    """Put ``content`` in the place of the file at ``path``; readers see all of the old or all of the new.

    Raises:
        OSError: it cannot be written; the old content stays.
    """
    with beside(path, mode) as (descriptor, written):
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        lock(descriptor, fcntl.LOCK_SH)  # in its place it can be read at once
        return place(descriptor, written, path)


def flush_directory(directory: Path) -> None:
    """Let the names in ``directory`` outlive a power cut; raises ``OSError``."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lock(descriptor: int, how: int) -> bool:
    """Lock an open file without waiting; say whether nobody else has a lock that forbids it.

    A file system that has no locks has nobody who holds one.
    """
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def removed(path: Path) -> os.stat_result | None:
    """Remove a file that nobody locks, and return what it was; None: it is in use, or not there.

    Raises:
        OSError: it cannot be removed.
    """
    try:
        descriptor = opened(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno not in {errno.ELOOP, errno.ENXIO}:
            raise
        status = path.lstat()
        path.unlink()
        return status
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            put_aside(path)
        elif not lock(descriptor, fcntl.LOCK_EX) or not _is_at(status, path):
            return None
        else:
            path.unlink(missing_ok=True)
        return status
    finally:
        os.close(descriptor)


def remove_this(path: Path, inode: int) -> None:
    """Remove what is at ``path``, also while it is read, if it is still ``inode``; raises ``OSError``."""
    with contextlib.suppress(FileNotFoundError):
        status = path.lstat()
        if status.st_ino != inode:
            return
        if stat.S_ISDIR(status.st_mode):
            put_aside(path)
        else:
            path.unlink()


def put_aside(directory: Path) -> None:
    """Take a directory that is in the place of a file out of it, and remove it as far as that goes.

    Raises:
        OSError: it cannot be renamed, such as a mount.
    """
    aside = _beside(directory)
    directory.replace(aside)
    shutil.rmtree(aside, ignore_errors=True)


def content_of(path: str, limit: int) -> bytes | None:
    """Return what is in the file at ``path``; None where that is no file, or longer than ``limit``.

    Raises:
        OSError: it cannot be read.
    """
    descriptor = opened(path)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
            return None
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(limit + 1)
    finally:
        os.close(descriptor)


def hashed(path: str, algorithm: str, expected: Fingerprint) -> str | None:
    """Return the digest of the file at ``path``; None where it is another than expected, or changes meanwhile.

    Raises:
        OSError: it cannot be read.
    """
    descriptor = opened(path)
    try:
        if Fingerprint.of(os.fstat(descriptor)) != expected:
            return None
        hashing = hashlib.new(algorithm, usedforsecurity=False)
        at = 0
        while piece := os.pread(descriptor, _PIECE, at):
            hashing.update(piece)
            at += len(piece)
        if Fingerprint.of(os.fstat(descriptor)) != expected:
            return None
        return f"{algorithm}:{hashing.hexdigest()}"
    finally:
        os.close(descriptor)


def remove_leftovers(directory: Path) -> None:
    """Remove the files in ``directory`` that were to be in a place beside, and whose writers ended before they were.

    Raises:
        OSError: it cannot be read, or one of them not be removed.
    """
    with os.scandir(directory) as entries:
        left = [Path(entry.path) for entry in entries if _BESIDE.fullmatch(entry.name)]
    for path in left:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            removed(path)


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(_TOKEN_BYTES)}")


def _is_at(status: os.stat_result, path: Path) -> bool:
    try:
        there = path.lstat()
    except FileNotFoundError:
        return False
    return (there.st_ino, there.st_dev) == (status.st_ino, status.st_dev)
