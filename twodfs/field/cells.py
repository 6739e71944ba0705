"""The cells of a field, packed: some eighty bytes each, in row-major order, in one stretch of bytes.

::

    packed = head LF keys digests diff-ids [sizes] [media-types]    ; each column as long as there are cells
    head   = JSON: how many cells, values outside the columns, and the field's other members
    key    = row * 2^32 + column, 8 bytes          digest, diff-id = SHA-256, 32 bytes each
    size   = 8 bytes, 0 for none                   media-type = place in the head's list, 2 bytes

The head also tells which of those types were read from ``compression`` (``Allotment.is_inferred``).

Numbers are in the machine's byte order, which the head names, so that opening is no more than slicing: bytes
packed in another order are not opened. The few cells whose digests are not SHA-256 are listed in the head.
"""

from __future__ import annotations

import sys
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Final

import orjson

from twodfs.field.allotment import MAX_COORDINATE, Allotment
from twodfs.field.rectangle import Rectangle, bands, joined
from twodfs.oci.digest import Digest
from twodfs.oci.documents import Json

PACKED_FORMAT: Final = f"2-{sys.byteorder}"
"""The name of the form that ``Cells.open`` opens on this machine."""
ROW_SHIFT: Final = 32
COLUMN_MASK: Final = 2**32 - 1
HASH_BYTES: Final = 32
_SHA256: Final = "sha256:"
_COLUMNS_A_SEARCH: Final = 8
"""Rectangles that are joined in the time of one search."""


class PackedError(ValueError):
    """These bytes are no packed field, or one of another machine or release."""


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Allotments in row-major order, made when they are asked for.

    Attributes:
        packed: the bytes they are read from.
        last_col: the highest column; -1 when there is no cell.
        total_bytes: the bytes of all blobs, as far as sizes are recorded.
        about: the field's members other than its cells, as it was packed with them.
    """

    packed: bytes
    last_col: int
    total_bytes: int
    about: Json
    _keys: memoryview
    _digests: memoryview
    _diff_ids: memoryview
    _sizes: memoryview | None
    _types: memoryview | None
    _media_types: list[str]
    _inferred: list[int]
    _other: dict[str, list[str]]

    @classmethod
    def open(cls, packed: bytes) -> Cells:
        """Return the cells in ``packed``, without a look at each of them.

        Raises:
            PackedError: ``Packer`` did not make it on such a machine.
        """
        end = packed.find(b"\n")
        try:
            head = orjson.loads(packed[: max(end, 0)])
            if head["format"] != PACKED_FORMAT:
                raise PackedError("packed by another release, or on another kind of machine")
            count = int(head["count"])
            widths = (8, HASH_BYTES, HASH_BYTES, 8 * head["sized"], 2 * (len(head["types"]) > 1))
            if len(packed) != end + 1 + count * sum(widths):
                raise PackedError(f"{len(packed)} bytes are not {count} cells")
            columns = []
            at = end + 1
            for width in widths:
                columns.append(memoryview(packed)[at : at + count * width])
                at += count * width
            keys, digests, diff_ids, sizes, types = columns
            return cls(
                packed,
                head["last_col"],
                int(head["bytes"]),
                head["about"],
                keys.cast("Q"),
                digests,
                diff_ids,
                sizes.cast("Q") if head["sized"] else None,
                types.cast("H") if len(types) else None,
                head["types"],
                head["inferred"],
                head["other"],
            )
        except (KeyError, TypeError, orjson.JSONDecodeError):
            raise PackedError("no packed field") from None

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Allotment]:
        return map(self.__getitem__, range(len(self)))

    @property
    def last_row(self) -> int:
        """The highest row; -1 when there is no cell."""
        return self._keys[-1] >> ROW_SHIFT if len(self._keys) else -1

    def covered(self, rectangles: Iterable[Rectangle]) -> Iterator[range | None]:
        """Yield the places of the cells in ``rectangles`` in row-major order, each once, neighbours together.

        Beside them it yields None for every half a microsecond or so of looking around: in a tall field each
        row that has cells takes a search or two, and a caller that has to bound them can. None of the rectangles
        may be inverted.
        """
        keys = self._keys
        at = 0
        for first, last, columns in bands(rectangles):
            if at >= len(keys) or first > MAX_COORDINATE:
                return
            yield None
            at = bisect_left(keys, first << ROW_SHIFT, at)
            until = bisect_left(keys, min(last + 1, MAX_COORDINATE + 1) << ROW_SHIFT, at)
            if at == until:
                continue
            yield from repeat(None, len(columns) // _COLUMNS_A_SEARCH)
            starts, ends = joined(columns)
            if starts[0] == 0 and ends[0] >= self.last_col:
                yield range(at, until)
                at = until
            else:
                yield from self._in_band(at, until, starts, ends)

    def _in_band(self, at: int, until: int, starts: Sequence[int], ends: Sequence[int]) -> Iterator[range | None]:
        """Yield the places from ``at`` to ``until`` whose columns lie in one of the stretches."""
        keys = self._keys
        while at < until:
            row, col = keys[at] & ~COLUMN_MASK, keys[at] & COLUMN_MASK
            stretch = bisect_right(starts, col) - 1
            if stretch >= 0 and col <= ends[stretch]:
                end = bisect_left(keys, row | min(ends[stretch] + 1, COLUMN_MASK), at, until)
                yield range(at, end)
                at = end
            else:
                yield None
                following = stretch + 1
                if following == len(starts):
                    row, following = row + (1 << ROW_SHIFT), 0
                at = bisect_left(keys, row | min(starts[following], COLUMN_MASK), at, until)

    def sizes_of(self, places: range) -> memoryview:
        """Return the bytes of neighbouring cells, 0 where none were recorded."""
        if self._sizes is None:
            return memoryview(bytes(8 * len(places))).cast("Q")
        return self._sizes[places.start : places.stop]

    def media_types(self) -> dict[str, int]:
        """Return how many cells there are of each media type."""
        if self._types is None:
            return {self._media_types[0]: len(self)} if len(self) else {}
        counted: Counter[str] = Counter()
        for at, count in Counter(self._types).items():
            counted[self._media_types[at]] += count
        return dict(counted)

    def digest_at(self, at: int) -> Digest:
        """Return the digest of one cell's blob."""
        if (other := self._other.get(str(at))) is not None:
            return Digest(other[0])
        return Digest(_SHA256 + self._digests[at * HASH_BYTES : (at + 1) * HASH_BYTES].hex())

    def __getitem__(self, at: int) -> Allotment:
        key = self._keys[at]
        if (other := self._other.get(str(at))) is not None:
            digest, diff_id = Digest(other[0]), Digest(other[1])
        else:
            here = slice(at * HASH_BYTES, (at + 1) * HASH_BYTES)
            digest = Digest(_SHA256 + self._digests[here].hex())
            diff_id = Digest(_SHA256 + self._diff_ids[here].hex())
        size = None if self._sizes is None else self._sizes[at] or None
        kind = 0 if self._types is None else self._types[at]
        media_type, is_inferred = self._media_types[kind], kind in self._inferred
        return Allotment(key >> ROW_SHIFT, key & COLUMN_MASK, digest, diff_id, size, media_type, is_inferred)
