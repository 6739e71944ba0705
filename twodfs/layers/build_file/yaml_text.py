"""YAML as a build file has it: another way to write JSON, read piece by piece within bounds.

Words are what they are in JSON: ``true``, ``null`` and ``12`` without quotes; everything else is a text, ``0640``,
``no`` and ``1.2.3`` among them. Tags are refused, a key may stand once, an alias stands for a value that is complete,
and aliases together for a bounded number of values. Nothing is built but objects, arrays, texts, numbers, booleans
and null.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import yaml

from twodfs.errors import FormatError

MAX_YAML_BYTES: Final = 4 * 1024 * 1024
"""A build file of more bytes is better written by a program, as JSON."""
MAX_ALIASED: Final = 100_000
"""Values that aliases stand for, together."""
MAX_LEVELS: Final = 64

_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_DIGITS: Final = 18
"""Of a whole number of 64 bits."""
_WORDS: Final = {"": None, "null": None, "true": True, "false": False}
# libyaml's where PyYAML was built with it.
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True)
class _Open:
    """An object or array that is being read."""

    value: dict[str, Any] | list[Any]
    path: str
    anchor: str | None
    key: str | None = None
    weight: int = 1


@dataclass(slots=True)
class _Reading:
    """The events of one document, put together."""

    lines: dict[str, int] | None
    stack: list[_Open] = field(default_factory=list)
    anchors: dict[str, tuple[Any, int]] = field(default_factory=dict)
    aliased: int = 0
    result: Any = None

    def take(self, event: yaml.Event) -> None:
        line = _line(event.start_mark)
        if isinstance(event, yaml.ScalarEvent):
            self._check_tag(event.tag, line)
            is_key = self._is_key
            self._add(event.value if is_key or not event.implicit[0] else _plain(event.value), 1, event.anchor, line)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._check_tag(event.tag, line)
            self._open({} if isinstance(event, yaml.MappingStartEvent) else [], event.anchor, line)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            done = self.stack.pop()
            self._add(done.value, done.weight, done.anchor, None)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.anchors:
                _refuse(line, f"the alias *{event.anchor} stands before the end of what it stands for")
            value, weight = self.anchors[event.anchor]
            self.aliased += weight
            if self.aliased > MAX_ALIASED:
                _refuse(line, f"aliases stand for more than {MAX_ALIASED} values")
            if self._is_key and not isinstance(value, str):
                _refuse(line, "a key is a text")
            self._add(value, weight, None, line)

    @property
    def _is_key(self) -> bool:
        return bool(self.stack) and isinstance(self.stack[-1].value, dict) and self.stack[-1].key is None

    @property
    def _path(self) -> str:
        """The place of the next value."""
        if not self.stack:
            return ""
        top = self.stack[-1]
        if isinstance(top.value, list):
            return f"{top.path}[{len(top.value)}]"
        return f"{top.path}.{top.key}" if top.path else str(top.key)

    def _open(self, value: dict[str, Any] | list[Any], anchor: str | None, line: int) -> None:
        if self._is_key:
            _refuse(line, "a key is a text")
        if len(self.stack) == MAX_LEVELS:
            _refuse(line, f"nested deeper than {MAX_LEVELS} levels")
        path = "" if self.lines is None else self._path
        if self.lines is not None:
            self.lines[path] = line
        self.stack.append(_Open(value, path, anchor))

    def _add(self, value: Any, weight: int, anchor: str | None, line: int | None) -> None:
        """Put a complete value to its place; ``line`` is None where that was noted when it began."""
        if anchor is not None:
            self.anchors[anchor] = value, weight
        if not self.stack:
            self.result = value
            return
        top = self.stack[-1]
        top.weight += weight
        if self._is_key:
            if value in top.value:
                _refuse(line or 0, f"the key {value[:140]!r} is given twice; each key may stand once")
            top.key = value
            return
        if line is not None and self.lines is not None:
            self.lines[self._path] = line
        if isinstance(top.value, dict):
            top.value[str(top.key)] = value
            top.key = None
        else:
            top.value.append(value)

    @staticmethod
    def _check_tag(tag: str | None, line: int) -> None:
        if tag is not None:
            _refuse(line, f"the tag {tag[:140]!r} is not taken; a build file has plain values")


def read_yaml(text: str, lines: dict[str, int] | None = None) -> Any:
    """Return the value that ``text`` writes, made of what JSON has.

    An alias is the very value that it stands for, not a copy.

    Args:
        text: one document.
        lines: gets the line of each value by its path, as ``allotments[3].dst``.

    Raises:
        FormatError: it is not YAML, or has something that a build file does not take; the message says the line.
    """
    reading = _Reading(lines)
    documents = 0
    for event in _events(text):
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                _refuse(_line(event.start_mark), "a second document begins; a build file is one")
        reading.take(event)
    return reading.result


def _events(text: str) -> Iterator[yaml.Event]:
    try:
        yield from yaml.parse(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        _refuse(_line(error.problem_mark), f"not YAML: {error.problem or error.context}")
    except yaml.YAMLError as error:
        raise FormatError(f"not YAML: {' '.join(str(error).split())}") from None


def _line(mark: Any) -> int:
    """Return a line, counted from 1; 0 where it is not known."""
    return 0 if mark is None else int(mark.line) + 1


def _plain(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    found = _NUMBER.fullmatch(text)
    if found is None:
        return text
    if not (found[1] or found[2] or len(text) > _DIGITS):
        return int(text)
    number = float(text)
    return number if math.isfinite(number) else text


def _refuse(line: int, problem: str) -> NoReturn:
    raise FormatError(f"line {line}: {problem}") from None
