"""How much content there may be, and which makes room for other.

The bound is ``edge.max_size``, or what ``edge.min_free`` leaves beside the files of others, whichever is less. Whole
content and what is promised to content on its way, in all processes, stays below it. Where it does not, content makes
room down to nine tenths of the bound: what was left half fetched first, then what was used least recently. What is
pinned or read stays, and nothing is removed for what would not fit all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from proxy.config.edge import EdgeConfig
from proxy.edge.disk.blobs import Blobs
from proxy.edge.disk.directory import ALGORITHMS, EdgeDirectory
from proxy.edge.disk.files import Faults, lock, removed
from proxy.edge.disk.state import State
from proxy.edge.disk.unfinished import Unfinished, unfinished
from proxy.metrics.catalogue import EDGE_EVICTED_BYTES, EDGE_EVICTIONS
from twodfs.oci.digest import Digest

SPACE_TABLES: Final = (
    """CREATE TABLE IF NOT EXISTS reservations (digest TEXT PRIMARY KEY, size INTEGER NOT NULL, until REAL NOT NULL)
    WITHOUT ROWID""",
)
_OLDEST: Final = """
    SELECT digest, size FROM blobs WHERE digest NOT IN (SELECT digest FROM pinned) ORDER BY used LIMIT -1 OFFSET ?
