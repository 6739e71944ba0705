"""Labels of a field: names of rows, columns and cells for people.

They are optional and select nothing; readers that do not know them pass them by::

    {"rows": [{"allotments": [{"row": 0, "col": 0, ..., "label": "layers 0 to 7"}], ...}], ...,
     "labels": {"rows": {"0": "language"}, "columns": {"0": "first half"}}}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from twodfs.errors import FormatError, within
from twodfs.field.slices import FieldBytes, OtherOrderError, Slice, Slices, in_whole
from twodfs.oci.documents import Json, expect, parse_object

MAX_LABEL: Final = 256
"""Characters of a label."""


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of rows and columns by their numbers, and of cells by row and column."""

    rows: Mapping[int, str] = field(default_factory=dict)
    columns: Mapping[int, str] = field(default_factory=dict)
    cells: Mapping[tuple[int, int], str] = field(default_factory=dict)

    def to_dict(self) -> Json:
        """Return the JSON of those of rows and columns, as the field has it; empty where there are none."""
        parts = {"rows": self.rows, "columns": self.columns}
        return {name: {str(at): part[at] for at in sorted(part)} for name, part in parts.items() if part}


NO_LABELS: Final = Labels()
"""They leave a field as it is without."""


def is_label(text: str) -> bool:
    """Say whether ``text`` can be a label."""
    return 0 < len(text) <= MAX_LABEL and text.isprintable()


def parse_label(value: object, path: str) -> str:
    """Return a label.

    Raises:
        FormatError: it is none: empty, too long, or with characters that cannot be shown in a line.
    """
    text = expect(value, str, path)
    if is_label(text):
        return text
    raise FormatError(f"{text[:140]!r} is no label; expected 1 to {MAX_LABEL} printable characters", path)


def parse_numbered(raw: object, path: str) -> dict[int, str]:
    """Return the labels in ``raw``, an object with numbers of rows or columns for keys; None for none at all.

    Raises:
        FormatError: it is something else; with the path.
    """
    members = {} if raw is None else expect(raw, dict, path)
    found = {}
    with within(path):
        for name, text in members.items():
            if not (name.isascii() and name.isdecimal() and str(int(name[:10])) == name):
                raise FormatError(f"{name[:140]!r} is no number of a row or column; expected 0, 1, 2, ...")
            found[int(name)] = parse_label(text, name)
    return found


def read_labels(body: FieldBytes) -> Labels:
    """Return the labels in a field's document, read some cells at a time; linear in its length.

    Raises:
        FormatError: malformed; with the path.
    """
    if body.find(b'"label', 0) < 0:
        return NO_LABELS
    slices = Slices(body)
    try:
        cells = dict(pair for part in slices for pair in _of_cells(part))
        about = slices.rest
    except OtherOrderError:
        about = parse_object(memoryview(body))
        cells = dict(pair for part in in_whole(about) for pair in _of_cells(part))
    labels = about.get("labels")
    named = {} if labels is None else expect(labels, dict, "labels")
    with within("labels"):
        return Labels(parse_numbered(named.get("rows"), "rows"), parse_numbered(named.get("columns"), "columns"), cells)


def _of_cells(part: Slice) -> Iterator[tuple[tuple[int, int], str]]:
    for at, cell in enumerate(part.cells):
        if isinstance(cell, dict) and "label" in cell:
            with within(part.path(at)):
                place = expect(cell.get("row"), int, "row"), expect(cell.get("col"), int, "col")
                yield place, parse_label(cell["label"], "label")
