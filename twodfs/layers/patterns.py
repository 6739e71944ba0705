"""Patterns of paths: ``*``, ``?`` and ``[...]`` within a name, ``**`` for any number of directories.

As in a shell, a wildcard does not match a leading dot. ``**`` enters no link: links may go round.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from glob import has_magic
from pathlib import Path
from typing import Final

from twodfs.errors import BuildError

ANY_DEPTH: Final = "**"


def find_matches(directory: Path, pattern: str) -> list[str]:
    """Return the paths below ``directory`` that ``pattern`` matches, sorted.

    A path below another match is left out: it comes with a directory, and stays behind a link.

    Raises:
        BuildError: a directory cannot be read.
    """
    found = set(_expand(directory, "", pattern.split("/")))
    return sorted(name for name in found if found.isdisjoint(parents_of(name)))


def parents_of(name: str) -> Iterator[str]:
    """Yield the directories above ``name``, the outermost first."""
    at = name.find("/")
    while at != -1:
        yield name[:at]
        at = name.find("/", at + 1)


def _expand(root: Path, at: str, parts: Sequence[str]) -> Iterator[str]:
    """Yield the matches of ``parts`` below ``at``, a directory below ``root``; its name ends their names."""
    part, *rest = parts
    if part == ANY_DEPTH:
        yield from _expand_depths(root, at, rest)
    elif not part:  # behind the last slash, which only directories have
        yield from [at] if at else []
    elif has_magic(part):
        for entry in _entries(root / at):
            if _is_match(entry.name, part):
                yield from _go_on(root, _join(at, entry.name), rest)
    else:
        yield from _go_on(root, _join(at, part), rest)


def _go_on(root: Path, name: str, rest: Sequence[str]) -> Iterator[str]:
    if not rest:
        if os.path.lexists(root / name):
            yield name
    elif os.path.isdir(root / name):  # noqa: PTH112 - Path.is_dir raises where a name is too long
        yield from _expand(root, name, rest)


def _expand_depths(root: Path, at: str, rest: Sequence[str]) -> Iterator[str]:
    if rest:
        yield from _expand(root, at, rest)
    elif at:
        yield at
        return  # all else that matches is in it
    if at and (root / at).is_symlink():
        return
    for entry in _entries(root / at):
        if not _is_match(entry.name, "*"):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _expand_depths(root, _join(at, entry.name), rest)
        elif not rest:
            yield _join(at, entry.name)


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError as error:
        raise BuildError(f"cannot read {directory}: {error.strerror}") from None


def _is_match(name: str, part: str) -> bool:
    return fnmatchcase(name, part) and (part.startswith(".") or not name.startswith("."))


def _join(at: str, name: str) -> str:
    return f"{at}/{name}" if at else name