"""
# Not of what is there by now.
_PROMISES: Final = "SELECT digest, size FROM reservations WHERE until > ? AND digest NOT IN (SELECT digest FROM blobs)"
_LOW_WATER: Final = 0.9
_FREE_SHARE: Final = 20
_MOST_FREE: Final = 10**9
"""A twentieth of the disk stays free, at most a gigabyte, where the configuration says nothing."""
_PROMISED: Final = 60.0
"""Seconds for which a promise counts by itself; from then on the content on its way speaks for it."""
_TO_START: Final = 2 * 2**20
"""Bytes of the disk that the state needs to be opened, and for what is written until there is more."""
_PATIENCE: Final = 5.0
"""Seconds to wait for another process that makes room."""
_LOOK_AGAIN: Final = 0.02
_FRESH: Final = 1.0
"""Seconds for which a look at content on its way will do where there is room: what began since has its promise."""
_PIECE: Final = 256


@dataclass(frozen=True, slots=True)
class Room:
    """What there is, and how much there may be; all in bytes."""

    blobs: int
    content: int
    claims: int
    """Of content on its way: what it has, or will have where it is being fetched."""
    on_its_way: int
    """What content on its way has on the disk."""
    free: int
    bound: int
    """Most bytes of content and claims: as ``edge.max_size`` says, less where others fill the disk."""

    @property
    def used(self) -> int:
        """What is there and what is promised."""
        return self.content + self.claims


class Space:
    """The room in an edge directory, the same for all processes that use it. Nothing here raises."""

    def __init__(self, config: EdgeConfig, directory: EdgeDirectory, state: State, blobs: Blobs) -> None:
        self.measured = Room(blobs=0, content=0, claims=0, on_its_way=0, free=0, bound=0)
        """What there was when it was last measured, for the metrics, which must not wait for the disk."""
        self._config = config
        self._directory = directory
        self._state = state
        self._blobs = blobs
        self._one = asyncio.Lock()
        self._released: set[Digest] = set()
        self._seen: tuple[float, list[Unfinished]] = -_FRESH, []
        self._faults = Faults()

    async def reserve(self, digest: Digest, size: int) -> bool:
        """Promise room for the content with ``digest``, which has ``size`` bytes; False: it does not fit."""
        try:
            async with asyncio.timeout(2 * _PATIENCE), self._alone():
                await self.write_releases()
                room = await self._measure(apart_from=digest, at_most_old=_FRESH)
                if room.used + size > room.bound:
                    room = await self._measure(apart_from=digest)
                if not await self._fit(room, size, digest):
                    return False
                row = (digest, size, time.time() + _PROMISED)
                await self._state.run(lambda c: c.execute("INSERT OR REPLACE INTO reservations VALUES (?, ?, ?)", row))
        except (OSError, sqlite3.Error) as error:  # TimeoutError is an OSError
            self._faults.tell("making room", error)
            return False
        self._released.discard(digest)
        return True

    def release(self, digest: Digest) -> None:
        """Take the promise back: the content is there, or will not be."""
        self._released.add(digest)

    async def make_room(self, size: int = 0) -> bool:
        """Make room for ``size`` bytes more, such as after the disk was full; say whether there is."""
        try:
            async with asyncio.timeout(2 * _PATIENCE), self._alone():
                await self.write_releases()
                return await self._fit(await self._measure(), size, None)
        except (OSError, sqlite3.Error) as error:
            self._faults.tell("making room", error)
            return False

    async def measure(self) -> Room | None:
        """Return what there is; None: the disk or the state fails."""
        try:
            await self.write_releases()
            return await self._measure()
        except (OSError, sqlite3.Error) as error:
            self._faults.tell("measuring the directory", error)
            return None

    async def write_releases(self) -> None:
        """Let the other processes know what was released; else it happens with the next promise or measurement."""
        released, self._released = self._released, set()
        if released:
            rows = [(digest,) for digest in released]
            await self._state.remember(lambda c: c.executemany("DELETE FROM reservations WHERE digest = ?", rows))

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Let no other task or process make room or promises meanwhile."""
        async with self._one:
            descriptor = os.open(self._directory.space_lock, os.O_CREAT | os.O_RDWR, 0o600)
            try:
                until = time.monotonic() + _PATIENCE
                while not lock(descriptor, fcntl.LOCK_EX):
                    if time.monotonic() > until:
                        raise TimeoutError("another process makes room and does not end")
                    await asyncio.sleep(_LOOK_AGAIN)
                yield
            finally:
                os.close(descriptor)

    async def _measure(self, *, apart_from: Digest | None = None, at_most_old: float = 0.0) -> Room:
        """Return what there is; content on its way as it was so many seconds ago, which is not less than it claims."""
        now = time.time()

        def ask(connection: sqlite3.Connection) -> tuple[int, int, dict[Digest, int]]:
            blobs, content = connection.execute("SELECT blobs, bytes FROM blob_totals").fetchone() or (0, 0)
            rows = connection.execute(_PROMISES, (now,)).fetchall()
            return blobs, content, {Digest(digest): size for digest, size in rows}

        blobs, content, promised = await self._state.read(ask)
        looked_at, ways = self._seen
        if time.monotonic() - looked_at >= at_most_old:
            ways = await asyncio.to_thread(lambda: list(unfinished(self._directory)))
            self._seen = time.monotonic(), ways
        disk = await asyncio.to_thread(os.statvfs, self._directory.root)
        claims = {way.digest: way.claim for way in ways}
        for digest, size in promised.items():
            claims[digest] = max(size, claims.get(digest, 0))
        if apart_from is not None:
            claims.pop(apart_from, None)
        on_its_way = sum(way.on_disk for way in ways)
        free = disk.f_bavail * disk.f_frsize
        bound = content + on_its_way + free - least_free(self._config, disk)
        if self._config.max_size is not None:
            bound = min(bound, self._config.max_size)
        self.measured = Room(blobs, content, sum(claims.values()), on_its_way, free, bound)
        return self.measured

    async def _fit(self, room: Room, size: int, digest: Digest | None) -> bool:
        """Make room where ``size`` bytes more do not fit; say whether they do then."""
        excess = room.used + size - room.bound
        if excess <= 0:
            return True
        if size and size > room.bound:
            return False
        wanted = room.used + size - int(room.bound * _LOW_WATER)
        freed = await self._drop_unfinished(excess, digest)
        if freed < excess:
            # Where others fill the disk, each byte counts; for new content, only if it is enough.
            freed += await self._evict(excess - freed if size else 0, wanted - freed)
        return freed >= excess

    async def _drop_unfinished(self, excess: int, but: Digest | None) -> int:
        """Remove what nobody goes on with, the oldest first, up to ``excess`` bytes; return how many went."""

        def drop() -> int:
            freed = 0
            left = [one for one in unfinished(self._directory) if not one.is_fetched and one.digest != but]
            for one in sorted(left, key=lambda one: one.changed_at):
                if freed >= excess:
                    break
                if one.remove():
                    freed += one.on_disk
            return freed

        return await asyncio.to_thread(drop)

    async def _evict(self, least: int, wanted: int) -> int:
        """Remove content, that used least recently first; return the bytes that it had.

        Args:
            least: bytes; where there are not so many to be had, nothing is removed.
            wanted: bytes to remove, if there are as many.
        """
        await self._blobs.write_uses()
        freed = kept = 0
        while freed < wanted:
            found = await self._state.read(lambda c, left=wanted - freed, kept=kept: _oldest(c, left, kept))  # type: ignore[misc]
            if not found or (not freed and not kept and sum(size for _, size in found) < least):
                break
            for at in range(0, len(found), _PIECE):
                piece = dict(found[at : at + _PIECE])
                gone = await self._blobs.remove_all(tuple(piece))
                kept += len(piece) - len(gone)
                freed += self._count([piece[digest] for digest in gone])
        return freed

    def _count(self, sizes: Sequence[int]) -> int:
        EDGE_EVICTIONS.of().add(len(sizes))
        EDGE_EVICTED_BYTES.of().add(sum(sizes))
        return sum(sizes)


