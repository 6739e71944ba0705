"""The cells of a field, packed: some eighty bytes each, in row-major order, in one stretch of bytes.

::

    packed = head LF keys digests diff-ids [sizes] [media-types]    ; each column as long as there are cells
    head   = JSON: how many cells, what the columns leave out, and what the field says beside its cells
    key    = row * 2^32 + column, 8 bytes          digest, diff-id = SHA-256, 32 bytes each
    size   = 8 bytes, 0 for none                   media-type = place in the head's list, 2 bytes

The head also tells which of those types were read from ``compression`` (``Allotment.is_inferred``).

Numbers are in the machine's byte order, which the head names, so that opening is no more than slicing: what
was packed in another order is not opened. The few cells whose digests are not SHA-256 are told in the head.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import compress, filterfalse, pairwise, repeat
from operator import itemgetter, lt
from typing import Any, Final

import orjson

from twodfs.errors import FormatError
from twodfs.field.allotment import (
    CELL_KEYS,
    INFERRED_ZSTD,
    MAX_COORDINATE,
    Allotment,
    is_layer_type,
    said_size,
    said_type,
)
from twodfs.field.rectangle import Rectangle, bands, joined
from twodfs.oci.digest import Digest
from twodfs.oci.documents import LARGEST_SIZE, OCI_LAYER_GZIP, Json

PACKED_FORMAT: Final = f"2-{sys.byteorder}"
"""Names what ``Cells.open`` opens on this machine."""
_ROW: Final = 32
_LOW: Final = 2**32 - 1
_HASH: Final = 32
_SHA256: Final = "sha256:"
_HOLE: Final = frozenset(("", None))
_MEMBERS: Final = itemgetter("row", "col", "digest", "diffid")
_ALL_MEMBERS: Final = itemgetter("row", "col", "digest", "diffid", "size", "mediaType")
_UNSAID: Final = dict.fromkeys(("row", "col", "digest", "diffid")) | {"size": 0, "mediaType": OCI_LAYER_GZIP}
_SIZE, _TYPE = 4, 5  # their places among these
_NO_HASH: Final = bytes(_HASH)
# Both are told in the head, which is opened at once.
_MOST_TYPES: Final = 4096
_MOST_OTHER: Final = 4096
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
        about: what the field says beside its cells, as it was packed with them.
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
            PackedError: it is not what ``Packer`` made on such a machine.
        """
        end = packed.find(b"\n")
        try:
            head = orjson.loads(packed[: max(end, 0)])
            if head["format"] != PACKED_FORMAT:
                raise PackedError("packed by another release, or on another kind of machine")
            count = int(head["count"])
            widths = (8, _HASH, _HASH, 8 * head["sized"], 2 * (len(head["types"]) > 1))
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
        return self._keys[-1] >> _ROW if len(self._keys) else -1

    def covered(self, rectangles: Iterable[Rectangle]) -> Iterator[range | None]:
        """Yield the places of the cells in ``rectangles`` in row-major order, each once, neighbours together.

        Beside them it yields None for every half a microsecond or so of looking around: in a tall field each
        row that has cells takes a search or two, and whoever has to bound them can. None of the rectangles
        may be inverted.
        """
        keys = self._keys
        at = 0
        for first, last, columns in bands(rectangles):
            if at >= len(keys) or first > MAX_COORDINATE:
                return
            yield None
            at = bisect_left(keys, first << _ROW, at)
            until = bisect_left(keys, min(last + 1, MAX_COORDINATE + 1) << _ROW, at)
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
            row, col = keys[at] & ~_LOW, keys[at] & _LOW
            stretch = bisect_right(starts, col) - 1
            if stretch >= 0 and col <= ends[stretch]:
                end = bisect_left(keys, row | min(ends[stretch] + 1, _LOW), at, until)
                yield range(at, end)
                at = end
            else:
                yield None
                following = stretch + 1
                if following == len(starts):
                    row, following = row + (1 << _ROW), 0
                at = bisect_left(keys, row | min(starts[following], _LOW), at, until)

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
        return Digest(_SHA256 + self._digests[at * _HASH : (at + 1) * _HASH].hex())

    def __getitem__(self, at: int) -> Allotment:
        key = self._keys[at]
        if (other := self._other.get(str(at))) is not None:
            digest, diff_id = Digest(other[0]), Digest(other[1])
        else:
            here = slice(at * _HASH, (at + 1) * _HASH)
            digest = Digest(_SHA256 + self._digests[here].hex())
            diff_id = Digest(_SHA256 + self._diff_ids[here].hex())
        size = None if self._sizes is None else self._sizes[at] or None
        kind = 0 if self._types is None else self._types[at]
        media_type, is_inferred = self._media_types[kind], kind in self._inferred
        return Allotment(key >> _ROW, key & _LOW, digest, diff_id, size, media_type, is_inferred)


