"""The allotments of a build file held against each other and against its selections; sources looked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from twodfs.errors import FormatError
from twodfs.field.partition import Selection
from twodfs.layers.build_file.cells import Cell
from twodfs.layers.coverage import empty_rectangles

MAX_PLATFORMS: Final = 64
"""Allotments in one place of the field, or of one destination, each for another platform."""


def check_places(cells: Sequence[Cell]) -> None:
    """Check that no two allotments of one image stand in one place.

    Raises:
        FormatError: two do.
    """
    taken: dict[tuple[int, int], list[Cell]] = {}
    for cell in cells:
        others = taken.setdefault((cell.row, cell.col), [])
        for other in others:
            if cell.may_meet(other):
                raise FormatError(
                    f"row {cell.row}, column {cell.col} is given twice: first in '{other.path}', then", cell.path
                )
        others.append(cell)
        _check_number(others, cell.path)


def check_targets(cells: Sequence[Cell]) -> None:
    """Check that no two sources of one image have one destination, as far as the build file tells.

    Raises:
        FormatError: two have.
    """
    taken: dict[str, list[tuple[Cell, str]]] = {}
    for cell in cells:
        for copy in (one for one in cell.copies if not one.pattern and not one.into):
            path = copy.path.replace(".src", ".dst")
            others = taken.setdefault(copy.target, [])
            for other, first in others:
                if cell.may_meet(other):
                    raise FormatError(f"'/{copy.target}' is given twice: first in '{first}', then", path)
            others.append((cell, path))
            _check_number(others, path)


def check_selected(named: Sequence[tuple[str, Selection]], cells: Sequence[Cell]) -> None:
    """Check that each rectangle of the selections ``named``, by their paths, has an allotment in it.

    Raises:
        FormatError: one has none.
    """
    rectangles = [(path, one) for path, selection in named for one in selection.rectangles]
    for at in empty_rectangles([one for _, one in rectangles], ((cell.row, cell.col) for cell in cells)):
        path, one = rectangles[at]
        raise FormatError(f"{one} selects no allotment of this file", path)


def check_there(cells: Iterable[Cell]) -> None:
    """Check that the sources of ``cells`` exist, those of patterns left out.

    Raises:
        FormatError: one does not.
    """
    for cell in cells:
        for copy in cell.copies:
            if copy.pattern or copy.is_made:
                continue
            try:
                copy.source.stat()
            except (FileNotFoundError, NotADirectoryError):
                raise FormatError(f"there is no file {str(copy.source)!r}", copy.path) from None
            except OSError as error:
                raise FormatError(f"cannot read {str(copy.source)!r}: {error.strerror}", copy.path) from None


def _check_number(others: Sequence[object], path: str) -> None:
    if len(others) > MAX_PLATFORMS:
        raise FormatError(f"more than {MAX_PLATFORMS} platforms", path)
