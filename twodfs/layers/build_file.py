"""The build file, ``2dfs.json``: which files make up which allotment.

::

    {"allotments": [{"src": "./a.bin", "dst": "/models/a.bin", "row": 0, "col": 0},
                    {"src": ["./b.bin", "./tokenizer"], "dst": ["/b.bin", "/tokenizer"], "row": 0, "col": 1}]}

``partitions`` may name selections of them: ``{"partitions": {"edge": "0.0.0.1"}, "allotments": [...]}``.

``src`` is a file, a directory or a pattern, relative to the build file; the n-th ``dst`` is where the n-th
``src`` goes. A directory's content goes below its ``dst``, and so do the matches of a pattern, under their paths
below the pattern's last directory without wildcards: ``"weights/**/*.bin"`` to ``"/m"`` makes ``/m/a/1.bin``
of ``weights/a/1.bin``. ``*``, ``?``, ``[...]`` and ``**`` are wildcards, unless a file has that very name.
A ``dst`` that ends in a slash is a directory that a file goes into, under its own name.

A ``src`` that is a link stands for its target. Links that a pattern matches or a directory holds are kept, as
long as they stay in the source; files of the same repository of a model hub's cache are taken in their place,
and others that leave the source are an error, unless ``"follow": true`` (take all files that links lead to)
or ``"follow": false`` (keep all links) decides.

``"mode": "0640"``, ``"uid": 10`` and ``"gid": 10`` are those of all files of an allotment; ``"04755"`` and
``"1777"`` are modes, too. Without, files belong to root and all may read them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from glob import has_magic
from pathlib import Path
from typing import Any, Final

from twodfs.errors import BuildFileError, FormatError, within
from twodfs.field.allotment import MAX_COORDINATE
from twodfs.field.names import parse_partitions
from twodfs.field.partition import Selection
from twodfs.files import open_file, read_up_to
from twodfs.layers.content import MadeContent
from twodfs.layers.coverage import empty_rectangles
from twodfs.layers.destinations import parse_destination
from twodfs.layers.expansion import expand_models
from twodfs.oci.documents import Json, expect, parse_object

MAX_BUILD_FILE_BYTES: Final = 64 * 1024 * 1024

_FILE_KEYS = ("allotments", "partitions", "models")
_ALLOTMENT_KEYS = ("src", "dst", "row", "col", "mode", "uid", "gid", "follow")
_MODE = re.compile(r"0?[0-7]{3,4}")
_MAX_ID = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Copy:
    """A file or directory to put into an allotment, or all that match a pattern.

    Attributes:
        source: the path to read, or the directory that ``pattern`` starts from.
        target: where it goes in the image: without a leading slash, empty for the root directory.
        path: where in the build file it is written, as ``allotments[3].src[1]``.
        pattern: the pattern below ``source``; empty where the build file has no wildcards.
        mode: permission bits of the files; None for those of any layer, see ``members``.
        uid: the owner of the copied files.
        gid: the owner's group.
        into: whether ``target`` is a directory that a file goes into, under its own name.
        follow: whether files are taken in the place of links that lead to them; None: see ``links``.
        content: of a file that is made, see ``made``; its ``source`` is its name alone.
        link: what a link says that is made; empty for all else.
    """

    source: Path
    target: str
    path: str
    pattern: str = ""
    mode: int | None = None
    uid: int = 0
    gid: int = 0
    into: bool = False
    follow: bool | None = None
    content: MadeContent | None = None
    link: str = ""

    @property
    def is_made(self) -> bool:
        """Whether it is described in the build file, and not on the disk."""
        return self.content is not None or bool(self.link)


@dataclass(frozen=True, slots=True)
class Cell:
    """An allotment to be built; ``label`` says for people what it holds, where that is known."""

    row: int
    col: int
    copies: tuple[Copy, ...]
    label: str = ""

    @property
    def name(self) -> str:
        """``ROW/COL``."""
        return f"{self.row}/{self.col}"

    @property
    def path(self) -> str:
        """Where in the build file it is written, as ``allotments[3]``."""
        return self.copies[0].path.partition(".")[0]

    @property
    def sources(self) -> str:
        """Where its files come from, shortened."""
        first, *others = (one.pattern or one.source.name or str(one.source) for one in self.copies)
        return f"{first} and {len(others)} more" if others else first

    @property
    def place(self) -> str:
        """Its row, column and sources."""
        return f"row {self.row}, column {self.col}, {self.sources}"


@dataclass(frozen=True, slots=True)
class BuildFile:
    """A build file.

    Attributes:
        cells: its allotments.
        partitions: selections by name.
        file: where it was read; None where it was not.
        notes: what a person should know about its models.
    """

    cells: tuple[Cell, ...]
    partitions: Mapping[str, Selection] = field(default_factory=dict)
    file: Path | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def parse(cls, body: bytes, directory: Path) -> BuildFile:
        """Return the build file in ``body``, whose sources are relative to ``directory``.

        Raises:
            FormatError: malformed, with a path like ``allotments[3].dst``.
        """
        raw = parse_object(body)
        _only(raw, _FILE_KEYS)
        expansion = expand_models(raw.get("models"), directory)
        entries = expect(raw.get("allotments", [] if expansion.entries else None), list, "allotments")
        if not entries and not expansion.entries:
            raise FormatError("a field needs at least one allotment", "allotments")
        cells = []
        for at, entry in enumerate(entries):
            with within(f"allotments[{at}]"):
                cells.append(_cell(entry, directory, f"allotments[{at}]"))
        for one in expansion.entries:
            with within(one.path):
                cells.append(replace(_cell(one.entry, directory, one.path), label=one.label))
        _check_places(cells)
        _check_targets(cells)
        partitions = parse_partitions(_with_models(raw.get("partitions"), expansion.partitions))
        _check_partitions(partitions, cells)
        return cls(tuple(cells), partitions, notes=expansion.notes)

    @classmethod
    def load(cls, path: Path) -> BuildFile:
        """Return the build file in the file ``path``, whose sources all exist.

        Raises:
            BuildFileError: it cannot be read, is malformed, or a source is missing; the message says where.
        """
        try:
            with open_file(path) as opened:
                body = read_up_to(opened, MAX_BUILD_FILE_BYTES + 1)
        except OSError as error:
            raise BuildFileError(f"cannot read the build file {path}: {error.strerror}") from None
        if len(body) > MAX_BUILD_FILE_BYTES:
            raise BuildFileError(f"{path} has more than {MAX_BUILD_FILE_BYTES} bytes; is it a build file?")
        with mistakes_of(path):
            loaded = replace(cls.parse(body, path.parent), file=path)
            _check_sources(loaded)
        return loaded


@contextmanager
def mistakes_of(file: Path | None) -> Iterator[None]:
    """Make a ``BuildFileError`` that names the build file of every ``FormatError`` raised in the block."""
    try:
        yield
    except FormatError as error:
        raise BuildFileError(f"{file}: {error}" if file else str(error)) from None


def _with_models(raw: object, partitions: Mapping[str, str]) -> object:
    """Return the partitions that are written in ``raw``, with those of models."""
    if not partitions:
        return raw
    written = {} if raw is None else expect(raw, dict, "partitions")
    twice = next((name for name in partitions if name in written), None)
    if twice is not None:
        raise FormatError(f"{twice!r} is the name of a model's partition", f"partitions.{twice}")
    return {**written, **partitions}


def _cell(entry: object, directory: Path, path: str) -> Cell:
    raw = expect(entry, dict, "")
    _only(raw, _ALLOTMENT_KEYS)
    sources, targets = list(_one_or_more(raw, "src")), [(_path(one, at), at) for one, at in _one_or_more(raw, "dst")]
    if len(sources) != len(targets):
        raise FormatError(f"{len(targets)} destinations for {len(sources)} sources; each src has one dst", "dst")
    mode = _mode(raw)
    uid, gid = (_number(raw.get(key, 0), key, _MAX_ID) for key in ("uid", "gid"))
    row, col = (_number(raw.get(key), key, MAX_COORDINATE) for key in ("row", "col"))
    follow = raw.get("follow")
    if follow is not None and not isinstance(follow, bool):
        raise FormatError(f"expected true or false, found {type(follow).__name__}", "follow")
    copies = []
    for (source, source_path), (target, target_path) in zip(sources, targets, strict=True):
        copy = _source(source, source_path, directory, target, target_path)
        copies.append(
            replace(
                copy,
                target=parse_destination(target, target_path),
                path=f"{path}.{source_path}",
                mode=mode,
                uid=uid,
                gid=gid,
                follow=follow,
            )
        )
    return Cell(row, col, tuple(copies))


def _source(source: Any, path: str, directory: Path, target: str, target_path: str) -> Copy:
    """Return a copy of ``source``, without what its allotment says."""
    if not isinstance(source, dict):
        fixed, pattern = _split(_path(source, path), path)
        return Copy(directory / fixed, target, path, pattern, into=target.endswith("/"))
    if target.endswith("/"):
        raise FormatError("what is described in place of a path needs a name", target_path)
    from twodfs.layers.made import parse_made  # noqa: PLC0415 - most build files have none: a start is short

    with within(path):
        made = parse_made(source, directory)
    return Copy(Path(target.rpartition("/")[2]), target, path, content=made.content, link=made.link)


def _only(raw: Json, allowed: Sequence[str]) -> None:
    for key in raw:
        if key not in allowed:
            raise FormatError(f"unknown key {key[:140]!r}; allowed: {', '.join(allowed)}")


def _one_or_more(raw: Json, key: str) -> Iterator[tuple[Any, str]]:
    """Yield each value under ``key``, one or an array of them, with its path."""
    value: Any = raw.get(key)
    one = isinstance(value, str | dict)
    entries = [value] if one else expect(value, list, key)
    if not entries:
        raise FormatError("expected at least one path, found none", key)
    for at, entry in enumerate(entries):
        yield entry, key if one else f"{key}[{at}]"


def _path(value: object, path: str) -> str:
    text = expect(value, str, path)
    if not text or "\0" in text:
        raise FormatError("expected a path, found none" if not text else "a path has no NUL in it", path)
    return text


def _split(source: str, path: str) -> tuple[str, str]:
    """Return ``source`` up to its first part with a wildcard, and the rest; empty without wildcards."""
    if not has_magic(source):
        return source, ""
    parts = source.split("/")
    first = next(at for at, part in enumerate(parts) if has_magic(part))
    pattern = [part for part in parts[first:-1] if part not in ("", ".")] + ["" if parts[-1] == "." else parts[-1]]
    if ".." in pattern:
        raise FormatError(f"{source!r} climbs with '..' behind a wildcard", path)
    return "/".join(parts[:first]) or ("/" if first else ""), "/".join(pattern)


def _mode(raw: Json) -> int | None:
    value = raw.get("mode")
    if value is None:
        return None
    if not isinstance(value, str) or not _MODE.fullmatch(value):
        raise FormatError(f"{value!r} is no mode; expected three or four octal digits in a string, as '0644'", "mode")
    return int(value, 8)


def _number(value: object, key: str, largest: int) -> int:
    # An integer beyond 64 bits is parsed as a float.
    number = value if isinstance(value, float) and abs(value) > largest else expect(value, int, key)
    if not 0 <= number <= largest:
        raise FormatError(f"{number} is outside 0..{largest}", key)
    return int(number)


def _check_places(cells: Sequence[Cell]) -> None:
    first: dict[tuple[int, int], Cell] = {}
    for cell in cells:
        other = first.setdefault((cell.row, cell.col), cell)
        if other is not cell:
            raise FormatError(
                f"row {cell.row}, column {cell.col} is given twice: first in '{other.path}', then", cell.path
            )


def _check_targets(cells: Sequence[Cell]) -> None:
    first: dict[str, str] = {}
    for cell in cells:
        for copy in (one for one in cell.copies if not one.pattern and not one.into):
            path = copy.path.replace(".src", ".dst")
            other = first.setdefault(copy.target, path)
            if other != path:
                raise FormatError(f"'/{copy.target}' is given twice: first in '{other}', then", path)


def _check_partitions(partitions: Mapping[str, Selection], cells: Sequence[Cell]) -> None:
    named = [(name, one) for name, selection in partitions.items() for one in selection.rectangles]
    for at in empty_rectangles([one for _, one in named], ((cell.row, cell.col) for cell in cells)):
        name, one = named[at]
        raise FormatError(f"{one} selects no allotment of this file", f"partitions.{name}")


def _check_sources(file: BuildFile) -> None:
    for cell in file.cells:
        for copy in cell.copies:
            if copy.pattern or copy.is_made:
                continue
            try:
                copy.source.stat()
            except (FileNotFoundError, NotADirectoryError):
                raise FormatError(f"there is no file {str(copy.source)!r}", copy.path) from None
            except OSError as error:
                raise FormatError(f"cannot read {str(copy.source)!r}: {error.strerror}", copy.path) from None
