"""The field: a sparse matrix whose cells, the allotments, each point to one layer blob.

Its JSON ("Beyond Layers", section 4; checked against an image of the original builder)::

    {"rows": [{"allotments": [{"row": 0, "col": 0, "digest": "<hex>", "diffid": "<hex>",
                               "size": 1, "mediaType": "..."}], "allotments_size": 1}],
     "rows_size": 1, "owner": "",
     "partitions": {"edge": "0.0.1.1", "gpu": "0.0.3.0--2.1.2.4"}}

``size`` (bytes), ``mediaType`` and ``partitions`` (selections by name) are ours and optional. A cell stands
where its own ``row`` and ``col`` say, wherever in the arrays it is written; a hole is absent, or a cell with
an empty digest.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from twodfs.digest import Digest, from_bare_hex
from twodfs.errors import (
    DigestError,
    FormatError,
    NothingSelectedError,
    PartitionError,
    TooManyLayersError,
    within,
)
from twodfs.oci import OCI_LAYER_GZIP, Json, check_size, expect, parse_object
from twodfs.partition import ALL, RESERVED, Rectangle, Selection, is_name

MAX_COORDINATE = 2**31 - 1
MAX_NAMED_RECTANGLES = 256
"""Rectangles behind one name: an image has room for fewer layers."""
MAX_RECTANGLES = 16_384
"""Rectangles behind all names of a field together."""
MAX_ORIGINAL_CELLS = 2_000_000
"""Cells, holes included, in a field that is written like the original's: 400 MB of JSON."""


@dataclass(frozen=True, slots=True)
class Allotment:
    """One cell. ``size`` is the blob's bytes, None where the builder did not record it."""

    row: int
    col: int
    digest: Digest
    diff_id: Digest
    size: int | None = None
    media_type: str = OCI_LAYER_GZIP

    @classmethod
    def from_dict(cls, raw: object) -> Allotment | None:
        """Return the allotment in ``raw``, None for a hole.

        Raises:
            FormatError: malformed; with the path inside the cell.
        """
        cell = expect(raw, dict, "")
        if cell.get("digest") in ("", None):
            return None
        # No layer is empty; 0 is how Go writes a number that nobody set.
        size = cell.get("size")
        if size is not None:
            size = check_size(expect(size, int, "size"), "size") or None
        return cls(
            row=_coordinate(cell, "row"),
            col=_coordinate(cell, "col"),
            digest=_bare_digest(cell, "digest"),
            diff_id=_bare_digest(cell, "diffid"),
            size=size,
            media_type=expect(cell.get("mediaType", OCI_LAYER_GZIP), str, "mediaType"),
        )

    def to_dict(self) -> Json:
        """Return the cell's JSON, keys in the original's order."""
        written: Json = {
            "row": self.row,
            "col": self.col,
            "digest": self.digest.removeprefix("sha256:"),
            "diffid": self.diff_id.removeprefix("sha256:"),
        }
        if self.size is not None:
            written |= {"size": self.size, "mediaType": self.media_type}
        return written


@dataclass(frozen=True, slots=True)
class _Row:
    cols: list[int]
    allotments: list[Allotment]

    def between(self, first: int, last: int) -> list[Allotment]:
        return self.allotments[bisect_left(self.cols, first) : bisect_right(self.cols, last)]


@dataclass(frozen=True, slots=True)
class Extent:
    """The smallest rectangle from the origin that holds every allotment."""

    last_row: int
    last_col: int

    def __str__(self) -> str:
        return f"rows 0..{self.last_row}, columns 0..{self.last_col}"


