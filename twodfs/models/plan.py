"""The plan of a model: cells of files, and the partitions that stages of a pipeline pull. Pure.

A plan amounts to a part of a build file, and becomes one: what is built is what a person could have written.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from twodfs.errors import FormatError
from twodfs.models.directory import ModelFile
from twodfs.oci.documents import Json
from twodfs.sizes import size_text


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file in the image.

    Attributes:
        target: its path below the model's place.
        source: as ``src`` of a build file has it.
        size: its bytes; of files that are made, those of their tensors or texts.
    """

    target: str
    source: str | Json
    size: int

    @classmethod
    def of(cls, file: ModelFile) -> PlannedFile:
        """Return a file of the directory, under the name that it has there."""
        return cls(file.name, str(file.path), file.size)

    @classmethod
    def text(cls, target: str, text: str) -> PlannedFile:
        """Return a file that holds ``text``."""
        return cls(target, {"text": text}, len(text.encode()))

    @classmethod
    def link(cls, target: str, to: str) -> PlannedFile:
        """Return a link."""
        return cls(target, {"link": to}, 0)

    @classmethod
    def tensors(cls, target: str, files: Iterable[Path], names: Iterable[str], size: int) -> PlannedFile:
        """Return a file of the tensors of ``files`` with these names or patterns of names."""
        return cls(target, {"safetensors": [str(one) for one in files], "tensors": list(names)}, size)


@dataclass(frozen=True, slots=True)
class PlannedCell:
    """A cell of the field; ``label`` says for people what it holds."""

    row: int
    col: int
    label: str
    files: tuple[PlannedFile, ...]

    @property
    def size(self) -> int:
        """Its bytes, without the tar around them."""
        return sum(one.size for one in self.files)

    @property
    def rectangle(self) -> str:
        """The rectangle that holds it alone."""
        return f"{self.row}.{self.col}.{self.row}.{self.col}"


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """The plan of a model.

    Attributes:
        name: of the model.
        at: where it goes in the image, without slashes at the ends.
        cells: in the order of rows and columns.
        partitions: selections by name, as a build file writes them.
        notes: what a person should know about it.
    """

    name: str
    at: str
    cells: tuple[PlannedCell, ...]
    partitions: dict[str, str]
    notes: tuple[str, ...]

    @property
    def next_row(self) -> int:
        """The first row below it."""
        return max(one.row for one in self.cells) + 1

    def check_sizes(self, most: int, advice: str) -> None:
        """Hold each cell against ``most`` bytes; ``advice`` says how to make them smaller.

        Raises:
            FormatError: one has more.
        """
        for cell in self.cells:
            if cell.size > most:
                raise FormatError(
                    f"row {cell.row}, column {cell.col} ({cell.label}) would have {size_text(cell.size)}, more than "
                    f"the {size_text(most)} that a layer may have ('max_layer'); {advice}"
                )

    def entries(self) -> list[Json]:
        """Return the allotments that a build file would have."""
        return [
            {
                "src": [one.source for one in cell.files],
                "dst": ["/" + "/".join(filter(None, (self.at, one.target))) for one in cell.files],
                "row": cell.row,
                "col": cell.col,
            }
            for cell in self.cells
        ]
