"""Memory in front of the disk of this node, and of the store that the replicas share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from cachetools import LRUCache

from proxy.metrics.catalogue import MEMORY_HIT, MEMORY_MISS
from proxy.store.memory import MemoryStore
from proxy.store.protocol import RecordStore, SharedStore
from proxy.store.records import R_co, Record, RecordKey

_REPUBLISH: Final = 60.0
"""Seconds after which shared records that are still asked for are put again: a full Redis evicts quietly."""
# Seconds: between two looks, and in which a replica whose call to Redis failed gets to put again.
_LOOK_AGAIN: Final = 0.2
_HICCUP: Final = 2.0
_MOST_WAITING: Final = 512
"""Requests for unknown digests, so far: a client that asks for many of them must not become load on Redis."""
_MOST_PUBLISHED: Final = 65_536


class TieredStore:
    """Asks memory first, then the disk, then the shared store, and copies records to those asked before."""

    def __init__(
        self,
        memory: MemoryStore,
        shared: SharedStore | None,
        *,
        disk: RecordStore | None = None,
        failover: float = _HICCUP,
    ) -> None:
        """Put the one in front of the other.

        Args:
            memory: asked first.
            shared: by the replicas; None: there is none.
            disk: of this node, asked before ``shared``; None: there is none.
            failover: most seconds that a digest is waited for which only the shared store may know; with 0
                it is unknown at once.
        """
        self._memory = memory
        self._shared = shared
        self._disk = disk
        self._failover = failover
        self._waiting = 0
        self._published: LRUCache[RecordKey[Any], tuple[int, float]] = LRUCache(_MOST_PUBLISHED)

    def peek(self, key: RecordKey[R_co], *, counted: bool = False) -> R_co | None:
        """Return memory's record under ``key``, without a turn of the loop; ``counted`` as a hit."""
        record = self._memory.peek(key)
        if counted and record is not None:
            MEMORY_HIT.add()
        return record

    async def get(self, key: RecordKey[R_co]) -> R_co | None:
        """Return the record under ``key`` or None."""
        record = self._memory.peek(key)
        (MEMORY_MISS if record is None else MEMORY_HIT).add()
        if record is not None:
            return record
        if self._disk is not None:
            record = await self._disk.get(key)
        if record is None and self._shared is not None:
            record = await self._shared.get(key)
            if record is not None and self._disk is not None:
                await self._disk.put({key: record})
        if record is not None:
            self._memory.keep({key: record})
        return record

    @property
    def losses(self) -> int:
        """How many records memory had to let go so far."""
        return self._memory.losses

    async def get_all(self, key: RecordKey[R_co]) -> list[R_co]:
        """Return the record of each tier under ``key``: for records that other replicas add to."""
        behind = [await store.get(key) for store in (self._disk, self._shared) if store is not None]
        return [record for record in (self._memory.peek(key), *behind) if record is not None]

    async def settle(self, waited: float, *, only_failing: bool) -> bool:
        """Pause and return True while it makes sense to look again for a record that another replica may have put.

        Args:
            waited: seconds so far.
            only_failing: whether to wait only while this replica, too, sees the shared store fail or recover.
        """
        if self._shared is None or not self._failover:
            return False
        if not self._shared.is_settling and (only_failing or waited >= min(_HICCUP, self._failover)):
            return False
        if self._waiting >= _MOST_WAITING:
            return False
        self._waiting += 1
        try:
            await asyncio.sleep(_LOOK_AGAIN)
        finally:
            self._waiting -= 1
        return True

    async def put(self, records: Mapping[RecordKey[Any], Record]) -> bool:
        """Keep ``records`` in all, the shared store first: the replicas know every record that memory has.

        A disk that is full or fails is not waited for: what it lacks is made again.
        """
        is_shared = self._shared is None or await self._shared.put(records)
        if self._disk is not None:
            await self._disk.put(records)
        return self._memory.keep(records) and is_shared

    def is_published(self, key: RecordKey[Any]) -> bool:
        """Say whether the record published under ``key`` can be expected to be in the shared store still."""
        if self._shared is None:
            return True
        generation, since = self._published.get(key, (-1, 0.0))
        return generation == self._shared.generation and time.monotonic() - since < _REPUBLISH

    async def publish(self, key: RecordKey[Any], records: Mapping[RecordKey[Any], Record]) -> None:
        """Keep ``records`` in all, and remember under ``key`` when the shared store took all of them."""
        generation = self._shared.generation if self._shared else 0
        if await self.put(records):
            self._published[key] = (generation, time.monotonic())
