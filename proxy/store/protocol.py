"""The interface of a store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from proxy.store.records import R_co, Record, RecordKey


class RecordStore(Protocol):
    """Keeps records. It may forget any of them at any time, and never raises: a pull does not need it."""

    async def get(self, key: RecordKey[R_co]) -> R_co | None:
        """Return the record under ``key``, whole and verified, or None."""

    async def put(self, records: Mapping[RecordKey[Any], Record]) -> bool:
        """Keep ``records``; say whether all are kept, so that other readers of the same store see them."""


class SharedStore(RecordStore, Protocol):
    """A store that outlives this process and can lose everything while we look away."""

    @property
    def generation(self) -> int:
        """A number that changes whenever earlier records may be gone."""

    @property
    def is_settling(self) -> bool:
        """Whether a missing record may soon be there: the store just failed, or just came back."""
