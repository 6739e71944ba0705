"""A field drawn as text: rows down, columns across, each cell its size, holes as a dot. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from twodfs.sizes import size_text

if TYPE_CHECKING:
    from twodfs.field.allotment import Allotment
    from twodfs.field.field import Field
    from twodfs.field.labels import Labels

HOLE: Final = "·"
MORE: Final = "…"

_MINIMUM_WIDTH = 5
_ROW_LABEL = 16
_COLUMN_LABEL = 12


def count_text(count: int, noun: str) -> str:
    """Return ``count`` with its noun, whose plural ends in an s."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def shortened(text: str, most: int) -> str:
    """Return ``text``, cut to ``most`` characters, the last of which says so."""
    return text if len(text) <= most else text[: most - len(MORE)] + MORE


def draw(field: Field, *, width: int, height: int, labels: Labels | None = None) -> list[str]:
    """Return lines of at most ``width`` characters, at most ``height`` of them, that show ``field``.

    Labels of rows and columns stand beside their numbers, shortened.

    A field that does not fit is cut, and says so. A large field with few allotments shows
    the rows and columns that have any, each under its number.
    """
    cells = {(one.row, one.col): one for one in field}
    if not cells:
        return ["(no allotments)"]
    lines: list[str] = []
    rows = _axis({row for row, _ in cells}, height)
    cols = _axis({col for _, col in cells}, width // _MINIMUM_WIDTH)
    row_names, column_names = (labels.rows, labels.columns) if labels else ({}, {})
    has_names = any(col in column_names for col in cols)
    shown_rows = rows[: max(1, height - 2 - has_names)]
    numbers = max(len(str(row)) for row in shown_rows)
    row_labels = [str(row).rjust(numbers) + _name(row_names.get(row)) for row in shown_rows]
    label_width = max(map(len, row_labels))
    heads = {col: [str(col)] for col in cols}
    if has_names:
        heads = {col: [*head, shortened(column_names.get(col, ""), _COLUMN_LABEL)] for col, head in heads.items()}
    columns = _columns(cells, shown_rows, heads, width - label_width - len(MORE) - 1)
    cut = len(columns) < len(cols)
    for at, label in enumerate([""] * (1 + has_names) + row_labels):
        lines.append(_line(label, [column[at] for column in columns], label_width, cut=cut))
    if len(shown_rows) < len(rows):
        lines.append(f"{MORE} {len(rows) - len(shown_rows)} more rows")
    return lines


def _axis(occupied: set[int], room: int) -> list[int]:
    """Return the numbers along an axis: all where they fit, else the occupied ones."""
    last = max(occupied)
    return list(range(last + 1)) if last < max(room, 2 * len(occupied)) else sorted(occupied)


def _name(label: str | None) -> str:
    return f" {shortened(label, _ROW_LABEL)}" if label else ""


def _columns(
    cells: dict[tuple[int, int], Allotment], rows: Sequence[int], heads: Mapping[int, list[str]], width: int
) -> list[list[str]]:
    """Return the columns that fit: their heads, then a text for each row, all padded alike."""
    columns: list[list[str]] = []
    for col, head in heads.items():
        texts = [*head, *(_text(cells.get((row, col))) for row in rows)]
        widest = max(map(len, texts))
        width -= widest + 2
        if width < 0 and columns:
            break
        columns.append([text.rjust(widest) for text in texts])
    return columns


def _text(one: Allotment | None) -> str:
    return HOLE if one is None else size_text(one.size)


def _line(label: str, texts: Sequence[str], label_width: int, *, cut: bool) -> str:
    return "  ".join([label.ljust(label_width), *texts]) + (f" {MORE}" if cut else "")
