"""From a model's directory to a plan: what stands below the weights, and what each stage selects.

The row below the weights has, from left to right, the small files, which every named partition has; a directory for
each stage, ``stages/2of4``, with an index of exactly its files and links to them, since loaders break at an index that
names missing files; and the index of the whole model, which the partition ``all`` alone has. Weights that are none of
the model's, as the same in another format, stand in the last row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from twodfs.errors import FormatError
from twodfs.models.columns import Column, Weights, by_file, by_layer
from twodfs.models.directory import ModelDirectory
from twodfs.models.names import TensorGroups, group
from twodfs.models.plan import ModelPlan, PlannedCell, PlannedFile
from twodfs.models.request import ModelRequest, Split
from twodfs.models.stages import balance
from twodfs.models.tensors import ModelTensors, find_tensors, write_index

_NO_NAME: Final = re.compile(r"[^a-z0-9_]+")
"""What may not stand in the name of a partition."""


def arrange(asked: ModelRequest, row: int, *, named: bool = False) -> ModelPlan:
    """Return the plan for a model.

    Args:
        asked: the directory, and how it is split.
        row: the first row of the model.
        named: whether the names of its partitions begin with its own.

    Raises:
        FormatError: the directory holds no such model, a file of it is damaged, or a cell would be too big.
    """
    directory = ModelDirectory.look_at(asked.directory.absolute())
    name = asked.name or directory.name
    tensors = find_tensors(directory)
    groups = _groups(asked, tensors)
    if tensors and groups:
        weights = by_layer(directory, tensors, groups, name, row)
    else:
        weights = by_file(directory, tensors, asked.split if isinstance(asked.split, int) else None, row)
    below = _Below(directory, weights, tensors, row, asked.stages)
    prefix = f"{_NO_NAME.sub('-', name.lower()).strip('-_')}-" if named else ""
    partitions = {f"{prefix}stage{one.label}": below.selection(one) for one in below.stages}
    at = asked.at.strip("/") if asked.at else f"models/{name}"
    plan = ModelPlan(name, at, tuple(below.cells()), partitions, weights.notes + below.notes)
    plan.check_sizes(asked.max_layer, weights.advice)
    return plan


def _groups(asked: ModelRequest, tensors: ModelTensors | None) -> TensorGroups | None:
    """Return the groups that ``asked`` wants as cells; None where files are to be cells."""
    if asked.split not in (None, Split.LAYERS):
        return None
    is_asked = asked.split is Split.LAYERS or asked.pattern is not None
    if tensors and tensors.is_adapter and not is_asked:
        return None
    groups = group(tensors.sizes(), asked.pattern) if tensors else None
    if groups is None and is_asked and tensors is None:
        raise FormatError(
            f"{str(asked.directory)!r} does not hold one model in safetensors files, which alone are split by layers; "
            f"the split 'files' makes a cell of each file"
        )
    if groups is None and is_asked:
        raise FormatError(
            f"no tensor's name in {str(asked.directory)!r} shows a layer; a pattern tells how, as 'stage(\\d+)\\.'"
        )
    return groups


@dataclass(frozen=True, slots=True)
class _Stage:
    """A stage of a pipeline.

    Attributes:
        label: its number, as ``2of4``.
        columns: the weights that it has.
        shared: a column that it needs beside them; None for none.
    """

    label: str
    columns: Sequence[Column]
    shared: Column | None

    @property
    def files(self) -> dict[str, dict[str, int]]:
        """The files that its index names, with the bytes of their tensors by name."""
        held = [*self.columns, *([self.shared] if self.shared else [])]
        return {file: dict(tensors) for one in held for file, tensors in one.indexed.items()}


class _Below:
    """The rows below the weights."""

    def __init__(
        self, directory: ModelDirectory, weights: Weights, tensors: ModelTensors | None, row: int, stages: int
    ) -> None:
        self._weights = weights
        self._top = row
        self._row = row + weights.height
        self._has_ranks = directory.ranks is not None
        index = tensors.index if tensors else None
        self._index_name = tensors.index_name if tensors else ""
        self._common = [one for one in directory.small if weights.index is None or one != index]
        self.stages = [self._stage(at, one, stages) for at, one in enumerate(self._dealt(stages), start=1)]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know about the rest."""
        notes = []
        if self.stages and not self._weights.index and not self._has_ranks:
            notes.append("a stage has some of the files: programs that open all of them together want 'all'")
        if others := self._weights.others:
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            notes.append(f"no part of the model, and for 'all' alone: {others[0].name}{more}")
        return tuple(notes)

    def cells(self) -> Iterator[PlannedCell]:
        """Yield all cells of the model, row by row."""
        yield from sorted(
            (cell for one in self._weights.columns for cell in one.cells), key=lambda one: (one.row, one.col)
        )
        if self._common:
            yield PlannedCell(self._row, 0, "small files", tuple(map(PlannedFile.of, self._common)))
        if self._weights.index:
            for at, stage in enumerate(self.stages, start=1):
                yield PlannedCell(self._row, at, f"stage {stage.label}", tuple(self._directory(stage)))
            at = len(self.stages) + 1
            yield PlannedCell(self._row, at, "index of the whole model", (self._weights.index,))
        for at, file in enumerate(self._weights.others):
            yield PlannedCell(self._row + 1, at, file.name, (PlannedFile.of(file),))

    def selection(self, stage: _Stage) -> str:
        """Return the selection of a stage, as a build file writes it."""
        bottom = self._top + self._weights.height - 1
        first, last = stage.columns[0].col, stage.columns[-1].col
        rectangles = [f"{self._top}.{first}.{bottom}.{last}"]
        if stage.shared:
            rectangles.append(f"{self._top}.{stage.shared.col}.{bottom}.{stage.shared.col}")
        if self._common:
            rectangles.append(f"{self._row}.0.{self._row}.0")
        if self._weights.index:
            at = self.stages.index(stage) + 1
            rectangles.append(f"{self._row}.{at}.{self._row}.{at}")
        return "--".join(rectangles)

    def _dealt(self, stages: int) -> list[range]:
        return balance(self._weights.sizes, stages) if stages else []

    def _stage(self, at: int, dealt: range, stages: int) -> _Stage:
        columns = self._weights.columns
        is_shared = self._weights.is_shared and at == stages and dealt.start > 0
        return _Stage(f"{at}of{stages}", [columns[one] for one in dealt], columns[0] if is_shared else None)

    def _directory(self, stage: _Stage) -> Iterator[PlannedFile]:
        """Yield the files of a stage's directory."""
        place = f"stages/{stage.label}"
        files = stage.files
        yield PlannedFile.text(f"{place}/{self._index_name}", write_index(files))
        for name in [*files, *dict.fromkeys(one.name.partition("/")[0] for one in self._common)]:
            yield PlannedFile.link(f"{place}/{name}", f"../../{name}")
