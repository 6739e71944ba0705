"""Rectangles and unions of them: their members and their cells, in bounded numbers of steps."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from twodfs.errors import PartitionError

_corners = attrgetter("x1", "y1", "x2", "y2")


@dataclass(frozen=True, slots=True, order=True)
class Rectangle:
    """Rows ``x1..x2`` and columns ``y1..y2``, both ends inclusive."""

    x1: int
    y1: int
    x2: int
    y2: int

    @classmethod
    def parse(cls, text: str) -> Rectangle:
        """Return the rectangle that ``text`` (``x1.y1.x2.y2``) writes; it may be inverted."""
        return cls(*(int(number) for number in text.split(".")))

    def check(self) -> None:
        """Raise ``PartitionError`` when an end lies before its start."""
        for axis, first, last in (("rows", self.x1, self.x2), ("columns", self.y1, self.y2)):
            if first > last:
                raise PartitionError(
                    f"partition {self} is inverted: {axis} {first}..{last} end before they begin; "
                    f"write it as first-row.first-column.last-row.last-column"
                )

    @property
    def is_inverted(self) -> bool:
        """Whether an end lies before its start, so that no cell is in it."""
        return self.x1 > self.x2 or self.y1 > self.y2

    def holds(self, row: int, col: int) -> bool:
        """Say whether a cell lies in it."""
        return self.x1 <= row <= self.x2 and self.y1 <= col <= self.y2

    def __str__(self) -> str:
        return f"{self.x1}.{self.y1}.{self.x2}.{self.y2}"


def outermost(rectangles: Iterable[Rectangle]) -> list[Rectangle]:
    """Return those of ``rectangles`` that lie within no other, each once, sorted.

    An inverted one lies within none and holds none. Takes some n log² n steps for n rectangles.
    """
    unique = list(set(rectangles))
    if len(unique) > 1:
        kept = [one for one in unique if one.is_inverted]
        others = [one for one in unique if not one.is_inverted]
        # A rectangle that holds another comes before it, and is kept or held by a kept one.
        others.sort(key=lambda one: (one.x1, -one.x2, one.y1, -one.y2))
        so_far = _OutermostSoFar(others)
        unique = [*kept, *filter(so_far.takes, others)]
    return sorted(unique, key=_corners)


class _OutermostSoFar:
    """Rectangles that come by their first rows, and whether one of those before holds the next.

    A Fenwick tree over last rows, the largest first. Each node has the columns of its rectangles as stairs:
    first and last columns both rise, as a rectangle that begins later and ends no later adds nothing.
    """

    def __init__(self, to_come: Iterable[Rectangle]) -> None:
        self._last_rows = sorted({-one.x2 for one in to_come})
        self._firsts: list[list[int]] = [[] for _ in range(len(self._last_rows) + 1)]
        self._lasts: list[list[int]] = [[] for _ in range(len(self._last_rows) + 1)]

    def takes(self, one: Rectangle) -> bool:
        """Keep ``one`` and return True, unless a rectangle that was kept holds it."""
        rank = bisect_left(self._last_rows, -one.x2) + 1
        at = rank
        while at:
            if self._is_held(at, one):
                return False
            at &= at - 1
        at = rank
        while at < len(self._firsts):
            self._keep(at, one)
            at += at & -at
        return True

    def _is_held(self, node: int, one: Rectangle) -> bool:
        before = bisect_right(self._firsts[node], one.y1)
        return before > 0 and self._lasts[node][before - 1] >= one.y2

    def _keep(self, node: int, one: Rectangle) -> None:
        if not self._is_held(node, one):
            firsts, lasts = self._firsts[node], self._lasts[node]
            replaced = slice(bisect_left(firsts, one.y1), bisect_right(lasts, one.y2))
            firsts[replaced], lasts[replaced] = [one.y1], [one.y2]


Columns = tuple[int, int]


def bands(rectangles: Iterable[Rectangle]) -> Iterator[tuple[int, int, Sequence[Columns]]]:
    """Yield first and last row of each band of rows, and the columns of the rectangles that reach through it.

    Bands come from the top, and there are fewer than two for each rectangle, of which none may be inverted.
    The columns are sorted, and good until the next band is asked for.
    """
    beginning = sorted(rectangles, key=_corners)
    ending = sorted(beginning, key=attrgetter("x2"))
    active: list[Columns] = []
    begun = ended = row = 0
    while ended < len(ending):
        if not active:
            row = beginning[begun].x1
        while begun < len(beginning) and beginning[begun].x1 <= row:
            insort(active, (beginning[begun].y1, beginning[begun].y2))
            begun += 1
        last = ending[ended].x2
        if begun < len(beginning):
            last = min(last, beginning[begun].x1 - 1)
        yield row, last, active
        while ended < len(ending) and ending[ended].x2 <= last:
            del active[bisect_left(active, (ending[ended].y1, ending[ended].y2))]
            ended += 1
        row = last + 1


def joined(columns: Iterable[Columns]) -> tuple[list[int], list[int]]:
    """Return the first and the last columns of the stretches that sorted ``columns`` cover together."""
    starts: list[int] = []
    ends: list[int] = []
    for first, last in columns:
        if ends and first <= ends[-1] + 1:
            ends[-1] = max(ends[-1], last)
        else:
            starts.append(first)
            ends.append(last)
    return starts, ends
