"""The key cache: which layer was made of what, so that what has not changed need not be read again.

A database beside the store's blobs. Nothing in it is precious: where it is damaged it begins anew, and all is
built again. Several processes may use it at the same time.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from twodfs.build.compression import Packing
from twodfs.build.layer import Layer
from twodfs.build.members import Member
from twodfs.digest import Digest
from twodfs.errors import BuildError

VERSION: Final = 2
"""Goes up when the same files would give another layer than before."""

SETTLED_NS: Final = 20_000_000
"""A file changed less than this long ago may change again within the same tick of the file system's clock (4
to 10 ms), unseen; it is not remembered."""

PATIENCE: Final = 60.0
"""Seconds to wait for another process to finish writing."""

_TABLE = """CREATE TABLE IF NOT EXISTS layers (
    key BLOB PRIMARY KEY, digest TEXT NOT NULL, diff_id TEXT NOT NULL, size INTEGER NOT NULL,
    media_type TEXT NOT NULL
) WITHOUT ROWID"""


def key_of_stamps(members: Iterable[Member], packing: Packing) -> bytes | None:
    """Return what stands for ``members``, unread, packed by ``packing``; None where one has just changed."""
    latest = time.time_ns() - SETTLED_NS
    parts = []
    for one in members:
        # The mtime may be anything, tomorrow too; whoever sets it changes the ctime.
        if one.stamp is not None and one.stamp.ctime_ns > latest:
            return None
        source = None if one.stamp is None or one.source is None else str(one.source.absolute())
        parts.append((one.name, one.kind, one.mode, one.uid, one.gid, source, one.stamp))
    return _key("stamps", parts, packing)


def key_of_content(diff_id: Digest, packing: Packing) -> bytes:
    """Return what stands for the tar ``diff_id`` packed by ``packing``."""
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
            BuildError: it cannot be made, or somebody keeps it locked.
        """
        self._path = path
        self._lock = threading.Lock()
        with self._in_words():
            try:
                self._database = self._open()
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:  # no database, or a damaged one
                self._forget()
                self._database = self._open()

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def find(self, key: bytes) -> Layer | None:
        """Return the layer that was recorded under ``key``."""
        with self._lock, self._in_words():
            found = self._database.execute(
                "SELECT digest, diff_id, size, media_type FROM layers WHERE key = ?", (key,)
            ).fetchone()
        return Layer(*found) if found else None

    def record(self, keys: Iterable[bytes], layer: Layer) -> None:
        """Remember that each of ``keys`` stands for ``layer``, from this moment on, whatever happens next."""
        row = (layer.digest, layer.diff_id, layer.size, layer.media_type)
        with self._lock, self._in_words(), self._database:  # which commits at the end of the block
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(
                "INSERT OR REPLACE INTO layers VALUES (?, ?, ?, ?, ?)", [(key, *row) for key in keys]
            )

    def keep(self, digests: Iterable[Digest]) -> None:
        """Forget all layers but those of ``digests``."""
        with self._lock, self._in_words():
            self._database.execute("CREATE TEMP TABLE kept (digest TEXT PRIMARY KEY) WITHOUT ROWID")
            self._database.executemany("INSERT INTO kept VALUES (?)", ((digest,) for digest in digests))
            self._database.execute("DELETE FROM layers WHERE digest NOT IN (SELECT digest FROM kept)")
            self._database.execute("DROP TABLE kept")

    def _open(self) -> sqlite3.Connection:
        # Each statement is a transaction of its own; WAL, so that none waits for the disk.
        database = sqlite3.connect(
            self._path, timeout=PATIENCE, isolation_level=None, check_same_thread=False
        )
        try:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=NORMAL")
            database.execute(_TABLE)
        except sqlite3.DatabaseError:
            database.close()
            raise
        return database

    def _forget(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise BuildError(f"{self._path}: {error}; if it stays so, remove that file") from None