class Field:
    """An immutable field, indexed by row, so that a selection costs what it selects."""

    __slots__ = ("_by_row", "_rows", "count", "extent", "partitions", "total_bytes")

    def __init__(
        self, allotments: Iterable[Allotment], partitions: Mapping[str, Selection] | None = None
    ) -> None:
        """Index ``allotments``, in any order, and keep what ``partitions`` call parts of them.

        Raises:
            FormatError: two of them stand on the same cell.
        """
        ordered = sorted(allotments, key=lambda one: (one.row, one.col))
        by_row: dict[int, _Row] = {}
        for allotment in ordered:
            row = by_row.get(allotment.row)
            if row is None:
                row = by_row[allotment.row] = _Row([], [])
            elif row.cols[-1] == allotment.col:
                raise FormatError(f"two allotments stand on row {allotment.row}, column {allotment.col}")
            row.cols.append(allotment.col)
            row.allotments.append(allotment)
        self._by_row = by_row
        self._rows = list(by_row)
        self.partitions = dict(partitions or {})
        self.count = len(ordered)
        self.total_bytes = sum(allotment.size or 0 for allotment in ordered)
        self.extent = (
            Extent(self._rows[-1], max(row.cols[-1] for row in by_row.values())) if ordered else None
        )

    @classmethod
    def parse(cls, body: bytes) -> Field:
        """Return the field in ``body``.

        Raises:
            FormatError: malformed; with a path like ``rows[3].allotments[0].digest``.
        """
        raw = parse_object(body)
        return cls(_cells(raw), parse_partitions(raw.get("partitions")))

    def __iter__(self) -> Iterator[Allotment]:
        """Yield every allotment in row-major order."""
        for row in self._by_row.values():
            yield from row.allotments

    def resolve(self, selection: Selection) -> Selection | None:
        """Return ``selection`` with rectangles for its names; None when the field does not define one."""
        rectangles = list(selection.rectangles)
        for name in selection.names:
            if name == ALL:
                rectangles.append(self._whole())
            elif name in self.partitions:
                rectangles += self.partitions[name].rectangles
            else:
                return None
        return Selection.of(*rectangles)

    def select(
        self, selection: Selection, *, limit: int | None = None, image: str = "this image"
    ) -> list[Allotment]:
        """Return the selected allotments in row-major order, each once; none of them for ``base``.

        Args:
            selection: any union of rectangles, as ``resolve`` returns it; parts may reach beyond the field.
            limit: the most allotments the caller can use.
            image: what errors call the image the field belongs to.

        Raises:
            PartitionError: a rectangle is inverted.
            NothingSelectedError: nothing is selected, or a rectangle lies outside the field altogether.
            TooManyLayersError: more than ``limit`` are selected.
        """
        chosen: dict[tuple[int, int], Allotment] = {}
        for rectangle in selection.rectangles:
            rectangle.check()
            if self._is_outside(rectangle):
                raise self._selects_nothing(rectangle, image)
            for allotment in self._within(rectangle):
                chosen[allotment.row, allotment.col] = allotment
                if limit is not None and len(chosen) > limit:
                    raise TooManyLayersError(f"partition {selection} selects more than {limit} allotments")
        if selection.rectangles and not chosen:
            raise self._selects_nothing(selection, image)
        return [chosen[cell] for cell in sorted(chosen)]

    def _selects_nothing(self, selected: Selection | Rectangle, image: str) -> NothingSelectedError:
        size = f"has {self.extent}" if self.extent else "is empty"
        return NothingSelectedError(f"partition {selected} selects no allotment: the field of {image} {size}")

    def _whole(self) -> Rectangle:
        extent = self.extent or Extent(MAX_COORDINATE, MAX_COORDINATE)
        return Rectangle(0, 0, extent.last_row, extent.last_col)

    def _is_outside(self, rectangle: Rectangle) -> bool:
        extent = self.extent
        return extent is None or rectangle.x1 > extent.last_row or rectangle.y1 > extent.last_col

    def _within(self, rectangle: Rectangle) -> Iterator[Allotment]:
        rows = self._rows
        for at in range(bisect_left(rows, rectangle.x1), bisect_right(rows, rectangle.x2)):
            yield from self._by_row[rows[at]].between(rectangle.y1, rectangle.y2)


def parse_partitions(raw: object) -> dict[str, Selection]:
    """Return the named partitions in ``raw``: a field's, or those of a build file; None for none at all.

    Raises:
        FormatError: a name breaks the grammar or is reserved, or names no rectangles; with the path.
    """
    named = {} if raw is None else expect(raw, dict, "partitions")
    with within("partitions"):
        if sum(text.count("--") + 1 for text in named.values() if isinstance(text, str)) > MAX_RECTANGLES:
            raise FormatError(f"the names stand for more than {MAX_RECTANGLES} rectangles")
        return {_free_name(name): _rectangles(text, name) for name, text in named.items()}


