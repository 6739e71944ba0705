"""Which rectangles hold none of a build file's cells, in time nearly linear in both. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

from twodfs.field.rectangle import Rectangle


def empty_rectangles(rectangles: Sequence[Rectangle], cells: Iterable[tuple[int, int]]) -> list[int]:
    """Return the places among ``rectangles`` of those in which no cell (row, column) lies.

    Cells are counted row by row in a Fenwick tree over their columns; a rectangle holds the cells that its columns have
    more after its last row than before its first.
    """
    if not rectangles:
        return []
    ordered = sorted(cells)
    columns = sorted({col for _, col in ordered})
    bounds = [(bisect_left(columns, one.y1), bisect_right(columns, one.y2)) for one in rectangles]
    edges = sorted(edge for at, one in enumerate(rectangles) for edge in ((one.x1 - 1, -1, at), (one.x2, 1, at)))
    tree = [0] * (len(columns) + 1)
    held = [0] * len(rectangles)
    counted = 0
    for row, sign, at in edges:
        while counted < len(ordered) and ordered[counted][0] <= row:
            _count(tree, bisect_left(columns, ordered[counted][1]) + 1)
            counted += 1
        first, behind = bounds[at]
        held[at] += sign * (_counted(tree, behind) - _counted(tree, first))
    return [at for at, number in enumerate(held) if not number]


def _count(tree: list[int], at: int) -> None:
    while at < len(tree):
        tree[at] += 1
        at += at & -at


def _counted(tree: list[int], until: int) -> int:
    found = 0
    while until:
        found += tree[until]
        until &= until - 1
    return found
