"""Files of a source that are left out: patterns in the syntax of ``.dockerignore``.

A pattern begins at the source: ``*.tmp`` are files at its top, ``**/*.tmp`` those at any depth. What a directory
holds goes with it; ``!`` in front takes files back, and of several patterns the last one that matches counts.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from twodfs.errors import FormatError
from twodfs.layers.patterns import parents_of

if TYPE_CHECKING:
    from pathspec.patterns.gitignore.basic import GitIgnoreBasicPattern

UNASKED: Final = frozenset({".git", "__pycache__"})
"""Names in directories that are left out where a build file does not say what is."""
MAX_PATTERNS: Final = 1000
"""Each path is held against each of them."""
_MAX_PATTERN: Final = 1000
_ASTERISKS: Final = re.compile(r"\*+")
MAX_WILDCARDS: Final = 4
"""Runs of asterisks in a pattern: a regular expression tries all ways to share a name among them."""


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: GitIgnoreBasicPattern
    ignores: bool


@dataclass(frozen=True, slots=True)
class Ignoring:
    """Patterns, ready to be held against paths."""

    rules: tuple[_Rule, ...]

    @classmethod
    def parse(cls, patterns: Sequence[str], path: str = "ignore") -> Ignoring:
        """Return the rules that ``patterns`` write.

        Raises:
            FormatError: one of them has another form; ``path`` is that of the array.
        """
        if len(patterns) > MAX_PATTERNS:
            raise FormatError(f"more than {MAX_PATTERNS} patterns", path)
        return cls(tuple(rule for at, text in enumerate(patterns) for rule in _rules(text, f"{path}[{at}]")))

    @property
    def takes_back(self) -> bool:
        """Whether a file may be taken though its directory is left out."""
        return any(not rule.ignores for rule in self.rules)

    def ignores(self, name: str) -> bool:
        """Say whether the file or directory ``name`` of the source is left out."""
        ignored = False
        places = (*parents_of(name), name)
        for rule in self.rules:
            if rule.ignores != ignored and any(map(rule.pattern.match_file, places)):
                ignored = rule.ignores
        return ignored


@lru_cache(64)
def ignoring(patterns: tuple[str, ...]) -> Ignoring:
    """Return what ``Ignoring.parse`` does; remembered."""
    return Ignoring.parse(patterns)


def _rules(text: str, path: str) -> Iterator[_Rule]:
    # As Docker does it: moby/patternmatcher, ignorefile.ReadAll and New.
    written = text.strip()
    if not written or written.startswith("#"):
        return
    ignores = not written.startswith("!")
    cleaned = posixpath.normpath(f"/{written.removeprefix('!').strip()}").lstrip("/")
    if ".." in text.split("/"):
        raise FormatError(f"{text[:140]!r} climbs with '..'; patterns begin at the source", path)
    if not cleaned:
        raise FormatError(f"{text[:140]!r} matches nothing, or all there is", path)
    if len(cleaned) > _MAX_PATTERN or len(_ASTERISKS.findall(cleaned)) > MAX_WILDCARDS:
        raise FormatError(
            f"a pattern has {_MAX_PATTERN} characters and {MAX_WILDCARDS} places with asterisks at most", path
        )
    from pathspec.patterns.gitignore import GitIgnorePatternError  # noqa: PLC0415 - most build files need none
    from pathspec.patterns.gitignore.basic import GitIgnoreBasicPattern  # noqa: PLC0415

    try:
        yield _Rule(GitIgnoreBasicPattern(f"/{cleaned}"), ignores)
    except (GitIgnorePatternError, re.error) as error:
        raise FormatError(f"{text[:140]!r} is no pattern: {error}", path) from None