def _free_name(name: str) -> str:
    if name in RESERVED:
        raise FormatError(f"{name!r} is reserved: 'all' is every allotment, 'base' is none", name)
    if not is_name(name):
        raise FormatError(
            f"{name[:140]!r} is no name; expected a-z, then any of a-z 0-9 _ and single - between them"
        )
    return name


def _rectangles(text: object, name: str) -> Selection:
    written = expect(text, str, name)
    if written.count("--") >= MAX_NAMED_RECTANGLES:
        raise FormatError(f"more than {MAX_NAMED_RECTANGLES} rectangles", name)
    try:
        selection = Selection.parse(written)
        for rectangle in selection.rectangles:
            rectangle.check()
    except PartitionError as error:
        raise FormatError(str(error), name) from None
    if selection.names or not selection.rectangles:
        raise FormatError(f"{text!r} is a name; expected rectangles x1.y1.x2.y2, chained with --", name)
    return selection


def write_field(
    allotments: Iterable[Allotment], *, owner: str = "", partitions: Mapping[str, Selection] | None = None
) -> Json:
    """Return the field's JSON: one entry for each row that has allotments, holes left out."""
    rows: dict[int, list[Json]] = {}
    for allotment in sorted(allotments, key=lambda one: (one.row, one.col)):
        rows.setdefault(allotment.row, []).append(allotment.to_dict())
    named = {"partitions": {name: str(partitions[name]) for name in sorted(partitions)}} if partitions else {}
    return {
        "rows": [{"allotments": cells, "allotments_size": len(cells)} for cells in rows.values()],
        "rows_size": len(rows),
        "owner": owner,
        **named,
    }


def write_original_field(allotments: Iterable[Allotment]) -> Json:
    """Return the field's JSON as the original builder writes it for a build file in row-major order.

    It has no sizes and no media types, every row up to the last, and in each every column up to its last
    allotment: a hole has no digest, and says the column of the allotment that follows it.

    Raises:
        FormatError: there are too many holes to write each of them.
    """
    widths: dict[int, int] = {}
    ordered = sorted(allotments, key=lambda one: (one.row, one.col))
    for one in ordered:
        widths[one.row] = one.col + 1
    if max(widths, default=0) + sum(widths.values()) > MAX_ORIGINAL_CELLS:
        raise FormatError(f"the original format writes each hole, and these are over {MAX_ORIGINAL_CELLS}")
    rows: list[list[Json]] = [[] for _ in range(max(widths, default=-1) + 1)]
    for one in ordered:
        cells = rows[one.row]
        hole = {"row": one.row, "col": one.col, "digest": "", "diffid": ""}
        cells += [hole] * (one.col - len(cells))
        cells.append(hole | {"digest": one.digest.partition(":")[2], "diffid": one.diff_id.partition(":")[2]})
    return {
        "rows": [{"allotments": cells, "allotments_size": len(cells)} for cells in rows],
        "rows_size": len(rows),
        "owner": "",
    }


def _cells(raw: Json) -> Iterator[Allotment]:
    for row_at, row in enumerate(_array(raw, "rows", "rows")):
        members = expect(row, dict, f"rows[{row_at}]")
        for cell_at, cell in enumerate(_array(members, "allotments", f"rows[{row_at}].allotments")):
            # No context manager here: this loop runs once for each of up to a million cells.
            try:
                allotment = Allotment.from_dict(cell)
            except FormatError as error:
                raise error.inside(f"rows[{row_at}].allotments[{cell_at}]") from None
            if allotment is not None:
                yield allotment


def _array(members: Json, key: str, path: str) -> list[Any]:
    value = members.get(key)
    return [] if value is None else expect(value, list, path)


def _coordinate(cell: Json, key: str) -> int:
    value = expect(cell.get(key), int, key)
    if not 0 <= value <= MAX_COORDINATE:
        raise FormatError(f"{value} is outside 0..{MAX_COORDINATE}", key)
    return value


def _bare_digest(cell: Json, key: str) -> Digest:
    try:
        return from_bare_hex(expect(cell.get(key), str, key))
    except DigestError as error:
        raise FormatError(str(error), key) from None
