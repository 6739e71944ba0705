"""What is asked for a model: an entry of ``models`` in a build file, or the options of ``twodfs build --model``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from twodfs.choices import MAX_STAGES
from twodfs.errors import BuildFileError, FormatError
from twodfs.models.names import parse_pattern
from twodfs.oci.documents import expect
from twodfs.sizes import parse_size

MODEL_KEYS: Final = ("dir", "name", "split", "stages", "at", "max_layer", "layer_pattern", "row")
DEFAULT_MAX_LAYER: Final = "9GB"
"""Registries in clouds refuse layers of more than 10 GiB."""
_MAX_ROW: Final = 2**31 - 10


class Split(StrEnum):
    """What a cell holds."""

    FILES = "files"
    LAYERS = "layers"


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """How a model's directory becomes cells.

    Attributes:
        directory: the model's.
        name: in front of the names of partitions, and of files that are made; empty: the directory's.
        split: what a cell holds: files, layers, or files of so many bytes together; None: what fits the model.
        stages: of a pipeline; a named partition is made for each.
        at: where the model goes in the image; empty: ``/models/NAME``.
        max_layer: bytes that a cell has at most.
        pattern: tells layers from the names of tensors; None: the usual ones.
        row: the first row that the model takes; None: the next one that is free.
    """

    directory: Path
    name: str = ""
    split: Split | int | None = None
    stages: int = 0
    at: str = ""
    max_layer: int = parse_size(DEFAULT_MAX_LAYER)
    pattern: re.Pattern[str] | None = None
    row: int | None = None

    @classmethod
    def parse(cls, raw: object, directory: Path) -> ModelRequest:
        """Return the request that ``raw`` writes, whose ``dir`` is relative to ``directory``.

        Raises:
            FormatError: malformed; with the path of the key.
        """
        told: Mapping[str, Any] = expect(raw, dict, "")
        for key in told:
            if key not in MODEL_KEYS:
                raise FormatError(f"unknown key {key[:140]!r}; allowed: {', '.join(MODEL_KEYS)}")
        pattern = _text(told, "layer_pattern")
        split = _split(_text(told, "split"))
        if pattern and split not in (None, Split.LAYERS):
            raise FormatError(f"it tells layers, and the split is {told['split']!r}", "layer_pattern")
        return cls(
            directory=directory / _text(told, "dir", is_required=True),
            name=_name(_text(told, "name")),
            split=split,
            stages=_number(told, "stages", 1, MAX_STAGES) or 0,
            at=_text(told, "at"),
            max_layer=_size(_text(told, "max_layer") or DEFAULT_MAX_LAYER, "max_layer"),
            pattern=_pattern(pattern) if pattern else None,
            row=_number(told, "row", 0, _MAX_ROW),
        )


def _text(raw: Mapping[str, Any], key: str, *, is_required: bool = False) -> str:
    if key not in raw and not is_required:
        return ""
    text = expect(raw.get(key), str, key)
    if not text or "\0" in text:
        raise FormatError("expected a text, found none" if not text else "a text has no NUL in it", key)
    return text


def _name(text: str) -> str:
    if "/" in text or text in (".", ".."):
        raise FormatError(f"{text[:140]!r} is no name of a file", "name")
    return text


def _number(raw: Mapping[str, Any], key: str, least: int, most: int) -> int | None:
    if key not in raw:
        return None
    number = expect(raw[key], int, key)
    if not least <= number <= most:
        raise FormatError(f"{number} is outside {least}..{most}", key)
    return number


def _split(text: str) -> Split | int | None:
    if not text:
        return None
    if text in Split.__members__.values():
        return Split(text)
    try:
        return _size(text, "split")
    except FormatError:
        raise FormatError(f"expected {', '.join(Split)} or a size, as 2GB, found {text[:140]!r}", "split") from None


def _size(text: str, key: str) -> int:
    try:
        size = parse_size(text)
    except BuildFileError as error:
        raise FormatError(str(error), key) from None
    if not size:
        raise FormatError("a cell of 0 bytes holds no file", key)
    return size


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return parse_pattern(text)
    except FormatError as error:
        raise error.inside("layer_pattern") from None
