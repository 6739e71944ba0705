"""Cells in any order, packed into the form that ``cells`` reads."""

from __future__ import annotations

from array import array
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from itertools import compress, filterfalse, pairwise
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
    media_type_in,
    size_in,
)
from twodfs.field.cells import COLUMN_MASK, HASH_BYTES, PACKED_FORMAT, ROW_SHIFT, Cells
from twodfs.field.steps import finished
from twodfs.oci.digest import Digest
from twodfs.oci.documents import LARGEST_SIZE, OCI_LAYER_GZIP, Json

_HOLE: Final = frozenset(("", None))
_MEMBERS: Final = itemgetter("row", "col", "digest", "diffid")
_ALL_MEMBERS: Final = itemgetter("row", "col", "digest", "diffid", "size", "mediaType")
_UNSAID: Final = dict.fromkeys(("row", "col", "digest", "diffid")) | {"size": 0, "mediaType": OCI_LAYER_GZIP}
_SIZE, _TYPE = 4, 5  # their places among these
_NO_HASH: Final = bytes(HASH_BYTES)
# Both are told in the head, which is opened at once.
_MOST_TYPES: Final = 4096
_MOST_OTHER: Final = 4096


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
        self._keys.append(one.row << ROW_SHIFT | one.col)
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
        self._keys.extend([row << ROW_SHIFT | col for row, col in zip(rows, cols, strict=True)])
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
        return finished(self.finish_in_steps(about))

    def finish_in_steps(self, about: Json) -> Generator[None, None, Cells]:
        """Finish like ``finish``, and yield in between: each step goes once over the cells, or a column."""
        yield from self._sort()
        keys = self._keys
        sized = any(self._sizes)
        last_col = max(map(COLUMN_MASK.__and__, keys), default=-1)
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
                raise FormatError(f"two allotments stand on row {one >> ROW_SHIFT}, column {one & COLUMN_MASK}")
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
        columns[_SIZE] = list(map(size_in, cells))
    if any("compression" in shape for shape in shapes):
        columns[_TYPE] = list(map(media_type_in, cells))
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
    return hashes if hashes.hex() == joined and set(map(len, values)) == {2 * HASH_BYTES} else None


def _sha256(digest: Digest) -> bytes | None:
    algorithm, _, text = digest.partition(":")
    return bytes.fromhex(text) if algorithm == "sha256" else None


def _ordered(hashes: bytearray, order: list[int]) -> bytearray:
    return bytearray().join([hashes[at * HASH_BYTES : (at + 1) * HASH_BYTES] for at in order])
