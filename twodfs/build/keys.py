"""The key cache: layers by their sources' metadata, so that unchanged files need not be read again.

A database beside the store's blobs. Nothing in it is precious: where it is damaged it begins anew, and all is
built again. SQLite detects damage to its pages, a seal in each row the rest. Several processes
may use it at the same time.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from twodfs.errors import BuildError
from twodfs.layers.compression import Packing
from twodfs.layers.layer import Layer
from twodfs.layers.members import Member
from twodfs.oci.digest import Digest
from twodfs.storage.writing import full, read_only

T = TypeVar("T")

VERSION: Final = 2
"""Goes up when the same files would give another layer than before, or the table is another one."""

SETTLED_NS: Final = 20_000_000
"""A file changed less than this long ago may change again within the same tick of the file system's clock (4
to 10 ms), unseen; it is not remembered."""

LOCK_TIMEOUT: Final = 60.0
"""Seconds to wait for another process to finish writing."""

_TABLE = """CREATE TABLE layers (
    key BLOB PRIMARY KEY, digest TEXT NOT NULL, diff_id TEXT NOT NULL, size INTEGER NOT NULL,
    media_type TEXT NOT NULL, seal BLOB NOT NULL
) WITHOUT ROWID"""

_DAMAGES: Final = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_ERROR,  # another table of that name
    sqlite3.SQLITE_CONSTRAINT,
}
"""SQLite's errors for a damaged file, and not for a locked, full or failing one. Of a row whose text is none,
Python says something without a code, as do we of its seal."""


_UNWRITTEN: Final = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}
_ROOM: Final = 128 * 1024
"""Bytes that SQLite's files beside the database take at the least."""


def key_of_stamps(members: Iterable[Member], packing: Packing) -> bytes | None:
    """Return the key of ``members``, unread, packed by ``packing``; None where one has just changed."""
    latest = time.time_ns() - SETTLED_NS
    parts = []
    for one in members:
        # The mtime may be anything, tomorrow too; but to set it changes the ctime.
        if one.stamp is not None and one.stamp.ctime_ns > latest:
            return None
        source = None if one.stamp is None or one.source is None else str(one.source.absolute())
        part: tuple[object, ...] = (one.name, one.kind, one.mode, one.uid, one.gid, source, one.stamp)
        if one.content is not None:
            if any(stamp.ctime_ns > latest for stamp in one.content.stamps.values()):
                return None
            part = (*part, one.content.key())
        elif one.link and one.source is None:
            part = (*part, one.link)
        parts.append(part)
    return _key("stamps", parts, packing)


def key_of_content(diff_id: Digest, packing: Packing) -> bytes:
    """Return the key of the tar ``diff_id`` packed by ``packing``."""
    return _key("content", diff_id, packing)


def _key(kind: str, parts: object, packing: Packing) -> bytes:
    packed = (str(packing.compression), packing.level, packing.gzip_only)
    written = repr((VERSION, kind, packed, parts)).encode("utf-8", "surrogateescape")
    return hashlib.sha256(written).digest()


class KeyCache:
    """The database in a file, made when it is not there. For any thread."""

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            BuildError: it cannot be made, or another process keeps it locked.
        """
        self._path = path
        self._lock = threading.Lock()
        with self._described_failures():
            try:
                self._database = self._open()
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._database = self._begin_anew()

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def find(self, key: bytes) -> Layer | None:
        """Return the layer that was recorded under ``key``."""

        def found(database: sqlite3.Connection) -> Layer | None:
            row = database.execute(
                "SELECT digest, diff_id, size, media_type, seal FROM layers WHERE key = ?", (key,)
            ).fetchone()
            if row is None:
                return None
            layer = Layer(*row[:-1])
            if row[-1] != _seal(key, layer):
                raise sqlite3.DatabaseError("a row is not what was written")
            return layer

        return self._use(found)

    def record(self, keys: Iterable[bytes], layer: Layer) -> None:
        """Remember that each of ``keys`` stands for ``layer``, from this moment on, even if the process is killed."""
        rows = [(key, *_columns(layer), _seal(key, layer)) for key in keys]

        def recorded(database: sqlite3.Connection) -> None:
            with database:  # which commits at the end of the block
                database.execute("BEGIN IMMEDIATE")
                database.executemany("INSERT OR REPLACE INTO layers VALUES (?, ?, ?, ?, ?, ?)", rows)

        self._use(recorded)

    def keep(self, digests: Iterable[Digest]) -> None:
        """Forget all layers but those of ``digests``."""
        rows = [(digest,) for digest in digests]

        def kept(database: sqlite3.Connection) -> None:
            database.execute("CREATE TEMP TABLE kept (digest TEXT PRIMARY KEY) WITHOUT ROWID")
            database.executemany("INSERT INTO kept VALUES (?)", rows)
            database.execute("DELETE FROM layers WHERE digest NOT IN (SELECT digest FROM kept)")
            database.execute("DROP TABLE kept")

        self._use(kept)

    def _use(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock, self._described_failures():
            try:
                return work(self._database)
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
            self._database.close()
            self._database = self._begin_anew()
            return work(self._database)

    def _begin_anew(self) -> sqlite3.Connection:
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        return self._open()

    def _open(self) -> sqlite3.Connection:
        # Each statement is a transaction of its own; WAL, so that none waits for the disk.
        database = sqlite3.connect(self._path, timeout=LOCK_TIMEOUT, isolation_level=None, check_same_thread=False)
        try:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=NORMAL")
            if not _is_current(database):
                with database:
                    database.execute("BEGIN IMMEDIATE")
                    if not _is_current(database):  # no other process was faster
                        database.execute("DROP TABLE IF EXISTS layers")
                        database.execute(_TABLE)
                        database.execute(f"PRAGMA user_version={VERSION}")
        except sqlite3.DatabaseError:
            database.close()
            raise
        return database

    @contextmanager
    def _described_failures(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
            store = self._path.parent
            if code == sqlite3.SQLITE_FULL or (code in _UNWRITTEN and _has_no_room(store)):
                raise full(store, "its disk is full") from None
            if code in _UNWRITTEN and not os.access(store, os.W_OK):
                raise read_only(store, str(error)) from None
            raise BuildError(f"{self._path}: {error}; if it stays so, remove that file") from None


def _has_no_room(directory: Path) -> bool:
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize < _ROOM


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    if isinstance(error, sqlite3.ProgrammingError):  # as by a thread that was left behind
        return False
    code = getattr(error, "sqlite_errorcode", None)
    return code is None or code & 0xFF in _DAMAGES


def _is_current(database: sqlite3.Connection) -> bool:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    return bool(version == VERSION)


def _columns(layer: Layer) -> tuple[str, str, int, str]:
    return layer.digest, layer.diff_id, layer.size, layer.media_type


def _seal(key: bytes, layer: Layer) -> bytes:
    return hashlib.sha256(repr((key, _columns(layer))).encode()).digest()
