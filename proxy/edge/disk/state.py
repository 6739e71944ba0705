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
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
    "PRAGMA temp_store = MEMORY",  # a container may have no directory for it
)
_ONLY_READS: Final = "PRAGMA query_only = ON"


class State:
    """The file, in threads of its own: one for what is written, one for what is only read."""

    def __init__(self, path: Path, tables: Iterable[str]) -> None:
        self._path = path
        self._tables = list(tables)
        self._writing = _Thread(lambda: _opened(path, self._tables))
        self._reading = _Thread(lambda: _opened(path, (*self._tables, _ONLY_READS)))
        self._faults = Faults()

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, path: Path, tables: Iterable[str]) -> AsyncIterator[State]:
        """Open the file at ``path`` for the time of the context, with ``tables`` (CREATE … IF NOT EXISTS) in it.

        Raises:
            sqlite3.Error: it cannot be opened, and no new one either.
        """
        state = cls(path, tables)
        async with state._writing.open(), state._reading.open():
            yield state

    async def add(self, *tables: str) -> None:
        """Have ``tables`` (CREATE … IF NOT EXISTS) in the file from now on, also if it has to be begun anew.

        Raises:
            sqlite3.Error: they cannot be made.
        """
        await self.run(lambda connection: [connection.execute(one) for one in tables])
        self._tables += tables

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

    def __init__(self, connect: Callable[[], _Connected]) -> None:
        self._connect = connect
        self._thread = ThreadPoolExecutor(1, "edge-state")
        self._connected: _Connected | None = None

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Be connected for the time of the context; raises ``sqlite3.Error``."""
        with self._thread:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._ready)
            try:
                yield
            finally:
                self._thread.submit(self._close)  # not awaited, so not cancelled: the thread is waited for

    async def do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return the result of ``work`` in the thread. After one that finds the file damaged there is a new one."""

        def transaction() -> T:
            connected = self._ready()
            try:
                with connected.connection:
                    return work(connected.connection)
            except sqlite3.DatabaseError as error:
                if _is_damage(error):
                    self._close()
                    _put_aside(connected, error)
                raise

        return await asyncio.get_running_loop().run_in_executor(self._thread, transaction)

    def _ready(self) -> _Connected:
        if self._connected is not None and not self._connected.is_in_place():
            self._close()
        if self._connected is None:
            self._connected = self._connect()
        return self._connected

    def _close(self) -> None:
        if self._connected is not None:
            self._connected.connection.close()
            self._connected = None


@dataclass(frozen=True, slots=True)
class _Connected:
    """A connection, and which file it is to: somebody may put it aside or delete it."""

    connection: sqlite3.Connection
    path: Path
    inode: int

    def is_in_place(self) -> bool:
        """Say whether the others use this file, too."""
        return _inode(self.path) == self.inode


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


def _opened(path: Path, tables: Iterable[str]) -> _Connected:
    """Return a connection to the file at ``path``, or to a new one where it is damaged; raises ``sqlite3.Error``."""
    try:
        with _alone(path):
            try:
                connection = connected(path, tables)
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise  # the disk is full, or not ours to write
                _move(path, error)
                connection = connected(path, tables)
            return _Connected(connection, path, _inode(path))
    except OSError as error:
        raise sqlite3.OperationalError(f"{path}: {error.strerror}") from None


def _put_aside(damaged: _Connected, error: sqlite3.DatabaseError) -> None:
    """Put a file aside that turned out to be damaged, unless another process has done so."""
    with contextlib.suppress(OSError), _alone(damaged.path):
        if damaged.is_in_place():
            _move(damaged.path, error)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let no other process put the file at ``path`` aside meanwhile."""
    with path.with_name(f"{path.name}.lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _move(path: Path, error: sqlite3.DatabaseError) -> None:
    get_logger().error("edge state is damaged, and put aside", file=str(path), reason=str(error))
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).replace(path.with_name(f"{path.name}{suffix}.damaged"))


def _inode(path: Path) -> int:
    """Return which file is at ``path``; 0: none."""
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Say whether the file is no database or has bad pages; a full disk or a lock has a class of its own."""
    return type(error) is sqlite3.DatabaseError
