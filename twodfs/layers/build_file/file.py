"""The build file, ``2dfs.json`` or ``2dfs.yaml``.

::

    {"allotments": [{"src": "./a.bin", "dst": "/models/a.bin", "row": 0, "col": 0},
                    {"src": ["./b.bin", "./tokenizer"], "dst": ["/b.bin", "/tokenizer"], "row": 0, "col": 1}]}

``partitions`` may name selections of them: ``{"partitions": {"edge": "0.0.0.1"}, "allotments": [...]}``, and
``default`` one of these, which is then written as a partition of that name.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from twodfs.errors import BuildFileError, FormatError, PartitionError, within
from twodfs.field.labels import NO_LABELS, Labels, parse_numbered
from twodfs.field.names import parse_partitions
from twodfs.field.partition import ALL, BASE, IMAGE, Rectangle, Selection
from twodfs.files import open_file, read_up_to
from twodfs.layers.build_file.cells import Cell, parse_cell
from twodfs.layers.build_file.checks import check_places, check_selected, check_targets, check_there
from twodfs.layers.build_file.each import cells_for_each, parse_each
from twodfs.layers.build_file.keys import FILE_KEYS, check_keys
from twodfs.layers.build_file.origin import FileOrigin
from twodfs.layers.build_file.settings import parse_settings
from twodfs.layers.build_file.values import parse_texts
from twodfs.layers.build_file.variables import expanded, may_have_variables
from twodfs.layers.expansion import expand_models
from twodfs.layers.ignoring import Ignoring
from twodfs.oci.documents import Json, expect, parse_object
from twodfs.oci.image_settings import NO_SETTINGS, ImageSettings

MAX_BUILD_FILE_BYTES: Final = 64 * 1024 * 1024
STANDARD_INPUT: Final = Path("-")
DEFAULT_PARTITION: Final = "default"
_YAML_NAMES: Final = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class BuildFile:
    """A build file.

    Attributes:
        cells: its allotments.
        partitions: selections by name.
        settings: how the image is run.
        labels: those of rows and columns; the cells have their own.
        origin: where it was read.
        notes: what a person should know about its models.
    """

    cells: tuple[Cell, ...]
    partitions: Mapping[str, Selection] = field(default_factory=dict)
    settings: ImageSettings = NO_SETTINGS
    labels: Labels = NO_LABELS
    origin: FileOrigin = field(default_factory=FileOrigin)
    notes: tuple[str, ...] = ()

    @classmethod
    def parse(cls, body: bytes, directory: Path, variables: Mapping[str, str] | None = None) -> BuildFile:
        """Return the build file in ``body``, JSON, whose sources are relative to ``directory``.

        ``variables`` are the values of its variables.

        Raises:
            BuildError: a directory cannot be read in which a pattern with ``each`` begins.
            FormatError: malformed, with a path like ``allotments[3].dst``.
        """
        raw = parse_object(body)
        if may_have_variables(body):
            raw = expanded(raw, variables or {})
        return cls.of(raw, directory, FileOrigin())

    @classmethod
    def of(cls, raw: Json, directory: Path, origin: FileOrigin) -> BuildFile:
        """Return the build file that ``raw``, parsed JSON without variables, writes; raises as ``parse`` does."""
        check_keys(raw, FILE_KEYS)
        if raw.get("$schema") is not None:
            expect(raw["$schema"], str, "$schema")
        expansion = expand_models(raw.get("models"), directory)
        written = raw.get("allotments")
        entries = [] if written is None and expansion.entries else expect(written, list, "allotments")
        if not entries and not expansion.entries:
            raise FormatError("a field needs at least one allotment", "allotments")
        ignore = parse_texts(raw, "ignore")
        if ignore is not None:
            Ignoring.parse(ignore)
        cells: list[Cell] = []
        for at, entry in enumerate(entries):
            path = f"allotments[{at}]"
            with within(path):
                cell = parse_cell(entry, directory, path, ignore)
                each = parse_each(entry)
                cells += [cell] if each is None else cells_for_each(cell, each)
        for one in expansion.entries:
            with within(one.path):
                cells.append(parse_cell(one.entry, directory, one.path, None))
        check_places(cells)
        check_targets(cells)
        partitions = parse_partitions(_with_models(raw.get("partitions"), expansion.partitions))
        if IMAGE in partitions:
            raise FormatError(f"{IMAGE!r} is reserved: TAG--{IMAGE} is the image itself", f"partitions.{IMAGE}")
        check_selected([(f"partitions.{name}", one) for name, one in partitions.items()], cells)
        default = _default(raw, partitions, cells)
        return cls(
            cells=tuple(cells),
            partitions=partitions if default is None else {**partitions, DEFAULT_PARTITION: default},
            settings=parse_settings(raw),
            labels=_labels(raw, cells),
            origin=origin,
            notes=expansion.notes,
        )

    @classmethod
    def load(cls, path: Path, variables: Mapping[str, str] | None = None) -> BuildFile:
        """Return the build file in the file ``path``, JSON or YAML, whose sources all exist.

        ``-`` is standard input; then sources are relative to the current directory. ``variables`` are the values
        of its variables.

        Raises:
            BuildError: as for ``parse``.
            BuildFileError: it cannot be read, is malformed, or a source is missing; the message says where.
        """
        body = _read(path)
        name = "standard input" if path == STANDARD_INPUT else str(path)
        is_json = path.suffix == ".json" or (
            path.suffix not in _YAML_NAMES and body.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")
        )
        if is_json:
            with FileOrigin(name).mistakes():
                return cls._checked(parse_object(body), body, path.parent, variables, FileOrigin(name))
        with FileOrigin(name).mistakes():
            raw, origin = _read_yaml(body, name)
        with origin.mistakes():
            return cls._checked(expect(raw, dict, ""), body, path.parent, variables, origin)

    @classmethod
    def _checked(
        cls, raw: Json, body: bytes, directory: Path, variables: Mapping[str, str] | None, origin: FileOrigin
    ) -> BuildFile:
        told = expanded(raw, variables or {}) if may_have_variables(body) else raw
        loaded = cls.of(told, directory, origin)
        check_there(loaded.cells)
        return loaded

    @property
    def beyond_original(self) -> tuple[str, str] | None:
        """What the original builder has no form for, and the key that asks for it; None for nothing."""
        if self.partitions:
            return "named partitions", DEFAULT_PARTITION if [*self.partitions] == [DEFAULT_PARTITION] else "partitions"
        if self.settings != NO_SETTINGS:
            key = next(
                one.name
                for one in fields(self.settings)
                if getattr(self.settings, one.name) != getattr(NO_SETTINGS, one.name)
            )
            return "settings of the image", key
        if self.labels != NO_LABELS:
            return "labels", "row_labels" if self.labels.rows else "column_labels"
        # The labels of models' cells are nobody's wish.
        written = [cell for cell in self.cells if cell.path.startswith("allotments")]
        if any(cell.label for cell in written):
            return "labels", "label"
        if any(cell.platforms for cell in written):
            return "allotments by platform", "platform"
        return None


def _read(path: Path) -> bytes:
    name = "standard input" if path == STANDARD_INPUT else f"the build file {path}"
    try:
        if path == STANDARD_INPUT:
            body = sys.stdin.buffer.read(MAX_BUILD_FILE_BYTES + 1)
        else:
            with open_file(path) as opened:
                body = read_up_to(opened, MAX_BUILD_FILE_BYTES + 1)
    except OSError as error:
        raise BuildFileError(f"cannot read {name}: {error.strerror}") from None
    if len(body) > MAX_BUILD_FILE_BYTES:
        raise BuildFileError(f"{path} has more than {MAX_BUILD_FILE_BYTES} bytes; is it a build file?")
    return body


def _read_yaml(body: bytes, name: str) -> tuple[Any, FileOrigin]:
    from twodfs.layers.build_file.yaml_text import MAX_YAML_BYTES, read_yaml  # noqa: PLC0415 - JSON is quick

    if len(body) > MAX_YAML_BYTES:
        raise FormatError(f"YAML of more than {MAX_YAML_BYTES} bytes; JSON may have more")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"not UTF-8: {error.reason} at byte {error.start}") from None
    return read_yaml(text), FileOrigin(name, text)


def _with_models(raw: object, partitions: Mapping[str, str]) -> object:
    """Return the partitions that are written in ``raw``, with those of models."""
    if not partitions:
        return raw
    written = {} if raw is None else expect(raw, dict, "partitions")
    twice = next((name for name in partitions if name in written), None)
    if twice is not None:
        raise FormatError(f"{twice!r} is the name of a model's partition", f"partitions.{twice}")
    return {**written, **partitions}


def _default(raw: Json, partitions: Mapping[str, Selection], cells: Sequence[Cell]) -> Selection | None:
    """Return the selection of the default partition; None where there is none."""
    value = raw.get("default")
    if value is None:
        return None
    text = expect(value, str, "default")
    if DEFAULT_PARTITION in partitions:
        raise FormatError(f"{DEFAULT_PARTITION!r} is given twice: first in 'partitions', then", "default")
    try:
        selection = Selection.parse(text)
        for rectangle in selection.rectangles:
            rectangle.check()
    except PartitionError as error:
        raise FormatError(str(error), "default") from None
    rectangles = list(selection.rectangles)
    for name in selection.names:
        if name == ALL:
            rectangles.append(Rectangle(0, 0, max(cell.row for cell in cells), max(cell.col for cell in cells)))
        elif name in partitions:
            rectangles += partitions[name].rectangles
        else:
            raise FormatError(f"there is no partition {name[:140]!r}", "default")
    if not rectangles:
        raise FormatError(f"{BASE!r} is no partition of the field; leave 'default' out", "default")
    found = Selection.of(*rectangles)
    check_selected([("default", found)], cells)
    return found


def _labels(raw: Json, cells: Sequence[Cell]) -> Labels:
    rows, columns = (parse_numbered(raw.get(key), key) for key in ("row_labels", "column_labels"))
    for key, found, there in (
        ("row_labels", rows, {cell.row for cell in cells}),
        ("column_labels", columns, {cell.col for cell in cells}),
    ):
        for at in found:
            if at not in there:
                raise FormatError(f"no allotment stands in {key.partition('_')[0]} {at}", f"{key}.{at}")
    return Labels(rows, columns)
