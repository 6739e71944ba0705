"""Content that may go, chosen; what is pinned never is, and what is read is left when it is to be removed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from proxy.cache.inventory import CachedBlob
from twodfs.oci.digest import Digest

FRESH: Final = 600.0
"""Seconds for which content that nothing names may be on the way to its image."""


@dataclass(frozen=True, slots=True)
class Pruning:
    """What is to go.

    Attributes:
        older_than: unused for so many seconds; None for any.
        to: only as long as more bytes than that are there; None for all that the rest says.
        unused: only what no manifest, tag or list names.
    """

    older_than: float | None = None
    to: int | None = None
    unused: bool = False


def chosen(
    blobs: Sequence[CachedBlob], pruning: Pruning, *, named: AbstractSet[Digest], now: float
) -> list[CachedBlob]:
    """Return the content that is to go, that used least recently first."""
    candidates = [one for one in blobs if not one.is_pinned]
    if pruning.older_than is not None:
        candidates = [one for one in candidates if now - one.used_at > pruning.older_than]
    if pruning.unused:
        candidates = [
            one for one in candidates if one.digest not in named and not one.names and now - one.used_at > FRESH
        ]
    candidates.sort(key=lambda one: (one.used_at, one.digest))
    if pruning.to is None:
        return candidates
    excess = sum(one.size for one in blobs) - pruning.to
    found = []
    for one in candidates:
        if excess <= 0:
            break
        found.append(one)
        excess -= one.size
    return found


def named_content(connection: sqlite3.Connection, roots: Iterable[Digest]) -> set[Digest]:
    """Return all content that ``roots`` name, directly or through others, and the roots themselves."""
    children: dict[str, list[str]] = {}
    for parent, child in connection.execute("SELECT DISTINCT parent, child FROM names"):
        children.setdefault(parent, []).append(child)
    found: set[str] = set()
    left = list[str](roots)
    while left:
        if (digest := left.pop()) not in found:
            found.add(digest)
            left += children.get(digest, ())
    return set(map(Digest, found))