def least_free(config: EdgeConfig, disk: os.statvfs_result) -> int:
    """Return the bytes of ``disk`` that stay free."""
    if config.min_free is not None:
        return config.min_free
    return min(disk.f_blocks * disk.f_frsize // _FREE_SHARE, _MOST_FREE)


def _oldest(connection: sqlite3.Connection, wanted: int, skipped: int) -> list[tuple[Digest, int]]:
    """Return digest and size of content that may go, that used least recently first, of ``wanted`` bytes at least."""
    found: list[tuple[Digest, int]] = []
    rows = connection.execute(_OLDEST, (skipped,))
    with contextlib.closing(rows):
        for digest, size in rows:
            found.append((Digest(digest), size))
            wanted -= size
            if wanted <= 0:
                break
    return found


def make_room_to_start(directory: EdgeDirectory) -> None:
    """Remove content that is not pinned, the oldest first, where a full disk would not even let the state be opened.

    Raises:
        OSError: the directory cannot be read.
    """
    if _free(directory) >= _TO_START:
        return
    for one in unfinished(directory):
        one.remove()
    stay = _pinned_as_far_as_known(directory)
    files = []
    for algorithm in ALGORITHMS:
        with os.scandir(directory.contents(algorithm)) as entries:
            files += [(entry.stat(follow_symlinks=False).st_mtime, algorithm, entry.name) for entry in entries]
    for _, algorithm, name in sorted(files):
        if _free(directory) >= _TO_START:
            break
        if f"{algorithm}:{name}" not in stay:
            removed(directory.contents(algorithm) / name)


def _free(directory: EdgeDirectory) -> int:
    disk = os.statvfs(directory.root)
    return disk.f_bavail * disk.f_frsize


def _pinned_as_far_as_known(directory: EdgeDirectory) -> frozenset[str]:
    """Return what stays, read from the state as it is on disk: it cannot be opened in the ordinary way."""
    try:
        with contextlib.closing(sqlite3.connect(f"{directory.state.as_uri()}?immutable=1", uri=True)) as connection:
            return frozenset(digest for (digest,) in connection.execute("SELECT digest FROM pinned"))
    except sqlite3.Error:
        return frozenset()
