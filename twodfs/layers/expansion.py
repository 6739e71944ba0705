"""``models`` of a build file, each a directory, as the allotments and partitions that they amount to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from twodfs.errors import FormatError, within
from twodfs.field.labels import is_label
from twodfs.oci.documents import Json, expect


@dataclass(frozen=True, slots=True)
class ExpandedEntry:
    """An allotment of a model.

    Attributes:
        path: the model in the build file, as ``models[0]``.
        entry: as ``allotments`` would have it; its paths are absolute.
    """

    path: str
    entry: Json


@dataclass(frozen=True, slots=True)
class Expansion:
    """What models amount to.

    Attributes:
        entries: their allotments.
        partitions: selections by name, as a build file writes them.
        notes: what a person should know about them.
    """

    entries: tuple[ExpandedEntry, ...] = ()
    partitions: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def as_build_file(self, directory: Path) -> Json:
        """Return them as a build file of their own in ``directory``; paths below that are relative to it."""
        there = directory.absolute()
        allotments = [
            {**one.entry, "src": [_moved(source, there) for source in one.entry["src"]]} for one in self.entries
        ]
        return {"partitions": self.partitions, "allotments": allotments}


def _moved(source: str | Json, directory: Path) -> str | Json:
    """Return ``source`` with paths below ``directory`` relative to it."""
    if isinstance(source, str):
        path = Path(source)
        return f"./{path.relative_to(directory).as_posix()}" if path.is_relative_to(directory) else source
    if "safetensors" in source:
        return {**source, "safetensors": [_moved(one, directory) for one in source["safetensors"]]}
    return source


def expand_models(raw: object, directory: Path) -> Expansion:
    """Return what ``models`` of a build file amount to, whose directories are relative to ``directory``.

    Raises:
        FormatError: malformed, or a model cannot be split as asked for; with the path.
    """
    if raw is None:
        return Expansion()
    from twodfs.models.arrangement import arrange  # noqa: PLC0415 - most build files have no models: a start is short
    from twodfs.models.request import ModelRequest  # noqa: PLC0415

    entries: list[ExpandedEntry] = []
    partitions: dict[str, str] = {}
    notes: list[str] = []
    models = expect(raw, list, "models")
    row = 0
    for at, one in enumerate(models):
        path = f"models[{at}]"
        with within(path):
            asked = ModelRequest.parse(one, directory)
            plan = arrange(asked, row if asked.row is None else asked.row, named=len(models) > 1)
            row = plan.next_row
            twice = next((name for name in plan.partitions if name in partitions), None)
            if twice is not None:
                raise FormatError(f"its partition {twice!r} is another model's as well; give each a name", "name")
        entries += [
            ExpandedEntry(path, {**entry, "label": cell.label} if is_label(cell.label) else entry)
            for cell, entry in zip(plan.cells, plan.entries(), strict=True)
        ]
        partitions |= plan.partitions
        notes += [f"{plan.name}: {note}" for note in plan.notes]
    return Expansion(tuple(entries), partitions, tuple(notes))
