"""Content by its digest: whole and verified, or not there.

A file is believed as long as size, inode and times are those that it had when it was hashed; who changes a byte changes
the times. Any other file is hashed before it is used, and removed where it has another digest: a state that was lost, a
directory that was copied, content that another tool put there and a disk that failed are all the same case.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import sqlite3
import stat
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from proxy.edge.disk.directory import EdgeDirectory
from proxy.edge.disk.files import (
    Faults,
    Fingerprint,
    content_of,
    hashed,
    lock,
    opened,
    place,
    remove_this,
    removed,
    write_atomically,
)
from proxy.edge.disk.state import State
from proxy.logs import get_logger
from proxy.metrics.catalogue import EDGE_ROTTEN
from proxy.single_flight import SingleFlight
from twodfs.errors import DigestError
from twodfs.oci.digest import Digest, verify

BLOB_TABLES: Final = (
    # Without a fingerprint: found on disk, and not hashed yet.
    """CREATE TABLE IF NOT EXISTS blobs (digest TEXT PRIMARY KEY, size INTEGER NOT NULL, inode INTEGER,
    mtime INTEGER, ctime INTEGER, used REAL NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS blobs_by_use ON blobs (used, size)",
    # Kept by triggers: adding up a hundred thousand rows takes too long for each blob that comes.
    "CREATE TABLE IF NOT EXISTS blob_totals (one INTEGER PRIMARY KEY, blobs INTEGER NOT NULL, bytes INTEGER NOT NULL)",
    """CREATE TRIGGER IF NOT EXISTS blob_added AFTER INSERT ON blobs BEGIN
    INSERT INTO blob_totals VALUES (1, 1, new.size)
    ON CONFLICT (one) DO UPDATE SET blobs = blobs + 1, bytes = bytes + excluded.bytes; END""",
    """CREATE TRIGGER IF NOT EXISTS blob_resized AFTER UPDATE OF size ON blobs BEGIN
    UPDATE blob_totals SET bytes = bytes + new.size - old.size; END""",
    """CREATE TRIGGER IF NOT EXISTS blob_gone AFTER DELETE ON blobs BEGIN
    UPDATE blob_totals SET blobs = blobs - 1, bytes = bytes - old.size; END""",
)
_REMEMBER: Final = (
    "INSERT INTO blobs VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (digest) DO UPDATE SET size = excluded.size, "
    "inode = excluded.inode, mtime = excluded.mtime, ctime = excluded.ctime, used = max(used, excluded.used)"
)
_RECALL: Final = "SELECT size, inode, mtime, ctime FROM blobs WHERE digest = ?"
_READABLE: Final = 0o640
_MOST_KNOWN: Final = 16_384
_MOST_USED: Final = 65_536
"""Uses that wait to be written down; beyond, the oldest are as if they had not been."""
_HASHED_AT_ONCE: Final = 2
_LOCKED: Final = 0.25
"""Seconds that another process's lock on whole content is waited for: it removes it, or has just put it there."""
_LOOK_AGAIN: Final = 0.01