class Packer:
    """Packs cells in any order."""

    def __init__(self) -> None:
        self._keys = array("Q")
        self._digests = bytearray()
        self._diff_ids = bytearray()
        self._sizes = array("Q")
        self._types = array("H")
        self._media_types: dict[str | tuple[str, bool], int] = {}
        self._other: dict[int, tuple[str, str]] = {}

    def add(self, one: Allotment) -> None:
        """Add an allotment."""
        hashes = _sha256(one.digest), _sha256(one.diff_id)
        if None in hashes:
            if len(self._other) >= _MOST_OTHER:
                raise FormatError(f"more than {_MOST_OTHER} allotments have digests other than SHA-256")
            self._other[len(self._keys)] = (one.digest, one.diff_id)
        self._keys.append(one.row << _ROW | one.col)
        self._digests += hashes[0] or _NO_HASH
        self._diff_ids += hashes[1] or _NO_HASH
        self._sizes.append(one.size or 0)
        self._types.append(self._type(INFERRED_ZSTD if one.is_inferred else one.media_type))

    def add_raw(self, cells: list[Any]) -> bool:
        """Add cells as JSON has them, holes left out; False, and nothing is added, when one is unusual.

        ``Allotment.from_dict`` says the same of a cell; this looks at many at once, a property at a time.
        """
        try:
            columns = _columns(cells)
            if not all(columns[2]):
                if not set(filterfalse(None, columns[2])) <= _HOLE:
                    return False
                columns = [list(compress(column, columns[2])) for column in columns]
            if not columns[2]:
                return True
            rows, cols, digests, diff_ids = columns[:4]
            sizes, types = columns[4:] or ([0] * len(rows), [OCI_LAYER_GZIP] * len(rows))
            kinds = set(types)
        except (AttributeError, TypeError, FormatError):
            return False
        numbers = _are_numbers(rows, MAX_COORDINATE) and _are_numbers(cols, MAX_COORDINATE)
        if not (numbers and _are_numbers(sizes, LARGEST_SIZE) and all(map(is_layer_type, kinds - {INFERRED_ZSTD}))):
            return False
        packed_digests, packed_diff_ids = _hashes(digests), _hashes(diff_ids)
        if packed_digests is None or packed_diff_ids is None:
            return False
        self._keys.extend([row << _ROW | col for row, col in zip(rows, cols, strict=True)])
        self._digests += packed_digests
        self._diff_ids += packed_diff_ids
        self._sizes.extend(sizes)
        if len(kinds) == 1:
            self._types.extend(array("H", [self._type(types[0])]) * len(types))
        else:
            numbered = {one: self._type(one) for one in dict.fromkeys(types)}
            self._types.extend([numbered[one] for one in types])
        return True

    def finish(self, about: Json) -> Cells:
        """Return the cells in row-major order, with ``about`` beside them; the packer is spent.

        Raises:
            FormatError: two of them stand on the same place.
        """
        steps = self.finish_in_steps(about)
        while True:
            try:
                next(steps)
            except StopIteration as done:
                cells: Cells = done.value
                return cells

    def finish_in_steps(self, about: Json) -> Generator[None, None, Cells]:
        """Finish like ``finish``, and yield in between: each step goes once over the cells, or a column."""
        yield from self._sort()
        keys = self._keys
        sized = any(self._sizes)
        last_col = max(map(_LOW.__and__, keys), default=-1)
        yield
        columns: list[bytes | bytearray] = [keys.tobytes(), self._digests, self._diff_ids]
        columns += [self._sizes.tobytes()] if sized else []
        columns += [self._types.tobytes()] if len(self._media_types) > 1 else []
        head = {
            "format": PACKED_FORMAT,
            "count": len(keys),
            "last_col": last_col,
            "bytes": str(sum(self._sizes)),
            "sized": sized,
            "types": [one if isinstance(one, str) else one[0] for one in self._media_types],
            "inferred": [at for one, at in self._media_types.items() if not isinstance(one, str)],
            "other": {str(at): pair for at, pair in self._other.items()},
            "about": about,
        }
        yield
        packed = b"".join((orjson.dumps(head), b"\n", *columns))
        yield
        return Cells.open(packed)

    def _type(self, media_type: str | tuple[str, bool]) -> int:
        found = self._media_types.setdefault(media_type, len(self._media_types))
        if found >= _MOST_TYPES:
            raise FormatError(f"the allotments of a field have more than {_MOST_TYPES} media types")
        return found

    def _sort(self) -> Iterator[None]:
        keys = self._keys
        if all(map(lt, keys, keys[1:])):
            return
        order = sorted(range(len(keys)), key=keys.__getitem__)
        yield
        self._keys = array("Q", [keys[at] for at in order])
        for one, following in pairwise(self._keys):
            if one == following:
                raise FormatError(f"two allotments stand on row {one >> _ROW}, column {one & _LOW}")
        yield
        self._digests = _ordered(self._digests, order)
        yield
        self._diff_ids = _ordered(self._diff_ids, order)
        yield
        self._sizes = array("Q", [self._sizes[at] for at in order])
        self._types = array("H", [self._types[at] for at in order])
        places = {at: place for place, at in enumerate(order)} if self._other else {}
        self._other = {places[at]: pair for at, pair in self._other.items()}
        yield


