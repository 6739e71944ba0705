"""Images that stay, whatever makes room.

A pin holds what a manifest or index names, directly or through others, and may hold more: what it takes to cut a
partition again without the allotments that it does not have.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from proxy.edge.disk.state import State
from proxy.repository import Repository
from twodfs.oci.digest import Digest

NAMES_TABLES: Final = (
    """CREATE TABLE IF NOT EXISTS names (repository TEXT NOT NULL, parent TEXT NOT NULL, child TEXT NOT NULL,
    size INTEGER NOT NULL, PRIMARY KEY (repository, child, parent)) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS children ON names (repository, parent)",
)
"""Which documents name which content; ``proxy.edge.rights.names`` writes them."""
PIN_TABLES: Final = (
    """CREATE TABLE IF NOT EXISTS pins (repository TEXT NOT NULL, reference TEXT NOT NULL, digest TEXT NOT NULL,
    at REAL NOT NULL, PRIMARY KEY (repository, reference)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS pinned_beside (repository TEXT NOT NULL, reference TEXT NOT NULL,
    digest TEXT NOT NULL, PRIMARY KEY (repository, reference, digest)) WITHOUT ROWID""",
    # All that stays.
    """CREATE VIEW IF NOT EXISTS pinned AS
    WITH RECURSIVE reached (repository, digest) AS (
        SELECT repository, digest FROM pins
        UNION
        SELECT names.repository, names.child FROM names
        JOIN reached ON names.repository = reached.repository AND names.parent = reached.digest
    )
    SELECT digest FROM reached UNION SELECT digest FROM pinned_beside""",
)


@dataclass(frozen=True, slots=True)
class Pin:
    """An image that stays, as it was when it was pinned."""

    repository: str
    """As ``Repository`` is written."""
    reference: str
    digest: Digest
    at: float
    """Seconds since the epoch."""

    @property
    def place(self) -> Repository:
        """The repository."""
        return Repository.of_key(self.repository)


class Pins:
    """The pins of an edge directory; each method raises ``sqlite3.Error``."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def pin(self, repository: Repository, reference: str, digest: Digest, also: Iterable[Digest] = ()) -> None:
        """Let ``digest`` and all that it names stay, in the place of what had this reference before.

        Args:
            repository: where its documents are known to name content.
            reference: the tag or digest that it is pinned by, of an image or a partition.
            digest: of the manifest or index.
            also: content that stays too, by itself: what it names does not.
        """
        key = (str(repository), reference)
        beside = [(*key, one) for one in also]
        pinned = (*key, digest, time.time())

        def replace(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO pins VALUES (?, ?, ?, ?)", pinned)
            connection.execute("DELETE FROM pinned_beside WHERE repository = ? AND reference = ?", key)
            connection.executemany("INSERT OR IGNORE INTO pinned_beside VALUES (?, ?, ?)", beside)

        await self._state.run(replace)

    async def unpin(self, repository: Repository, reference: str) -> bool:
        """Let it go again; say whether it was pinned."""
        key = (str(repository), reference)

        def delete(connection: sqlite3.Connection) -> bool:
            connection.execute("DELETE FROM pinned_beside WHERE repository = ? AND reference = ?", key)
            return connection.execute("DELETE FROM pins WHERE repository = ? AND reference = ?", key).rowcount > 0

        return await self._state.run(delete)

    async def all(self) -> tuple[Pin, ...]:
        """Return all pins, by repository and reference."""
        rows = await self._state.read(
            lambda c: c.execute("SELECT repository, reference, digest, at FROM pins ORDER BY 1, 2").fetchall()
        )
        return tuple(Pin(*row) for row in rows)

    async def pinned(self) -> frozenset[Digest]:
        """Return all content that stays."""
        rows = await self._state.read(lambda c: c.execute("SELECT digest FROM pinned").fetchall())
        return frozenset(Digest(digest) for (digest,) in rows)
