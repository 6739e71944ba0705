"""What a build file amounts to, for people and programs: its cells, their sizes, and its named partitions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from twodfs.cli.grid import count_text
from twodfs.field.partition import Selection
from twodfs.layers.build_file.file import BuildFile
from twodfs.layers.layer import LayerPlan
from twodfs.oci.documents import Json
from twodfs.sizes import size_text

_ALIGNED_RIGHT = ("row", "col", "size", "files", "cells")


@dataclass(frozen=True, slots=True)
class CellPlan:
    """A cell that would be built; ``size`` (bytes) is that of its files, without the tar around them."""

    row: int
    col: int
    label: str
    size: int
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PartitionPlan:
    """A named partition, and how much of the field it selects."""

    selection: Selection
    cells: int
    size: int


@dataclass(frozen=True, slots=True)
class FieldPlan:
    """The field of a build file.

    Attributes:
        cells: by row and column.
        partitions: by name.
        notes: what a person should know about it.
    """

    cells: tuple[CellPlan, ...]
    partitions: Mapping[str, PartitionPlan]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, build_file: BuildFile) -> FieldPlan:
        """Return the plan of ``build_file``, whose files are looked at and not read.

        Raises:
            BuildError: a file cannot be read.
            BuildFileError: a mistake in the build file.
        """
        cells = []
        for cell in sorted(build_file.cells, key=lambda one: (one.row, one.col)):
            with build_file.origin.mistakes():
                plan = LayerPlan.of(cell.copies)
            files = tuple(f"/{one.name}" for one in plan.written if not one.is_directory)
            cells.append(CellPlan(cell.row, cell.col, cell.label or cell.sources, plan.source_bytes, files))
        return cls(
            tuple(cells),
            {name: _partition(selection, cells) for name, selection in build_file.partitions.items()},
            build_file.notes,
        )

    def lines(self) -> Iterator[str]:
        """Yield the plan for people."""
        yield from self.notes
        rows = [(str(one.row), str(one.col), size_text(one.size), str(len(one.files)), one.label) for one in self.cells]
        yield from _table(("row", "col", "size", "files", "holds"), rows)
        if self.partitions:
            named = [
                (f"--{name}", str(one.cells), size_text(one.size), str(one.selection))
                for name, one in self.partitions.items()
            ]
            yield from _table(("partition", "cells", "size", "selects"), named)
        yield f"{count_text(len(self.cells), 'cell')}, {size_text(sum(one.size for one in self.cells))}"

    def to_dict(self) -> Json:
        """Return the plan as JSON, sizes in bytes."""
        return {
            "cells": [
                {"row": one.row, "col": one.col, "label": one.label, "bytes": one.size, "files": list(one.files)}
                for one in self.cells
            ],
            "partitions": {
                name: {"selection": str(one.selection), "cells": one.cells, "bytes": one.size}
                for name, one in self.partitions.items()
            },
            "bytes": sum(one.size for one in self.cells),
            "notes": list(self.notes),
        }


def _partition(selection: Selection, cells: Sequence[CellPlan]) -> PartitionPlan:
    held = [one.size for one in cells if any(part.holds(one.row, one.col) for part in selection.rectangles)]
    return PartitionPlan(selection, len(held), sum(held))


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        texts = (
            text.rjust(width) if name in _ALIGNED_RIGHT else text.ljust(width)
            for name, text, width in zip(head, row, widths, strict=True)
        )
        yield "  ".join(texts).rstrip()
