"""The one process of a node that cleans up: it holds ``keeper.lock``, and when it ends another one gets it.

It removes what crashes left behind, finds content that came without a word and rows of content that went so, makes room
before a fill has to wait for it, and writes ``index.json`` anew where somebody damaged it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import os
import sqlite3
import stat
import time
from collections.abc import Iterable
from typing import Final

from proxy.edge.disk.blobs import Blobs
from proxy.edge.disk.directory import ALGORITHMS, EdgeDirectory
from proxy.edge.disk.files import Faults, lock, remove_leftovers
from proxy.edge.disk.listing import ImageList
from proxy.edge.disk.space import Space
from proxy.edge.disk.state import State
from proxy.edge.disk.unfinished import ABOUT, PART, unfinished
from twodfs.oci.digest import Digest, is_digest

_RETRY: Final = 2.0
"""Seconds after which the other processes try to become the keeper."""
_ROUND: Final = 10.0
"""Seconds between two looks at the room."""
_SCAN: Final = 360
"""Rounds from one scan of all content to the next: an hour."""
_LISTING: Final = 6
"""Rounds from one look at ``index.json`` to the next, which may have been damaged or name what was evicted."""
_RESUMABLE: Final = 86_400.0
"""Seconds for which content that was left half fetched is kept."""
_ORPHAN: Final = 60.0
"""Seconds after which a length without its content is nobody's any more."""
_PIECE: Final = 1000
_PIECE_OF_ROWS: Final = "SELECT digest, ctime FROM blobs WHERE digest > ? ORDER BY digest LIMIT ?"
# Not what came back meanwhile.
_FORGET: Final = "DELETE FROM blobs WHERE digest = ? AND ctime IS ?"
_ADD: Final = "INSERT OR IGNORE INTO blobs (digest, size, used) VALUES (?, ?, ?)"


class Keeper:
    """Keeps an edge directory clean; never raises."""

    def __init__(self, directory: EdgeDirectory, state: State, blobs: Blobs, space: Space, listing: ImageList) -> None:
        self._directory = directory
        self._state = state
        self._blobs = blobs
        self._space = space
        self._listing = listing
        self._faults = Faults()

    async def keep(self) -> None:
        """Become the keeper as soon as nobody else is, and keep the directory until cancelled."""
        while True:
            try:
                descriptor = os.open(self._directory.keeper_lock, os.O_CREAT | os.O_RDWR, 0o600)
            except OSError as error:
                self._faults.tell("becoming the keeper", error)
            else:
                try:
                    if lock(descriptor, fcntl.LOCK_EX):
                        await self._rounds()
                finally:
                    os.close(descriptor)
            await asyncio.sleep(_RETRY)

    async def scan(self) -> None:
        """Remove what was left behind, and let the state know which content there is."""
        try:
            await asyncio.to_thread(self._remove_leftovers)
            await self._forget_missing()
            for algorithm in ALGORITHMS:
                await self._add_unknown(algorithm)
        except (OSError, sqlite3.Error) as error:
            self._faults.tell("scanning the directory", error)

    async def _rounds(self) -> None:
        for number in itertools.count():
            await self._make_parts()
            if not number % _SCAN:
                await self.scan()
            if not number % _LISTING:
                await self._listing.write()
            await self._space.make_room()
            try:
                async with asyncio.timeout(_ROUND):
                    await self._blobs.room_wanted.wait()
            except TimeoutError:
                continue
            self._blobs.room_wanted.clear()

    async def _make_parts(self) -> None:
        """Make the directories that somebody removed to empty the cache."""
        try:
            await asyncio.to_thread(self._directory.make_parts)
        except OSError as error:
            self._faults.tell("making the directory's parts", error)

    def _remove_leftovers(self) -> None:
        now = time.time()
        for one in unfinished(self._directory):
            if not one.is_fetched and now - one.changed_at > _RESUMABLE:
                one.remove()
        ingest = self._directory.ingest
        for directory in (self._directory.root, ingest, *map(self._directory.contents, ALGORITHMS)):
            remove_leftovers(directory)
        for path in ingest.glob(f"*{ABOUT}"):
            with contextlib.suppress(FileNotFoundError):  # its content became whole meanwhile
                if not path.with_suffix(PART).exists() and now - path.lstat().st_mtime > _ORPHAN:
                    path.unlink()

    async def _forget_missing(self) -> None:
        """Delete rows of content that is not there, in pieces."""
        last = ""
        while rows := await self._state.read(lambda c, last=last: c.execute(_PIECE_OF_ROWS, (last, _PIECE)).fetchall()):  # type: ignore[misc]
            last = rows[-1][0]
            missing = await asyncio.to_thread(self._missing, rows)
            if missing:
                await self._state.remember(lambda c, missing=missing: c.executemany(_FORGET, missing))  # type: ignore[misc]

    async def _add_unknown(self, algorithm: str) -> None:
        """Add rows for content that the state does not know, in pieces; it is hashed when it is used."""
        names = await asyncio.to_thread(os.listdir, self._directory.contents(algorithm))
        for at in range(0, len(names), _PIECE):
            digests = [Digest(one) for name in names[at : at + _PIECE] if is_digest(one := f"{algorithm}:{name}")]
            known = await self._state.read(lambda c, digests=digests: _known(c, digests))  # type: ignore[misc]
            rows = await asyncio.to_thread(self._rows, [one for one in digests if one not in known])
            if rows:
                await self._state.remember(lambda c, rows=rows: c.executemany(_ADD, rows))  # type: ignore[misc]

    def _missing(self, rows: Iterable[tuple[Digest, int | None]]) -> list[tuple[Digest, int | None]]:
        return [row for row in rows if not os.path.lexists(self._directory.blob(row[0]))]

    def _rows(self, digests: Iterable[Digest]) -> list[tuple[Digest, int, float]]:
        rows = []
        for digest in digests:
            try:
                status = self._directory.blob(digest).lstat()
            except OSError:
                continue  # it went meanwhile
            if stat.S_ISREG(status.st_mode):
                rows.append((digest, status.st_size, max(status.st_mtime, status.st_atime)))
        return rows


def _known(connection: sqlite3.Connection, digests: list[Digest]) -> set[str]:
    found = (connection.execute("SELECT digest FROM blobs WHERE digest = ?", (one,)).fetchone() for one in digests)
    return {row[0] for row in found if row}
