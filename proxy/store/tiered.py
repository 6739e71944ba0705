"""Memory in front of what the replicas share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.records import Key, R_co, Record
from proxy.store.memory import MemoryStore
from proxy.store.protocol import Store


class TieredStore:
    """Asks memory first, and lets memory learn what only the shared store knew."""

    def __init__(self, memory: MemoryStore, shared: Store | None) -> None:
        """``shared`` None: memory alone."""
        self._memory = memory
        self._shared = shared

    def peek(self, key: Key[R_co]) -> R_co | None:
        """Return what memory has under ``key``, without a turn of the loop."""
        return self._memory.peek(key)

    async def get(self, key: Key[R_co]) -> R_co | None:
        """Return the record under ``key`` or None."""
        record = self._memory.peek(key)
        if record is not None or self._shared is None:
            return record
        record = await self._shared.get(key)
        if record is not None:
            await self._memory.put({key: record})
        return record

    async def put(self, records: Mapping[Key[Any], Record]) -> None:
        """Keep ``records`` in both."""
        await self._memory.put(records)
        if self._shared is not None:
            await self._shared.put(records)
