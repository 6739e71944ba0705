"""The allotments of a build file.

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

from dataclasses import dataclass, replace
from glob import has_magic
from pathlib import Path
from typing import Any

from twodfs.errors import FormatError, within
from twodfs.field.allotment import MAX_COORDINATE
from twodfs.field.labels import parse_label
from twodfs.layers.build_file.keys import ALLOTMENT_KEYS, MAX_ID, check_keys
from twodfs.layers.build_file.values import (
    one_or_more,
    parse_flag,
    parse_mode,
    parse_number,
    parse_platforms_of,
    parse_texts,
)
from twodfs.layers.content import MadeContent
from twodfs.layers.destinations import parse_destination
from twodfs.layers.ignoring import Ignoring
from twodfs.oci.documents import Json, expect
from twodfs.oci.platforms import Platform


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
        ignore: patterns of files to leave out; None: see ``ignoring``.
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
    ignore: tuple[str, ...] | None = None
    content: MadeContent | None = None
    link: str = ""

    @property
    def is_made(self) -> bool:
        """Whether it is described in the build file, and not on the disk."""
        return self.content is not None or bool(self.link)


@dataclass(frozen=True, slots=True)
class Cell:
    """An allotment to be built.

    Attributes:
        row: of the field.
        col: the column.
        copies: its files.
        platforms: those whose images have it; empty for all.
        label: its name for people; empty for none.
    """

    row: int
    col: int
    copies: tuple[Copy, ...]
    platforms: tuple[Platform, ...] = ()
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

    def is_for(self, platform: Platform) -> bool:
        """Say whether an image of ``platform`` has it."""
        return not self.platforms or any(platform.matches(one) for one in self.platforms)

    def may_be_for(self, platform: Platform) -> bool:
        """Say whether an image of ``platform``, or of a variant of it, may have it."""
        return self.is_for(platform) or any(one.matches(platform) for one in self.platforms)

    def may_meet(self, other: Cell) -> bool:
        """Say whether an image may have both."""
        return not other.platforms or any(map(self.may_be_for, other.platforms))


def parse_cell(entry: object, directory: Path, path: str, ignore: tuple[str, ...] | None) -> Cell:
    """Return the allotment in ``entry``.

    Args:
        entry: parsed JSON.
        directory: sources are relative to it.
        path: where in the build file the entry is.
        ignore: the patterns of the whole file.

    Raises:
        FormatError: malformed; with the path inside the entry.
    """
    raw = expect(entry, dict, "")
    check_keys(raw, ALLOTMENT_KEYS)
    sources, targets = list(_one_or_more(raw, "src")), [(_path(one, at), at) for one, at in _one_or_more(raw, "dst")]
    if len(sources) != len(targets):
        raise FormatError(f"{len(targets)} destinations for {len(sources)} sources; each src has one dst", "dst")
    mode = parse_mode(raw)
    uid, gid = (parse_number(raw.get(key, 0), key, MAX_ID) for key in ("uid", "gid"))
    row, col = (parse_number(raw.get(key), key, MAX_COORDINATE) for key in ("row", "col"))
    follow = parse_flag(raw, "follow")
    own = parse_texts(raw, "ignore")
    if own is not None:
        Ignoring.parse(own)
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
                ignore=ignore if own is None else own,
            )
        )
    label = parse_label(raw["label"], "label") if raw.get("label") is not None else ""
    return Cell(row, col, tuple(copies), parse_platforms_of(raw), label)


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


def _one_or_more(raw: Json, key: str) -> list[tuple[Any, str]]:
    found = list(one_or_more(raw, key))
    if not found:
        raise FormatError("expected at least one path, found none", key)
    return found


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