def _columns(cells: list[Any]) -> list[Sequence[Any]]:
    """Return the six properties of ``cells``, each in a column of its own; four where no cell has the others.

    Raises:
        AttributeError, TypeError, FormatError: a cell is no object, or has a key that engines take for
            another.
    """
    widths = set(map(len, cells))
    # Cells with as many keys as are found by name have no others: four in the original's fields, six in ours.
    with suppress(KeyError):
        if widths == {4}:
            return list(zip(*map(_MEMBERS, cells), strict=True))
        if widths == {6}:
            return list(zip(*map(_ALL_MEMBERS, cells), strict=True))
    shapes = set(map(tuple, cells))
    for shape in shapes:
        CELL_KEYS.check(shape)
    columns: list[Sequence[Any]] = [[one.get(key, unsaid) for one in cells] for key, unsaid in _UNSAID.items()]
    if any("compressedSize" in shape for shape in shapes):
        columns[_SIZE] = list(map(said_size, cells))
    if any("compression" in shape for shape in shapes):
        columns[_TYPE] = list(map(said_type, cells))
    return columns


def _are_numbers(values: Sequence[Any], most: int) -> bool:
    return set(map(type, values)) == {int} and min(values) >= 0 and max(values) <= most


def _hashes(values: Sequence[Any]) -> bytes | None:
    """Return bare SHA-256 hex as bytes; None when one of ``values`` is anything else."""
    try:
        joined = "".join(values)
        hashes = bytes.fromhex(joined)
    except (TypeError, ValueError):
        return None
    # ``fromhex`` takes capitals and blanks, which digests do not have.
    return hashes if hashes.hex() == joined and set(map(len, values)) == {2 * _HASH} else None


def _sha256(digest: Digest) -> bytes | None:
    algorithm, _, text = digest.partition(":")
    return bytes.fromhex(text) if algorithm == "sha256" else None


def _ordered(hashes: bytearray, order: list[int]) -> bytearray:
    return bytearray().join([hashes[at * _HASH : (at + 1) * _HASH] for at in order])