@dataclass(slots=True)
class StoredBlob:
    """Whole content, open to be read, and not evicted as long as it is."""

    digest: Digest
    size: int
    descriptor: int

    def close(self) -> None:
        """Let it go; a second time does nothing."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Blobs:
    """The content of an edge directory. Nothing here raises, but for ``adopt``: a pull goes on without the disk."""

    def __init__(self, directory: EdgeDirectory, state: State) -> None:
        self.room_wanted = asyncio.Event()
        """Set when there was no room for a document."""
        self._directory = directory
        self._root = str(directory.root / "blobs")
        self._state = state
        self._known: OrderedDict[Digest, Fingerprint] = OrderedDict()
        self._used: dict[Digest, float] = {}
        self._flights: SingleFlight[bool] = SingleFlight()
        self._hashers = asyncio.Semaphore(_HASHED_AT_ONCE)
        self._faults = Faults()

    async def find(self, digest: Digest) -> StoredBlob | None:
        """Return the content with ``digest``, for the caller to close; None where it is not there, whole and right."""
        try:
            descriptor = opened(self._path(digest))
        except OSError as error:
            self._known.pop(digest, None)
            if error.errno in {errno.ELOOP, errno.ENXIO}:  # a link, or a socket
                await self._drop_rotten(digest, None)
            elif error.errno != errno.ENOENT:
                self._faults.tell("opening content", error)
            return None
        try:
            status = os.fstat(descriptor)
            if await self._is_right(digest, descriptor, status):
                self.used((digest,))
                return StoredBlob(digest, status.st_size, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def has(self, digest: Digest) -> bool:
        """Say whether there is a file that should be this content."""
        try:
            return stat.S_ISREG(os.lstat(self._path(digest)).st_mode)
        except OSError:
            return False

    async def read(self, digest: Digest, limit: int) -> bytes | None:
        """Return the content with ``digest``, hashed; None where it is not there, too large or not right."""
        try:
            content = await asyncio.to_thread(content_of, self._path(digest), limit)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._faults.tell("reading content", error)
            return None
        if content is None:
            return None
        try:
            verify(content, digest)
        except DigestError:
            await self._look_again(digest)
            return None
        self.used((digest,))
        return content

    async def put(self, digest: Digest, content: bytes) -> bool:
        """Keep a document; False where it is other content, there is no room, or the disk fails."""
        try:
            verify(content, digest)
        except DigestError:
            return False
        if (blob := await self.find(digest)) is not None:
            blob.close()
            return True
        try:
            status = await asyncio.to_thread(write_atomically, self._directory.blob(digest), content, _READABLE)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                self.room_wanted.set()
            self._faults.tell("keeping a document", error)
            return False
        await self._remember(digest, status)
        return True

    async def adopt(self, digest: Digest, path: Path, descriptor: int) -> None:
        """Put a whole file among the content. A lock that ``descriptor`` has on it becomes a shared one.

        Args:
            digest: of all of it; the caller hashed what it wrote.
            path: where it is; a directory of the same file system.
            descriptor: the file, open to be written.

        Raises:
            OSError: it failed; the file is still at ``path``, or is in its place.
        """
        expected = os.fstat(descriptor)
        lock(descriptor, fcntl.LOCK_SH)  # before the file is in its place, where it is read at once
        await self._remember(digest, await asyncio.to_thread(_adopted, path, expected, self._directory.blob(digest)))

    async def remove(self, digest: Digest) -> bool:
        """Remove content that nobody reads; say whether it is not there now."""
        return bool(await self.remove_all((digest,)))

    async def remove_all(self, digests: Sequence[Digest]) -> tuple[Digest, ...]:
        """Remove content that nobody reads; return the digests of what is not there now."""
        gone = await asyncio.to_thread(self._removed, digests)
        for digest in gone:
            self._known.pop(digest, None)
        rows = [(digest,) for digest in gone]
        await self._state.remember(lambda c: c.executemany("DELETE FROM blobs WHERE digest = ?", rows))
        return gone

    def used(self, digests: Iterable[Digest]) -> None:
        """Count content as used now; ``write_uses`` writes it down."""
        now = time.time()
        for digest in digests:
            self._used[digest] = now
        while len(self._used) > _MOST_USED:
            del self._used[next(iter(self._used))]

    async def write_uses(self) -> None:
        """Let the other processes know what was used since the last time."""
        used, self._used = self._used, {}
        if used:
            rows = [(at, digest) for digest, at in used.items()]
            await self._state.remember(
                lambda c: c.executemany("UPDATE blobs SET used = max(used, ?) WHERE digest = ?", rows)
            )

    def _removed(self, digests: Sequence[Digest]) -> tuple[Digest, ...]:
        for digest in digests:
            try:
                removed(self._directory.blob(digest))
            except OSError as error:
                self._faults.tell("removing content", error)
        return tuple(digest for digest in digests if not os.path.lexists(self._path(digest)))

    def _path(self, digest: Digest) -> str:
        return f"{self._root}/{digest.replace(':', '/', 1)}"

    async def _is_right(self, digest: Digest, descriptor: int, status: os.stat_result) -> bool:
        """Say whether the open file is the content with ``digest``; what is not goes away."""
        if not stat.S_ISREG(status.st_mode):
            await self._drop_rotten(digest, status.st_ino)
            return False
        if not lock(descriptor, fcntl.LOCK_SH) and not await self._is_kept(descriptor):
            return False
        fingerprint = Fingerprint.of(os.fstat(descriptor))
        if self._known.get(digest) == fingerprint:
            self._known.move_to_end(digest)
            return True
        if await self._recorded(digest) != fingerprint:
            is_right = await self._flights.do((digest, fingerprint), lambda: self._hash(digest, fingerprint))
            if not is_right:
                return False
        self._know(digest, fingerprint)
        return True

    async def _is_kept(self, descriptor: int) -> bool:
        """Say whether a file that another process has locked stays; a reader needs no lock, but to be seen."""
        until = time.monotonic() + _LOCKED
        while not lock(descriptor, fcntl.LOCK_SH) and time.monotonic() < until:  # noqa: ASYNC110 - no event of ours
            await asyncio.sleep(_LOOK_AGAIN)
        return os.fstat(descriptor).st_nlink > 0

    async def _recorded(self, digest: Digest) -> Fingerprint | None:
        try:
            row = await self._state.read(
                lambda c: c.execute(
                    "SELECT size, inode, mtime, ctime FROM blobs WHERE digest = ?", (digest,)
                ).fetchone()
            )
        except sqlite3.Error as error:
            self._faults.tell("reading the state", error)
            return None
        return Fingerprint(*row) if row else None

    async def _look_again(self, digest: Digest) -> None:
        """Hash what was read and is wrong, whatever is remembered of it, and remove it."""
        with contextlib.suppress(OSError):
            fingerprint = Fingerprint.of(os.lstat(self._path(digest)))
            await self._flights.do((digest, fingerprint), lambda: self._hash(digest, fingerprint))

    async def _hash(self, digest: Digest, fingerprint: Fingerprint) -> bool:
        async with self._hashers:
            try:
                found = await asyncio.to_thread(hashed, self._path(digest), digest.partition(":")[0], fingerprint)
            except OSError as error:
                self._faults.tell("hashing content", error)
                return False
        if found == digest:
            await self._write(digest, fingerprint)
            return True
        if found is not None:
            await self._drop_rotten(digest, fingerprint.inode)
        return False

    async def _drop_rotten(self, digest: Digest, inode: int | None) -> None:
        """Remove what is in the place of ``digest`` but is something else; ``inode``: only if it is still this."""
        EDGE_ROTTEN.of().add()
        get_logger().error("edge content was damaged, and is removed", digest=digest)
        self._known.pop(digest, None)
        path = self._directory.blob(digest)
        try:
            await asyncio.to_thread(remove_this, path, path.lstat().st_ino if inode is None else inode)
        except OSError as error:
            self._faults.tell("removing content", error)
            return
        await self._state.remember(lambda c: c.execute("DELETE FROM blobs WHERE digest = ?", (digest,)))

    async def _remember(self, digest: Digest, status: os.stat_result) -> None:
        fingerprint = Fingerprint.of(status)
        self._know(digest, fingerprint)
        await self._write(digest, fingerprint)

    async def _write(self, digest: Digest, fingerprint: Fingerprint) -> None:
        row = (digest, *fingerprint, time.time())
        await self._state.remember(lambda c: c.execute(_REMEMBER, row))

    def _know(self, digest: Digest, fingerprint: Fingerprint) -> None:
        self._known[digest] = fingerprint
        self._known.move_to_end(digest)
        if len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)


def _adopted(path: Path, expected: os.stat_result, target: Path) -> os.stat_result:
    # A descriptor of its own: a caller that is cancelled closes its own meanwhile.
    descriptor = opened(path)
    try:
        status = os.fstat(descriptor)
        if (status.st_ino, status.st_dev) != (expected.st_ino, expected.st_dev):
            raise OSError(errno.ESTALE, "another file was put in its place", str(path))
        os.fchmod(descriptor, _READABLE)
        return place(descriptor, path, target)
    finally:
        os.close(descriptor)
