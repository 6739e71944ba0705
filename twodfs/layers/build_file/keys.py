"""The keys of a build file. The parser, the JSON Schema and the page in ``docs`` have these and no others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from twodfs.choices import MAX_STAGES
from twodfs.errors import FormatError
from twodfs.field.allotment import MAX_COORDINATE
from twodfs.field.labels import MAX_LABEL
from twodfs.oci.documents import Json

MAX_ID: Final = 2**31 - 1
"""The largest uid and gid."""
MODE: Final = "0?[0-7]{3,4}"
"""A mode, as a regular expression."""
NAME: Final = "[a-z][a-z0-9_]*(-[a-z0-9_]+)*"
"""The name of a partition, as a regular expression."""
PLATFORM: Final = "[a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?"
"""A platform, as a regular expression."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a build file.

    Attributes:
        name: as it is written.
        schema: the JSON Schema of its value.
        text: its meaning, for editors.
        is_required: whether the object is wrong without it.
    """

    name: str
    schema: Json = field(repr=False)
    text: str = field(repr=False)
    is_required: bool = False


def _text(**more: Any) -> Json:
    return {"type": "string", **more}


def _texts(**more: Any) -> Json:
    return {"type": "array", "items": _text(), **more}


def _one_or_more(one: Json) -> Json:
    return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}


def _number(most: int, least: int = 0) -> Json:
    # A text that is nothing but a variable may stand for a number.
    number = {"type": "integer", "minimum": least, "maximum": most}
    return {"anyOf": [number, _text(pattern=r"^\$\{[A-Za-z_][A-Za-z0-9_]*\}$")]}


def _map(value: Json, **more: Any) -> Json:
    return {"type": "object", "additionalProperties": value, **more}


_LABEL: Final = _text(minLength=1, maxLength=MAX_LABEL)
_LABELS: Final = _map(_LABEL, propertyNames={"pattern": "^[0-9]+$"})
_PATH: Final = _text(minLength=1)
_MADE: Final = {"$ref": "#/$defs/made"}

ALLOTMENT_KEYS: Final = (
    Key(
        "src",
        _one_or_more({"anyOf": [_PATH, _MADE]}),
        "A file, a directory, a pattern or an object; or several.",
        is_required=True,
    ),
    Key("dst", _one_or_more(_text()), "Where the n-th src goes in the image.", is_required=True),
    Key("row", _number(MAX_COORDINATE), "The row of the field, from 0.", is_required=True),
    Key("col", _number(MAX_COORDINATE), "The column of the field, from 0.", is_required=True),
    Key("each", {"enum": ["row", "column"]}, "One cell for each match of src: rows, or columns, count up."),
    Key("label", _LABEL, "A name of the cell for people."),
    Key("platform", _one_or_more(_text(pattern=f"^{PLATFORM}$")), "The platforms whose images have this cell."),
    Key("ignore", _texts(), "Files to leave out, in the syntax of .dockerignore, in the place of the file's own list."),
    Key("mode", _text(pattern=f"^{MODE}$"), "Permission bits of the files: three or four octal digits."),
    Key("uid", _number(MAX_ID), "The owner of the files."),
    Key("gid", _number(MAX_ID), "The group of the files."),
    Key("follow", {"type": "boolean"}, "Whether files are taken in the place of links that lead to them."),
)
"""The keys of an entry of ``allotments``."""

MODEL_ENTRY_KEYS: Final = (
    Key("dir", _PATH, "The directory.", is_required=True),
    Key("name", _PATH, "How files that are made begin, and partitions where there are several models."),
    Key("split", _PATH, "What a cell holds: files, layers, or a size such as 2GB."),
    Key("stages", _number(MAX_STAGES, 1), "Stages of a pipeline; each gets a named partition."),
    Key("at", _PATH, "Where the model goes in the image; /models/NAME by default."),
    Key("max_layer", _PATH, "What a cell may have at most; 9GB by default."),
    Key("layer_pattern", _PATH, "A regular expression that finds layers; its one group is the number."),
    Key("row", _number(MAX_COORDINATE), "The first row that the model takes."),
)
"""The keys of an entry of ``models``."""

MADE_OBJECTS: Final = (
    (Key("text", _text(), "A file that holds the text.", is_required=True),),
    (Key("link", _PATH, "A link that says this.", is_required=True),),
    (
        Key("safetensors", _texts(minItems=1), "Files whose tensors go into a file.", is_required=True),
        Key("tensors", _texts(minItems=1), "Names of tensors or patterns of them; all by default."),
    ),
)
"""The keys of each kind of object in the place of a path in ``src``."""

FILE_KEYS: Final = (
    Key("$schema", _text(), "The address of this schema, for editors."),
    Key(
        "allotments",
        {"type": "array", "items": {"$ref": "#/$defs/allotment"}},
        "The cells of the field, beside models'.",
    ),
    Key("models", {"type": "array", "items": {"$ref": "#/$defs/model"}}, "Directories of models, made into cells."),
    Key(
        "partitions",
        _map(_text(), propertyNames={"pattern": f"^{NAME}$", "not": {"enum": ["all", "base"]}}),
        "Names of selections: rectangles x1.y1.x2.y2, joined by --.",
    ),
    Key("default", _text(), "The partition that TAG--default is: names or rectangles, joined by --, or all."),
    Key(
        "ignore",
        _texts(),
        "Files to leave out, in the syntax of .dockerignore; .git and __pycache__ in directories by default.",
    ),
    Key("row_labels", _LABELS, "Names of rows for people."),
    Key("column_labels", _LABELS, "Names of columns for people."),
    Key("labels", _map(_text()), "Labels of the image, beside the base's."),
    Key("annotations", _map(_text()), "Annotations of the image's index and manifests, beside the base's."),
    Key("env", _map(_text(), propertyNames={"pattern": "^[^=]+$"}), "Environment variables, beside the base's."),
    Key("entrypoint", _texts(), "The program and its first arguments; the base's cmd goes."),
    Key("cmd", _texts(), "The arguments behind the entrypoint, or the program."),
    Key("workdir", _text(pattern="^/"), "The directory that the program starts in."),
    Key("user", _text(minLength=1), "The user, or user:group, that the program runs as."),
)
"""The keys of the build file itself."""


def check_keys(members: Iterable[str], keys: Sequence[Key]) -> None:
    """Check that ``members`` has no other than ``keys``.

    Raises:
        FormatError: there is one.
    """
    allowed = [key.name for key in keys]
    for one in members:
        if one not in allowed:
            raise FormatError(f"unknown key {one[:140]!r}; allowed: {', '.join(allowed)}")
