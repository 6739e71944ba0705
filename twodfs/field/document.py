"""A field's document: read in bounded memory, and written.

The form is in ``field``; the original builder's has neither sizes nor media types, and writes each hole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from twodfs.errors import FormatError, TooLargeError
from twodfs.field.allotment import Allotment
from twodfs.field.field import Field
from twodfs.field.labels import NO_LABELS, Labels
from twodfs.field.partition import Selection
from twodfs.field.slices import LongStepError
from twodfs.field.steps import finished
from twodfs.oci.documents import Json

MAX_ORIGINAL_CELLS: Final = 2_000_000
"""Cells, holes included, in a field that is written like the original's: 400 MB of JSON."""

_AT_ONCE: Final = 2**20
_FEW_VALUES: Final = 1_000_000
_BYTES_A_VALUE: Final = 24
"""A cell has some 34 bytes for each of its values; a value takes a hundred or so once it is parsed."""


def read_field(body: bytes) -> Field:
    """Return the field in ``body``, which is packed as it is read.

    Raises:
        FormatError: malformed; with the path.
        TooLargeError: it has to be parsed as a whole, and would take many times its size of memory.
    """
    try:
        return finished(Field.parse_in_steps(body, at_once=_AT_ONCE))
    except LongStepError:
        most = max(_FEW_VALUES, len(body) // _BYTES_A_VALUE)
        if sum(map(body.count, (b",", b"[", b"{"))) > most:
            raise TooLargeError(
                f"the field has more than {most} values and is not written in the usual order of keys, "
                f"so that it cannot be read piece by piece"
            ) from None
    return Field.parse(body)


def write_field(
    allotments: Iterable[Allotment],
    *,
    owner: str = "",
    partitions: Mapping[str, Selection] | None = None,
    labels: Labels = NO_LABELS,
) -> Json:
    """Return the field's JSON: one entry for each row that has allotments, holes left out."""
    rows: dict[int, list[Json]] = {}
    for allotment in sorted(allotments, key=lambda one: (one.row, one.col)):
        label = labels.cells.get((allotment.row, allotment.col))
        cell = allotment.to_dict() if label is None else {**allotment.to_dict(), "label": label}
        rows.setdefault(allotment.row, []).append(cell)
    named = {"partitions": {name: str(partitions[name]) for name in sorted(partitions)}} if partitions else {}
    numbered = labels.to_dict()
    return {
        "rows": [{"allotments": cells, "allotments_size": len(cells)} for cells in rows.values()],
        "rows_size": len(rows),
        "owner": owner,
        **named,
        **({"labels": numbered} if numbered else {}),
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
