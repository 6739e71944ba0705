"""Small facts in one SQLite file, shared by the workers of a node and by the cache commands.

Every part of the edge cache owns its tables: it lists their definitions in a constant of its module, and asks with
functions that get the connection. SQLite's write-ahead log lets readers and one writer work at the same time, and
survives kill -9 at any instruction. A file that is damaged is put aside and begun anew: content is found again by
its name, and everything else is asked of the registry again.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from proxy.logs import get_logger

T = TypeVar("T")

_PATIENCE: Final = 10.0
"""Seconds that a writer waits for the other processes' writes."""
_SETTINGS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA cache_size = -4096",
)


class State:
    """The file, in a thread of its own."""

    def __init__(self, connection: sqlite3.Connection, thread: ThreadPoolExecutor) -> None:
        self._connection = connection
        self._thread = thread

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, path: Path, tables: Iterable[str]) -> AsyncIterator[State]:
        """Open the file at ``path`` for the time of the context, with ``tables`` (CREATE … IF NOT EXISTS) in it.

        Raises:
            sqlite3.Error: it cannot be opened, and no new one either.
        """
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "edge-state") as thread:
            connection = await loop.run_in_executor(thread, _opened, path, tuple(tables))
            try:
                yield cls(connection, thread)
            finally:
                await loop.run_in_executor(thread, connection.close)

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return the result of ``work``, one transaction that is undone when it raises.

        Raises:
            sqlite3.Error: it failed, such as on a full disk; callers that only remember something go on without.
        """

        def transaction() -> T:
            with self._connection:
                return work(self._connection)

        return await asyncio.get_running_loop().run_in_executor(self._thread, transaction)

    async def remember(self, work: Callable[[sqlite3.Connection], object]) -> bool:
        """Do ``work`` like ``run``, but where it fails, log that and return False: the pull does not need it."""
        try:
            await self.run(work)
        except sqlite3.Error as error:
            get_logger().warning("edge state not written", reason=str(error))
            return False
        return True


def connected(path: Path, tables: Iterable[str]) -> sqlite3.Connection:
    """Return a connection of the calling thread's, for the cache commands; raises ``sqlite3.Error``."""
    connection = sqlite3.connect(path, timeout=_PATIENCE, check_same_thread=False)
    try:
        for statement in (*_SETTINGS, *tables):
            connection.execute(statement)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _opened(path: Path, tables: tuple[str, ...]) -> sqlite3.Connection:
    try:
        return connected(path, tables)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise  # the disk is full, or not ours to write
        get_logger().error("edge state is damaged, and put aside", file=str(path), reason=str(error))
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                damaged = path.with_name(path.name + suffix)
                damaged.replace(path.with_name(f"{path.name}{suffix}.damaged"))
        return connected(path, tables)
