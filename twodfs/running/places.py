"""The directories that hold an image's files. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FilePlaces:
    """Where an image has its files.

    Attributes:
        directories: the fewest that hold all of them but those right below the root.
        loose: files right below the root.
    """

    directories: tuple[str, ...] = ()
    loose: tuple[str, ...] = ()

    @classmethod
    def of(cls, paths: Iterable[str]) -> FilePlaces:
        """Return those of the files ``paths``: of each first directory, the deepest one that holds all there."""
        by_first: dict[str, str] = {}
        loose: set[str] = set()
        for path in paths:
            first = path.split("/", 2)[1]
            directory = posixpath.dirname(path)
            if directory == "/":
                loose.add(path)
            else:
                by_first[first] = posixpath.commonpath((by_first.get(first, directory), directory))
        return cls(tuple(sorted(by_first.values())), tuple(sorted(loose)))

    @property
    def all(self) -> tuple[str, ...]:
        """Directories, then loose files."""
        return (*self.directories, *self.loose)
