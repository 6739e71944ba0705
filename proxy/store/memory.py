"""Records in this process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from cachetools import LRUCache

from proxy.records import Key, R_co, Record


class MemoryStore:
    """Keeps records up to a number of bytes, least recently used out first.

    Records are values and were verified when they came in, so they are handed out as they are.
    """

    def __init__(self, max_bytes: int) -> None:
        self._records: LRUCache[Key[Any], Record] = LRUCache(
            max_bytes, getsizeof=lambda record: record.weight
        )

    def peek(self, key: Key[R_co]) -> R_co | None:
        """Return the record under ``key`` or None, without a turn of the loop."""
        return cast("R_co | None", self._records.get(key))

    def keep(self, records: Mapping[Key[Any], Record]) -> bool:
        """Keep ``records``, without a turn of the loop; one that alone exceeds the bound is left out."""
        fitting = {key: record for key, record in records.items() if record.weight <= self._records.maxsize}
        for key, record in fitting.items():
            self._records[key] = record
        return len(fitting) == len(records)

    async def get(self, key: Key[R_co]) -> R_co | None:
        """Return the record under ``key`` or None."""
        return self.peek(key)

    async def put(self, records: Mapping[Key[Any], Record]) -> bool:
        """Keep ``records``; say whether all of them fit."""
        return self.keep(records)

    @property
    def used_bytes(self) -> int:
        """Bytes in use, roughly."""
        return int(self._records.currsize)
