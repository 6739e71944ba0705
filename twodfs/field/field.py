"""The field: a sparse matrix whose cells, the allotments, each point to one layer blob.

Its JSON ("Beyond Layers", section 4; checked against an image of the original builder)::

    {"rows": [{"allotments": [{"row": 0, "col": 0, "digest": "<hex>", "diffid": "<hex>",
                               "size": 1, "mediaType": "..."}], "allotments_size": 1}],
     "rows_size": 1, "owner": "",
     "partitions": {"edge": "0.0.1.1", "gpu": "0.0.3.0--2.1.2.4"}}

``size`` (bytes), ``mediaType``, ``partitions`` (selections by name) and the labels (see ``labels``) are ours and
optional. A cell stands where its own ``row`` and ``col`` say, at any place in the arrays; a hole is absent, or a
cell with an empty digest.

Of a fork's keys, ``compressedSize`` is the size and ``compression`` ("zstd", "stargz") tells the media type
where ours are absent; ``tocDigest``, like all that is not known, is left alone.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TypeAlias

from twodfs.errors import NothingSelectedError, PartitionError, within
from twodfs.field.allotment import MAX_COORDINATE, Allotment
from twodfs.field.cells import Cells, PackedError
from twodfs.field.names import named_in_steps
from twodfs.field.packer import Packer
from twodfs.field.partition import ALL, Selection
from twodfs.field.rectangle import Rectangle
from twodfs.field.selected import SelectedCells
from twodfs.field.slices import FieldBytes, LongStepError, OtherOrderError, Slice, Slices, in_whole
from twodfs.field.steps import finished
from twodfs.oci.documents import parse_object
from twodfs.oci.spelling import Keys

MAX_SELECTED_RECTANGLES = 1024
"""Rectangles that a selection stands for once its names are resolved: four names of the most."""

MOST_SEARCHES = 100_000
"""Searches for one selection, some 50 ms: only a field of as many rows, most of them empty, takes more."""
_SEARCHES_A_STEP = 2000
"""About a millisecond."""
_SIZES_A_SEARCH = 16
"""Sizes that are added up in the time of one search."""

_KEYS = Keys("rows", "rows_size", "owner", "partitions")

Reading: TypeAlias = "Generator[None, None, Field]"
Resolving: TypeAlias = "Generator[None, None, Selection | None]"
Selecting: TypeAlias = "Generator[None, None, list[Allotment]]"


@dataclass(frozen=True, slots=True)
class Extent:
    """The smallest rectangle from the origin that holds every allotment."""

    last_row: int
    last_col: int

    def __str__(self) -> str:
        return f"rows 0..{self.last_row}, columns 0..{self.last_col}"


@dataclass(frozen=True, slots=True)
class Measure:
    """How many allotments a selection has, their bytes (None: not all recorded), and the searches it took."""

    allotments: int
    size: int | None
    searches: int


class Field:
    """An immutable field: its cells packed, so that the cost of a selection is linear in its cells."""

    __slots__ = ("_cells", "count", "extent", "total_bytes")

    def __init__(self, cells: Cells) -> None:
        """``cells.about``: its named partitions, as text by name."""
        self._cells = cells
        self.count = len(cells)
        self.total_bytes = cells.total_bytes
        self.extent = Extent(cells.last_row, cells.last_col) if self.count else None

    @classmethod
    def of(cls, allotments: Iterable[Allotment]) -> Field:
        """Return the field of ``allotments``, which may come in any order.

        Raises:
            FormatError: two of them stand on the same cell.
        """
        packer = Packer()
        for one in allotments:
            packer.add(one)
        return cls(packer.finish({}))

    @classmethod
    def parse(cls, body: FieldBytes) -> Field:
        """Return the field in ``body``.

        Raises:
            FormatError: malformed; with a path like ``rows[3].allotments[0].digest``.
        """
        return finished(cls.parse_in_steps(body))

    @classmethod
    def parse_in_steps(cls, body: FieldBytes, *, at_once: int | None = None) -> Reading:
        """Parse like ``parse``, and yield every half a millisecond or so: others may have something to do.

        A document whose keys stand in an unusual order is parsed in one long step.

        Raises:
            LongStepError: such a step would have more than ``at_once`` bytes.
        """
        packer = Packer()
        slices = Slices(body, at_once)
        try:
            for part in slices:
                _pack(part, packer)
                yield
            about = slices.rest
        except OtherOrderError:
            if at_once is not None and len(body) > at_once:
                raise LongStepError from None
            packer = Packer()
            about = parse_object(memoryview(body))
            for part in in_whole(about):
                _pack(part, packer)
                yield
        _KEYS.check(about)
        names: dict[str, str] = {}
        for name, selection in named_in_steps(about.get("partitions")):
            names[name] = str(selection)
            yield
        return cls((yield from packer.finish_in_steps(names)))

    @property
    def packed(self) -> bytes:
        """The field as bytes that ``unpack`` opens in constant time."""
        return self._cells.packed

    @classmethod
    def unpack(cls, packed: bytes) -> Field:
        """Return the field whose ``packed`` these bytes are; for caches, they are no format to exchange.

        Raises:
            PackedError: they come from another kind of machine or release, or are something else.
        """
        cells = Cells.open(packed)
        about = cells.about
        if not isinstance(about, dict) or not all(isinstance(text, str) for text in about.values()):
            raise PackedError("no packed field")
        return cls(cells)

    @property
    def partitions(self) -> dict[str, Selection]:
        """The named partitions; read anew each time."""
        return {name: Selection.parse(text) for name, text in self._cells.about.items()}

    @property
    def names(self) -> AbstractSet[str]:
        """The names of the named partitions, not parsed."""
        return self._cells.about.keys()

    def __eq__(self, other: object) -> bool:
        return self.packed == other.packed if isinstance(other, Field) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.packed)

    def __iter__(self) -> Iterator[Allotment]:
        """Yield every allotment in row-major order."""
        return iter(self._cells)

    def resolve(self, selection: Selection) -> Selection | None:
        """Return the result of ``resolve_in_steps``."""
        return finished(self.resolve_in_steps(selection))

    def resolve_in_steps(self, selection: Selection) -> Resolving:
        """Return ``selection`` with rectangles for its names; None when the field does not define one.

        It yields every few milliseconds: others may have something to do.

        Raises:
            PartitionError: its names stand for more than ``MAX_SELECTED_RECTANGLES`` rectangles together.
        """
        named = self._cells.about
        if not all(name == ALL or name in named for name in selection.names):
            return None
        if not selection.names:
            return selection
        texts = [named[name] for name in selection.names if name != ALL]
        count = len(selection.rectangles) + sum(text.count("--") + 1 for text in texts)
        if count > MAX_SELECTED_RECTANGLES:
            raise PartitionError(
                f"partition {selection} stands for {count} rectangles, and at most {MAX_SELECTED_RECTANGLES} "
                f"are joined; chain fewer names, or give the whole a name of its own in the field"
            )
        rectangles = [*selection.rectangles, *([self._whole()] if ALL in selection.names else [])]
        for text in texts:
            rectangles += Selection.parse(text).rectangles
            yield
        return Selection.of(*rectangles)

    def select(
        self,
        selection: Selection,
        *,
        limit: int | None = None,
        image: str = "this image",
        merged: bool = False,
    ) -> list[Allotment]:
        """Return the selected allotments in row-major order, each once; none of them for ``base``.

        Args:
            selection: any union of rectangles, as ``resolve`` returns it; parts may reach beyond the field.
            limit: the most allotments the caller can use; with it, the time that a selection may take is
                bounded as well.
            image: the name in errors of the image that the field belongs to.
            merged: whether cells with the same blob are one allotment, the last of them: what a later layer
                has wins, so without those below it the files stay the same.

        Raises:
            PartitionError: a rectangle is inverted, there are more than ``MOST_SEARCHES`` rows to search, or
                more than ``chosen.MOST_MERGED`` cells to merge.
            NothingSelectedError: nothing is selected, or a rectangle lies outside the field altogether.
            TooManyLayersError: more than ``limit`` are selected.
        """
        return finished(self.select_in_steps(selection, limit=limit, image=image, merged=merged))

    def select_in_steps(
        self,
        selection: Selection,
        *,
        limit: int | None = None,
        image: str = "this image",
        merged: bool = False,
    ) -> Selecting:
        """Select like ``select``, and yield every millisecond or so: others may have something to do."""
        for rectangle in selection.rectangles:
            rectangle.check()
            if self._is_outside(rectangle):
                raise self._selects_nothing(rectangle, image)
        chosen = SelectedCells(self._cells, selection, limit, merged=merged)
        searches = 0
        for places in self._cells.covered(selection.rectangles):
            if places is not None:
                yield from chosen.take(places)
                continue
            searches += 1
            if limit is not None and searches > MOST_SEARCHES:
                raise PartitionError(
                    f"partition {selection.shown} spans too many rows of the field of {image} in which it "
                    f"selects nothing; select the cells in several rectangles"
                )
            if not searches % _SEARCHES_A_STEP:
                yield
        if selection.rectangles and not chosen.places:
            raise self._selects_nothing(selection, image)
        return [self._cells[place] for place in chosen.places]

    def measure(self, selection: Selection, most_searches: int) -> Measure | None:
        """Return how much ``selection`` selects without a look at each allotment.

        It must have come from ``resolve``, and may lie outside the field. None when it takes more than
        ``most_searches`` to tell; the searches made are in the answer.
        """
        count = size = 0
        is_sized = True
        searches = 0
        for places in self._cells.covered(one for one in selection.rectangles if not one.is_inverted):
            searches += 1
            if searches > most_searches:
                return None
            if places is not None:
                sizes = self._cells.sizes_of(places)
                searches += len(sizes) // _SIZES_A_SEARCH
                count += len(places)
                size += sum(sizes)
                is_sized = is_sized and all(sizes)
        return Measure(count, size if is_sized else None, searches)

    def media_types(self) -> dict[str, int]:
        """Return how many allotments there are of each media type."""
        return self._cells.media_types()

    def _selects_nothing(self, selected: Selection | Rectangle, image: str) -> NothingSelectedError:
        size = f"has {self.extent}" if self.extent else "is empty"
        shown = selected.shown if isinstance(selected, Selection) else selected
        return NothingSelectedError(f"partition {shown} selects no allotment: the field of {image} {size}")

    def _whole(self) -> Rectangle:
        extent = self.extent or Extent(MAX_COORDINATE, MAX_COORDINATE)
        return Rectangle(0, 0, extent.last_row, extent.last_col)

    def _is_outside(self, rectangle: Rectangle) -> bool:
        extent = self.extent
        return extent is None or rectangle.x1 > extent.last_row or rectangle.y1 > extent.last_col


def _pack(part: Slice, packer: Packer) -> None:
    if packer.add_raw(part.cells):
        return
    for at, raw in enumerate(part.cells):
        with within(part.path(at)):
            one = Allotment.from_dict(raw)
        if one is not None:
            packer.add(one)
