"""Small facts in one SQLite file, shared by the workers of a node and by the cache commands.

Every part of the edge cache owns its tables: it lists their definitions in a constant of its module, and asks with
functions that get the connection. SQLite's write-ahead log lets readers and one writer work at the same time, and
survives kill -9 at any instruction. A file that is damaged is put aside and begun anew: content is found again by
its name, and everything else is asked of the registry again.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from proxy.edge.disk.files import Faults
from proxy.logs import get_logger

T = TypeVar("T")

_PATIENCE: Final = 10.0
"""Seconds that a writer waits for the other processes' writes."""
_SETTINGS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA cache_size = -4096",
    "PRAGMA journal_size_limit = 4194304",
)
_ONLY_READS: Final = "PRAGMA query_only = ON"


class State:
    """The file, in threads of its own: one for what is written, one for what is only read."""

    def __init__(self, writing: _Thread, reading: _Thread) -> None:
        self._writing = writing
        self._reading = reading
        self._faults = Faults()

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, path: Path, tables: Iterable[str]) -> AsyncIterator[State]:
        """Open the file at ``path`` for the time of the context, with ``tables`` (CREATE … IF NOT EXISTS) in it.

        Raises:
            sqlite3.Error: it cannot be opened, and no new one either.
        """
        wanted = tuple(tables)
        async with (
            _Thread.begin(lambda: _opened(path, wanted)) as writing,
            _Thread.begin(lambda: connected(path, (_ONLY_READS,))) as reading,
        ):
            yield cls(writing, reading)

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return the result of ``work``, one transaction from its first write on, that is undone when it raises.

        Raises:
            sqlite3.Error: it failed, such as on a full disk; callers that only remember something go on without.
        """
        return await self._writing.do(work)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return the result of ``work``, which only reads, and does not wait for what others write.

        Raises:
            sqlite3.Error: it failed.
        """
        return await self._reading.do(work)

    async def remember(self, work: Callable[[sqlite3.Connection], object]) -> bool:
        """Do ``work`` like ``run``, but where it fails, log that and return False: the pull does not need it."""
        try:
            await self.run(work)
        except sqlite3.Error as error:
            self._faults.tell("writing the state", error)
            return False
        return True


class _Thread:
    """A connection, and the thread that alone uses it."""

    def __init__(self, connection: sqlite3.Connection, thread: ThreadPoolExecutor) -> None:
        self._connection = connection
        self._thread = thread

    @classmethod
    @contextlib.asynccontextmanager
    async def begin(cls, connect: Callable[[], sqlite3.Connection]) -> AsyncIterator[_Thread]:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "edge-state") as thread:
            connection = await loop.run_in_executor(thread, connect)
            try:
                yield cls(connection, thread)
            finally:
                thread.submit(connection.close)  # not awaited, so not cancelled: the thread is waited for

    async def do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def transaction() -> T:
            with self._connection:
                return work(self._connection)

        return await asyncio.get_running_loop().run_in_executor(self._thread, transaction)


def connected(path: Path, tables: Iterable[str]) -> sqlite3.Connection:
    """Return a connection of the calling thread's, for the cache commands; raises ``sqlite3.Error``."""
    # Immediate: who reads first and writes then would be refused if another process wrote in between.
    connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level="IMMEDIATE", check_same_thread=False)
    try:
        for statement in (*_SETTINGS, *tables):
            connection.execute(statement)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _opened(path: Path, tables: tuple[str, ...]) -> sqlite3.Connection:
    """Return the connection of a process that starts; the others that start wait, since one puts aside for all."""
    with path.with_name(f"{path.name}.lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            return _checked(path, tables)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise  # the disk is full, or not ours to write
            get_logger().error("edge state is damaged, and put aside", file=str(path), reason=str(error))
            for suffix in ("", "-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    damaged = path.with_name(path.name + suffix)
                    damaged.replace(path.with_name(f"{path.name}{suffix}.damaged"))
            return connected(path, tables)


def _checked(path: Path, tables: tuple[str, ...]) -> sqlite3.Connection:
    connection = connected(path, tables)
    try:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(found)
    except sqlite3.Error:
        connection.close()
        raise
    return connection
