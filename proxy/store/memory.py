"""Records in this process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, cast

from proxy.store.records import R_co, Record, RecordKey


class MemoryStore:
    """Keeps records up to a number of bytes, least recently used out first.

    Records are values and were verified when they came in, so they are handed out as they are.
    """

    def __init__(self, max_bytes: int) -> None:
        self._records: OrderedDict[RecordKey[Any], Record] = OrderedDict()
        self._max_bytes = max_bytes
        self._used_bytes = 0
        self._losses = 0

    def peek(self, key: RecordKey[R_co]) -> R_co | None:
        """Return the record under ``key`` or None, without a turn of the loop."""
        record = self._records.get(key)
        if record is not None:
            self._records.move_to_end(key)
        return cast("R_co | None", record)

    def keep(self, records: Mapping[RecordKey[Any], Record]) -> bool:
        """Keep ``records``, without a turn of the loop; a record larger than the bound is left out."""
        fitting = {key: record for key, record in records.items() if record.weight <= self._max_bytes}
        for key, record in fitting.items():
            replaced = self._records.pop(key, None)
            self._used_bytes += record.weight - (0 if replaced is None else replaced.weight)
            self._records[key] = record
        while self._used_bytes > self._max_bytes:
            _, lost = self._records.popitem(last=False)
            self._used_bytes -= lost.weight
            self._losses += 1
        return len(fitting) == len(records)

    async def get(self, key: RecordKey[R_co]) -> R_co | None:
        """Return the record under ``key`` or None."""
        return self.peek(key)

    async def put(self, records: Mapping[RecordKey[Any], Record]) -> bool:
        """Keep ``records``; say whether all of them fit."""
        return self.keep(records)

    @property
    def used_bytes(self) -> int:
        """Bytes in use, roughly."""
        return self._used_bytes

    @property
    def losses(self) -> int:
        """The number of records evicted so far: while it stays the same, all records are still here."""
        return self._losses
