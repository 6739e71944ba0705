"""Records put into the shared store a moment ago, in case they have to be put again."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

# Seconds that Redis gets to copy records to the server that may take over; by default a replica is told
# at once, and a failed master is found out within half a minute.
_MEMORY: Final = 30.0
_MOST_BYTES: Final = 32 * 2**20
_BATCH: Final = 64


class Recent:
    """Sealed records of the last half minute, and of the whole time of a failure; bounded in bytes."""

    def __init__(self) -> None:
        self._records: OrderedDict[str, tuple[float, int, bytes]] = OrderedDict()
        self._bytes = 0

    def add(self, ttl: int, pairs: list[tuple[str, bytes]], *, is_healthy: bool) -> None:
        """Remember ``pairs``, to live ``ttl`` seconds; the oldest leave, while all is well by age as well."""
        now = time.monotonic()
        for name, sealed in pairs:
            self._forget(name)
            self._records[name] = (now, ttl, sealed)
            self._bytes += len(sealed)
        while self._records and (self._bytes > _MOST_BYTES or (is_healthy and self._is_old(now))):
            self._forget(next(iter(self._records)))

    def batches(self) -> Iterator[tuple[int, list[tuple[str, bytes]]]]:
        """Yield time to live and pairs of all that is remembered, the longest-lived first."""
        by_ttl: dict[int, list[tuple[str, bytes]]] = {}
        for name, (_, ttl, sealed) in self._records.items():
            by_ttl.setdefault(ttl, []).append((name, sealed))
        for ttl in sorted(by_ttl, reverse=True):
            pairs = by_ttl[ttl]
            for at in range(0, len(pairs), _BATCH):
                yield ttl, pairs[at : at + _BATCH]

    def _is_old(self, now: float) -> bool:
        since, _, _ = next(iter(self._records.values()))
        return now - since > _MEMORY

    def _forget(self, name: str) -> None:
        record = self._records.pop(name, None)
        if record is not None:
            self._bytes -= len(record[2])
