"""Which content the registry gave under which repository.

A registry may take a manifest that names blobs of other repositories. So a manifest that a client may read says
nothing yet about a blob that another repository brought here: the registry must have given that blob, or said yes to
a question about it, under the manifest's own repository.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from cachetools import LRUCache

from proxy.edge.disk.state import State
from proxy.repository import Repository
from twodfs.oci.digest import Digest

PLACES_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS places (repository TEXT NOT NULL, digest TEXT NOT NULL, seen_at REAL NOT NULL, "
    "PRIMARY KEY (digest, repository)) WITHOUT ROWID"
)
_MOST_KNOWN: Final = 16_384


class Places:
    """Remembers for good: content does not change, and a deletion takes the manifests that name it."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._known: LRUCache[tuple[Repository, Digest], bool] = LRUCache(_MOST_KNOWN)

    @classmethod
    async def open(cls, state: State) -> Places:
        """Return the places in ``state``; raises ``sqlite3.Error``."""
        await state.add(PLACES_TABLE)
        return cls(state)

    async def has(self, repository: Repository, digest: Digest) -> bool:
        """Say whether the registry is known to have given the content with ``digest`` under ``repository``."""
        place = (repository, digest)
        if place not in self._known:
            found = await self._state.read(
                lambda connection: connection.execute(
                    "SELECT 1 FROM places WHERE digest = ? AND repository = ?", (digest, str(repository))
                ).fetchone()
            )
            if found is None:
                return False
            self._known[place] = True
        return True

    async def remember(self, repository: Repository, digests: Iterable[Digest]) -> None:
        """Keep that the registry gave the content with ``digests`` under ``repository``."""
        new = [digest for digest in digests if (repository, digest) not in self._known]
        if not new:
            return
        rows = [(str(repository), digest, time.time()) for digest in new]
        if await self._state.remember(
            lambda connection: connection.executemany("INSERT OR IGNORE INTO places VALUES (?, ?, ?)", rows)
        ):
            self._known.update(((repository, digest), True) for digest in new)
