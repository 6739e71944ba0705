"""Documents of partitions and their provenances on disk, as a store of records.

Records are sealed with the directory's secret, so one that was changed counts as missing. There is a bound in bytes:
what was used least recently goes first, but what cannot be made again goes last.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Mapping
from typing import Any, Final, Protocol, runtime_checkable

from proxy.edge.disk.blobs import Blobs
from proxy.edge.disk.files import Faults
from proxy.edge.disk.state import State
from proxy.logs import get_logger
from proxy.metrics.catalogue import DISK_CORRUPT, DISK_ERROR, DISK_HIT, DISK_MISS
from proxy.store.records import CorruptRecordError, Lifetime, R_co, Record, RecordKey, seal, unseal
from twodfs.oci.digest import Digest
from twodfs.oci.documents import Document

RECORD_TABLES: Final = (
    """CREATE TABLE IF NOT EXISTS records (key TEXT PRIMARY KEY, size INTEGER NOT NULL, lasting INTEGER NOT NULL,
    used REAL NOT NULL, sealed BLOB NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS records_by_use ON records (lasting, used, size)",
)
_KEEP: Final = """
    INSERT INTO records VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE
    SET size = excluded.size, lasting = excluded.lasting, used = excluded.used, sealed = excluded.sealed
"""
_OVERHEAD: Final = 200
"""Bytes of a row beside its record, roughly."""
_SEAL_HERE: Final = 512 * 1024
"""Bytes that are hashed within half a millisecond; more is a thread's work."""
_MOST_USED: Final = 16_384
_LARGEST: Final = 4
"""The share of the bound that one record may have is one in so many."""


@runtime_checkable
class WithDocuments(Protocol):
    """A record that has whole documents in it: a partition."""

    @property
    def documents(self) -> Mapping[Digest, Document]:
        """The documents by digest."""


class DiskRecords:
    """Keeps sealed records in the state of an edge directory, up to a number of bytes; never raises.

    The documents of partitions are put among the content as well, where other tools find them.
    """

    def __init__(self, state: State, blobs: Blobs, secret: bytes, *, most_bytes: int) -> None:
        self._state = state
        self._blobs = blobs
        self._secret = secret
        self._most_bytes = most_bytes
        self._used: dict[str, float] = {}
        self._faults = Faults()

    async def get(self, key: RecordKey[R_co]) -> R_co | None:
        """Return the record under ``key``; None when it is not there, or not whole, or the disk fails."""
        name = str(key)
        try:
            row = await self._state.read(
                lambda c: c.execute("SELECT sealed FROM records WHERE key = ?", (name,)).fetchone()
            )
        except sqlite3.Error as error:
            DISK_ERROR.add()
            self._faults.tell("reading a record", error)
            return None
        if row is None:
            DISK_MISS.add()
            return None
        try:
            record = await self._unsealed(key, row[0])
        except CorruptRecordError as error:
            DISK_CORRUPT.add()
            get_logger().warning("edge state returned garbage", reason=str(error))
            await self._state.remember(lambda c: c.execute("DELETE FROM records WHERE key = ?", (name,)))
            return None
        DISK_HIT.add()
        if len(self._used) < _MOST_USED:
            self._used[name] = time.time()
        return record

    async def put(self, records: Mapping[RecordKey[Any], Record]) -> bool:
        """Keep ``records``, and say whether all are kept; one with more than a quarter of the bound is not."""
        now = time.time()
        rows = []
        for key, record in records.items():
            if record.weight > _SEAL_HERE:
                sealed = await asyncio.to_thread(seal, key, record, self._secret)
            else:
                sealed = seal(key, record, self._secret)
            if len(sealed) <= self._most_bytes // _LARGEST:
                is_lasting = record.lifetime is Lifetime.LASTING
                rows.append((str(key), len(sealed) + _OVERHEAD, is_lasting, now, sealed))

        def keep(connection: sqlite3.Connection) -> None:
            connection.executemany(_KEEP, rows)
            _make_room(connection, self._most_bytes)

        is_kept = await self._state.remember(keep)
        async with asyncio.TaskGroup() as tasks:
            for record in records.values():
                if isinstance(record, WithDocuments):
                    for document in record.documents.values():
                        tasks.create_task(self._blobs.put(document.digest, document.body))
        return is_kept and len(rows) == len(records)

    async def write_uses(self) -> None:
        """Write down what was used since the last time."""
        used, self._used = self._used, {}
        if used:
            rows = [(at, name) for name, at in used.items()]
            await self._state.remember(lambda c: c.executemany("UPDATE records SET used = ? WHERE key = ?", rows))

    async def _unsealed(self, key: RecordKey[R_co], sealed: object) -> R_co:
        if not isinstance(sealed, bytes):
            raise CorruptRecordError(f"{key} is no bytes")
        if len(sealed) > _SEAL_HERE:
            return await asyncio.to_thread(unseal, key, sealed, self._secret)
        return unseal(key, sealed, self._secret)


def _make_room(connection: sqlite3.Connection, most_bytes: int) -> None:
    """Delete records until there are ``most_bytes`` at most."""
    (there,) = connection.execute("SELECT coalesce(sum(size), 0) FROM records").fetchone()
    excess = there - most_bytes
    if excess <= 0:
        return
    gone = []
    for row, size in connection.execute("SELECT rowid, size FROM records ORDER BY lasting, used").fetchall():
        if excess <= 0:
            break
        gone.append((row,))
        excess -= size
    connection.executemany("DELETE FROM records WHERE rowid = ?", gone)
