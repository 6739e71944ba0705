"""Tables of a summary's rows, in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from benchmarks.evaluation.results.summary import Row
from benchmarks.markdown import table


def medians(
    rows: Iterable[Row],
    heading: str,
    *,
    label: Callable[[Row], str] = lambda row: f"{row.at:,g}",
    column: Callable[[Row], str] = lambda row: row.contender,
    scale: float = 1,
    digits: int = 2,
) -> str:
    """Return a table with a line for each label and a column for each contender, in order of appearance.

    Args:
        rows: one for each cell; cells without one stay empty.
        heading: of the labels.
        label: what stands at the beginning of a row's line.
        column: what stands above its column.
        scale: what medians, least and most are multiplied with.
        digits: after the point.
    """
    cells = {(label(row), column(row)): row.scaled(scale).written(digits) for row in rows}
    columns = tuple(dict.fromkeys(one for _, one in cells))
    labels = dict.fromkeys(one for one, _ in cells)
    return table((heading, *columns), [(one, *(cells.get((one, name), "") for name in columns)) for one in labels])
