"""A blob's file while it is on its way, locked by the one process that fills it.

``ingest/sha256/HEX.part`` has the bytes from the first one on, and ``HEX.json`` beside it says how many there will
be. A lock (``flock``) ends with the process that has it, however that ends. The file becomes the blob by a rename, so
who follows it sees its end: its inode is then that of ``blobs/sha256/HEX``. When nothing becomes of it, it is
unlinked.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import orjson

from proxy.edge.disk.directory import EdgeDirectory
from proxy.edge.disk.files import PRIVATE, beside
from proxy.edge.disk.unfinished import ABOUT, PART
from proxy.repository import Repository
from twodfs.oci.digest import Digest


@dataclass(frozen=True, slots=True)
class Partial:
    """The opened file.

    Attributes:
        digest: of the blob that it is to be.
        path: where it is.
        blob: where it goes.
        descriptor: of the file, for reading and writing.
    """

    digest: Digest
    path: Path
    blob: Path
    descriptor: int

    @classmethod
    def open(cls, directory: EdgeDirectory, digest: Digest) -> Self:
        """Open the file of ``digest``, made where it is missing.

        Raises:
            OSError: it cannot be.
        """
        path = part_of(directory, digest)
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, PRIVATE)
        return cls(digest, path, directory.blob(digest), descriptor)

    def lock(self) -> bool:
        """Become the one who fills it; False where someone is. It may have another name by then, or none."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(self) -> None:
        """Leave the filling to others."""
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def share(self) -> None:
        """Lock it as readers do, so that it is not evicted: it has become the blob."""
        with contextlib.suppress(BlockingIOError):  # the one who removes it was faster; it can be read all the same
            fcntl.flock(self.descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)

    @property
    def size(self) -> int:
        """Bytes that are there."""
        return os.fstat(self.descriptor).st_size

    @property
    def is_removed(self) -> bool:
        """Whether it has no name any more."""
        return not os.fstat(self.descriptor).st_nlink

    @property
    def is_in_place(self) -> bool:
        """Whether it still is the file that others find."""
        return self._is_at(self.path)

    @property
    def is_adopted(self) -> bool:
        """Whether it has become the blob."""
        return self._is_at(self.blob)

    def _is_at(self, path: Path) -> bool:
        try:
            return os.path.samestat(path.stat(), os.fstat(self.descriptor))
        except FileNotFoundError:
            return False

    def announced(self) -> int | None:
        """Return how many bytes it will have; None where that is not known yet."""
        try:
            facts = orjson.loads(self._facts.read_bytes())
            size, inode = facts["size"], facts["inode"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        is_ours = inode == os.fstat(self.descriptor).st_ino  # facts of a file before this may have been left
        return size if is_ours and isinstance(size, int) and size >= self.size else None

    def registry(self) -> str | None:
        """Return the name of the registry that it comes from; None where that is not known yet."""
        try:
            repository = orjson.loads(self._facts.read_bytes())["repository"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return str(repository).rpartition("!")[0]

    def announce(self, size: int, repository: Repository) -> None:
        """Tell how many bytes it will have, before the first of them.

        Raises:
            OSError: the disk does not take it.
        """
        facts = {
            "size": size,
            "repository": str(repository),
            "started": round(time.time(), 3),
            "inode": os.fstat(self.descriptor).st_ino,
        }
        with beside(self._facts) as (descriptor, path):  # not flushed: without it the bytes are fetched anew
            os.write(descriptor, orjson.dumps(facts))
            path.replace(self._facts)

    def clear(self) -> None:
        """Forget what was announced: the file is no longer, or no longer on its way."""
        self._facts.unlink(missing_ok=True)

    def remove(self) -> None:
        """Take its name away, where it is still the file that others find; the caller has the lock."""
        if self.is_in_place:
            self.clear()
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close it, which ends the lock."""
        os.close(self.descriptor)

    @property
    def _facts(self) -> Path:
        return self.path.with_suffix(ABOUT)


def part_of(directory: EdgeDirectory, digest: Digest) -> Path:
    """Return where the content with ``digest`` is while it is on its way."""
    return directory.ingest / f"{digest.removeprefix('sha256:')}{PART}"


def claim(directory: EdgeDirectory, digest: Digest) -> tuple[Partial, bool] | None:
    """Return the file of ``digest``, and whether this process is to fill it; None where the blob is whole.

    Raises:
        OSError: it cannot be opened.
    """
    while True:
        partial = Partial.open(directory, digest)
        try:
            is_ours = partial.lock()
            if partial.is_in_place:
                if not is_ours or not partial.blob.exists():
                    return partial, is_ours
                partial.remove()
                is_whole = True
            else:
                is_whole = False  # it was renamed or removed between opening and locking
        except BaseException:
            partial.close()  # and its lock, for which others would wait for ever
            raise
        partial.close()
        if is_whole:
            return None


def discard_unreadable(blob: Path) -> None:
    """Remove a file among the content that this process may not read, such as one restored by another user.

    Raises:
        OSError: it may not be removed either.
    """
    try:
        os.close(os.open(blob, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK))
    except PermissionError:
        blob.unlink(missing_ok=True)
    except FileNotFoundError:
        return


def is_claimed(directory: EdgeDirectory, digest: Digest) -> bool:
    """Say whether a process fills the blob with ``digest`` now."""
    try:
        descriptor = os.open(part_of(directory, digest), os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
