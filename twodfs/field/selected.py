"""The cells that a selection has found: how many may be used, and which of equal ones stays."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from twodfs.errors import PartitionError, TooManyLayersError
from twodfs.field.cells import Cells
from twodfs.field.partition import Selection
from twodfs.oci.digest import Digest

MOST_MERGED: Final = 100_000
"""Cells of one selection among which equal ones are looked for, some 50 ms."""
_MERGED_A_STEP: Final = 2000
"""About a millisecond."""


class SelectedCells:
    """The places of the cells that a selection has, in row-major order."""

    def __init__(self, cells: Cells, selection: Selection, limit: int | None, *, merged: bool) -> None:
        """Begin with none; args as for ``Field.select``."""
        self._cells = cells
        self._selection = selection
        self._limit = limit
        self._merged = merged
        self._places: list[int] = []
        self._by_blob: dict[Digest, int] = {}
        self._looked_at = 0

    @property
    def places(self) -> Collection[int]:
        """The allotments that stay."""
        return self._by_blob.values() if self._merged else self._places

    def take(self, places: range) -> Iterator[None]:
        """Add neighbours; yields every millisecond or so.

        Raises:
            TooManyLayersError: there are more than the limit.
            PartitionError: there are very many to merge.
        """
        limit = self._limit
        if not self._merged:
            self._places += places if limit is None else places[: limit + 1]
            self._check(len(self._places))
            return
        for place in places:
            blob = self._cells.digest_at(place)
            self._by_blob.pop(blob, None)  # the last one's place in the order
            self._by_blob[blob] = place
            self._check(len(self._by_blob))
            self._looked_at += 1
            if limit is not None and self._looked_at > MOST_MERGED:
                raise PartitionError(
                    f"partition {self._selection.shown} selects more than {MOST_MERGED} cells, most of them "
                    f"with the same blobs; select fewer"
                )
            if not self._looked_at % _MERGED_A_STEP:
                yield

    def _check(self, count: int) -> None:
        if self._limit is not None and count > self._limit:
            raise TooManyLayersError(f"partition {self._selection.shown} selects more than {self._limit} allotments")
