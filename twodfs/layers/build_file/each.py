"""``"each": "column"``: a cell for each match of a pattern, in natural order: ``part-2`` before ``part-10``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from typing import Final

from twodfs.errors import FormatError
from twodfs.field.allotment import MAX_COORDINATE
from twodfs.layers.build_file.cells import Cell, Copy
from twodfs.layers.ignoring import ignoring
from twodfs.layers.patterns import find_matches
from twodfs.oci.documents import Json, expect

_DIGITS: Final = re.compile("([0-9]+)")


class Each(StrEnum):
    """What counts up from cell to cell."""

    ROW = "row"
    COLUMN = "column"


def parse_each(raw: Json) -> Each | None:
    """Return what counts up; None where the allotment is one cell.

    Raises:
        FormatError: it is neither row nor column.
    """
    value = raw.get("each")
    if value is None:
        return None
    if expect(value, str, "each") not in list(Each):
        raise FormatError(f"{value[:140]!r} is neither 'row' nor 'column'", "each")
    return Each(value)


def cells_for_each(cell: Cell, each: Each) -> Iterator[Cell]:
    """Yield a cell for each match of the pattern of ``cell``; each match is a source of its own.

    Raises:
        BuildError: a directory cannot be read.
        FormatError: there is no pattern, it matches nothing, or the field has no place for all matches.
    """
    if len(cell.copies) > 1:
        raise FormatError("'each' takes one src, a pattern; write an allotment for each of several", "src")
    (copy,) = cell.copies
    if not copy.pattern:
        raise FormatError("'each' takes a pattern, as 'DIRECTORY/*'", "src")
    names = _matches(copy)
    if not names:
        raise FormatError(f"no file matches {str(copy.source / copy.pattern)!r}", "src")
    key, begin = ("row", cell.row) if each is Each.ROW else ("col", cell.col)
    if begin + len(names) - 1 > MAX_COORDINATE:
        raise FormatError(f"{len(names)} files from {begin} on are beyond {MAX_COORDINATE}", key)
    for at, name in enumerate(names):
        target = f"{copy.target}/{name}" if copy.target else name
        copies = (replace(copy, pattern=name, target=target, into=False),)
        if each is Each.ROW:
            yield replace(cell, row=cell.row + at, copies=copies)
        else:
            yield replace(cell, col=cell.col + at, copies=copies)


def natural_order(name: str) -> tuple[list[tuple[int, str]], str]:
    """Return a key to sort paths by, the numbers in them by their values."""
    parts = _DIGITS.split(name)
    # A number counts by its digits without leading zeros: by their count first. Text between comes as it is.
    return [(len(one), one) if at % 2 else (0, one) for at, one in enumerate(_without_zeros(parts))], name


def _without_zeros(parts: list[str]) -> Iterator[str]:
    for at, part in enumerate(parts):
        yield (part.lstrip("0") or "0") if at % 2 else part


def _matches(copy: Copy) -> list[str]:
    """Return the paths below the source that the pattern matches and that are not left out."""
    # A file of that very name is what is meant; see ``cells``.
    if os.path.lexists(copy.source / copy.pattern):
        return [copy.pattern]
    found = find_matches(copy.source, copy.pattern)
    if copy.ignore is not None:
        rules = ignoring(copy.ignore)
        found = [name for name in found if not rules.ignores(name)]
    return sorted((name.rstrip("/") for name in found), key=natural_order)
