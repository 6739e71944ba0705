"""A field drawn as text: rows down, columns across, each cell its size, holes as a dot. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from twodfs.sizes import size_text

if TYPE_CHECKING:
    from twodfs.field.allotment import Allotment
    from twodfs.field.field import Field

HOLE: Final = "·"
MORE: Final = "…"

_MINIMUM_WIDTH = 5


def count_text(count: int, noun: str) -> str:
    """Return ``count`` with its noun, whose plural ends in an s."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def draw(field: Field, *, width: int, height: int) -> list[str]:
    """Return lines of at most ``width`` characters, at most ``height`` of them, that show ``field``.

    A field that does not fit is cut, and says so. A large field with few allotments shows
    the rows and columns that have any, each under its number.
    """
    cells = {(one.row, one.col): one for one in field}
    if not cells:
        return ["(no allotments)"]
    rows = _axis({row for row, _ in cells}, height)
    cols = _axis({col for _, col in cells}, width // _MINIMUM_WIDTH)
    shown_rows = rows[: max(1, height - 2)]
    row_labels = [str(row) for row in shown_rows]
    label_width = max(map(len, row_labels))
    columns = _columns(cells, shown_rows, cols, width - label_width - len(MORE) - 1)
    cut = len(columns) < len(cols)
    lines = [_line("", [column[0] for column in columns], label_width, cut=cut)]
    for at, label in enumerate(row_labels):
        lines.append(_line(label, [column[at + 1] for column in columns], label_width, cut=cut))
    if len(shown_rows) < len(rows):
        lines.append(f"{MORE} {len(rows) - len(shown_rows)} more rows")
    return lines


def _axis(occupied: set[int], room: int) -> list[int]:
    """Return the numbers along an axis: all where they fit, else the occupied ones."""
    last = max(occupied)
    return list(range(last + 1)) if last < max(room, 2 * len(occupied)) else sorted(occupied)


def _columns(
    cells: dict[tuple[int, int], Allotment], rows: Sequence[int], cols: Iterable[int], width: int
) -> list[list[str]]:
    """Return the columns that fit: the number, then a text for each row, all padded alike."""
    columns: list[list[str]] = []
    for col in cols:
        texts = [str(col), *(_text(cells.get((row, col))) for row in rows)]
        widest = max(map(len, texts))
        width -= widest + 2
        if width < 0 and columns:
            break
        columns.append([text.rjust(widest) for text in texts])
    return columns


def _text(one: Allotment | None) -> str:
    return HOLE if one is None else size_text(one.size)


def _line(label: str, texts: Sequence[str], label_width: int, *, cut: bool) -> str:
    return "  ".join([label.rjust(label_width), *texts]) + (f" {MORE}" if cut else "")
