"""The columns of a model's weights: a layer each, or a file each.

Columns stand in the order in which a network applies them; of ``sharded_state``, a column has a rank, and a row a part.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import has_magic
from itertools import takewhile
from pathlib import Path
from typing import Final

from twodfs.errors import FormatError
from twodfs.models.directory import ModelDirectory, ModelFile
from twodfs.models.names import TensorGroup, TensorGroups, shares_embedding
from twodfs.models.plan import PlannedCell, PlannedFile
from twodfs.models.tensors import SUFFIX, ModelTensors, read_config, write_index
from twodfs.sizes import size_text

_ADVICE: Final = {
    SUFFIX: "the split 'layers' makes a cell of each layer",
    ".gguf": "'gguf-split --split-max-size' cuts a GGUF file into several",
    ".onnx": "save the model with external data in several files ('all_tensors_to_one_file=False')",
}
_OTHER_ADVICE: Final = "save the model in smaller files"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of weights.

    Attributes:
        col: its number.
        cells: from above to below.
        indexed: the files that an index names, and for each the bytes of its tensors by name.
    """

    col: int
    cells: tuple[PlannedCell, ...]
    indexed: Mapping[str, Mapping[str, int]]

    @property
    def size(self) -> int:
        """Bytes of its cells."""
        return sum(one.size for one in self.cells)


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of a model in columns.

    Attributes:
        columns: from left to right.
        height: rows that they take.
        index: of the whole model; None where loaders need none.
        is_shared: whether the last stage needs the first column as well.
        others: weights that are none of the model's.
        notes: for people.
        advice: what to do about a cell that is too big.
    """

    columns: tuple[Column, ...]
    height: int
    index: PlannedFile | None
    is_shared: bool
    others: tuple[ModelFile, ...]
    notes: tuple[str, ...]
    advice: str

    @property
    def sizes(self) -> list[int]:
        """Bytes of each column, for a balance between stages."""
        sizes = [one.size for one in self.columns]
        if self.is_shared and len(sizes) > 1:
            sizes[-1] += sizes[0]
        return sizes


def by_layer(directory: ModelDirectory, tensors: ModelTensors, groups: TensorGroups, name: str, row: int) -> Weights:
    """Return the tensors of a model as a column for each layer, between one for the embedding and one for the head.

    Raises:
        FormatError: the model's ``config.json`` is malformed.
    """
    sizes = tensors.sizes()
    picker = _Picker(tensors)
    columns = []
    for col, one in enumerate([groups.embedding, *groups.layers, groups.head]):
        if one.tensors:
            file = f"{name}-{one.slug}{SUFFIX}"
            cell = PlannedCell(row, col, one.label, (picker.file(file, one, sizes),))
            columns.append(Column(col, (cell,), {file: {tensor: sizes[tensor] for tensor in one.tensors}}))
    is_shared = bool(groups.embedding.tensors) and shares_embedding(groups, read_config(directory))
    notes = [f"layers: {len(groups.layers)}, told by the names {' and '.join(groups.stacks)}"]
    if is_shared:
        notes.append("the head uses the embedding's weights: the last stage has them, too")
    used = set(tensors.files)
    return Weights(
        columns=tuple(columns),
        height=1,
        index=PlannedFile.text(
            tensors.index_name, write_index({file: held for one in columns for file, held in one.indexed.items()})
        ),
        is_shared=is_shared,
        others=tuple(one for one in directory.weights if one not in used),
        notes=tuple(notes),
        advice="raise it where the registry takes such layers",
    )


class _Picker:
    """Says which tensors of which files a file is made of, as briefly as a person would."""

    def __init__(self, tensors: ModelTensors) -> None:
        self._tensors = tensors
        self._names = sorted(tensors.places)

    def file(self, target: str, group: TensorGroup, sizes: Mapping[str, int]) -> PlannedFile:
        """Return the file ``target`` of the tensors of ``group``."""
        used = {self._tensors.places[name].path for name in group.tensors}
        files = [one.path for one in self._tensors.files if one.path in used]
        size = sum(sizes[name] for name in group.tensors)
        return PlannedFile.tensors(target, files, self._patterns(group.tensors), size)

    def _patterns(self, names: Sequence[str]) -> list[str]:
        """Return a pattern that matches ``names`` alone, where they have one; else the names."""
        # They are sorted: what the first and the last begin with, all do.
        same = takewhile(lambda two: two[0] == two[1], zip(names[0], names[-1], strict=False))
        prefix = "".join(one for one, _ in same)
        prefix = prefix[: prefix.rfind(".") + 1]
        if len(names) > 1 and prefix and not has_magic(prefix):
            begin = bisect_left(self._names, prefix)
            behind = begin + len(names)
            if self._names[begin:behind] == list(names) and not any(
                one.startswith(prefix) for one in self._names[behind : behind + 1]
            ):
                return [f"{prefix}*"]
        return list(names)


def by_file(directory: ModelDirectory, tensors: ModelTensors | None, most: int | None, row: int) -> Weights:
    """Return the files of a model as a column each; several in one where ``most`` says how many bytes go together.

    Raises:
        FormatError: a file alone has more than ``most`` bytes.
    """
    ranks = directory.ranks
    if ranks:
        return _by_rank(ranks, row)
    indexed = tensors if tensors and tensors.index else None
    used = indexed.files if indexed else directory.weights
    held: dict[Path, dict[str, int]] = {}
    for name, file in indexed.places.items() if indexed else ():
        held.setdefault(file.path, {})[name] = file.tensors[name].size
    columns = []
    for col, files in enumerate([[one] for one in used] if most is None else _joined(used, most)):
        label = files[0].name if len(files) == 1 else f"{files[0].name} to {files[-1].name}"
        cell = PlannedCell(row, col, label, tuple(map(PlannedFile.of, files)))
        columns.append(Column(col, (cell,), {one.name: held.get(one.path, {}) for one in files}))
    return Weights(
        columns=tuple(columns),
        height=1,
        index=PlannedFile.of(indexed.index) if indexed and indexed.index else None,
        is_shared=False,
        others=tuple(one for one in directory.weights if one not in set(used)),
        notes=(),
        advice=_advice(max(used, key=lambda one: one.size)),
    )


def _by_rank(ranks: Mapping[tuple[int, int], ModelFile], row: int) -> Weights:
    rows = sorted({part for part, _ in ranks})
    columns = []
    for col in sorted({rank for _, rank in ranks}):
        files = [(part, ranks[part, col]) for part in rows if (part, col) in ranks]
        cells = [PlannedCell(row + part, col, one.name, (PlannedFile.of(one),)) for part, one in files]
        columns.append(Column(col, tuple(cells), {}))
    return Weights(
        columns=tuple(columns),
        height=rows[-1] + 1,
        index=None,
        is_shared=False,
        others=(),
        notes=(f"ranks: {len(columns)}, a column each",),
        advice=_OTHER_ADVICE,
    )


def _joined(files: Sequence[ModelFile], most: int) -> Iterator[list[ModelFile]]:
    """Yield ``files``, as many together as have ``most`` bytes at most."""
    together: list[ModelFile] = []
    size = 0
    for one in files:
        if one.size > most:
            raise FormatError(
                f"{one.name} has {size_text(one.size)}, more than the {size_text(most)} of the split; {_advice(one)}"
            )
        if together and size + one.size > most:
            yield together
            together, size = [], 0
        together.append(one)
        size += one.size
    yield together


def _advice(file: ModelFile) -> str:
    return _ADVICE.get(file.suffix, _OTHER_ADVICE)
