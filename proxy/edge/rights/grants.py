"""Who may read which content of an edge node, as far as is known without a question to the registry.

The registry's yes to a client for a manifest covers the content that this manifest names, and nothing else; it counts
for ``auth.ttl`` seconds, in every worker of the node.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Final

from proxy.auth.grants import Grants
from proxy.auth.identity import Identity
from proxy.edge.disk.state import State
from proxy.edge.rights.acceptances import Acceptances
from proxy.edge.rights.names import Names
from proxy.edge.rights.places import Places
from proxy.repository import Repository
from twodfs.oci.digest import Digest

GRANTS_TABLES: Final = (
    """CREATE TABLE IF NOT EXISTS grants (who BLOB NOT NULL, repository TEXT NOT NULL, digest TEXT NOT NULL,
    until REAL NOT NULL, PRIMARY KEY (who, repository, digest)) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS grants_by_age ON grants (until)",
)
_SWEPT_EVERY: Final = 256
"""Writes between two times that what counts no more goes."""


class EdgeGrants(Grants):
    """Grants that cover content, too, and that the workers of a node share."""

    def __init__(
        self,
        ttl: float,
        state: State,
        *,
        acceptances: Acceptances,
        names: Names,
        places: Places,
        is_shared: bool,
    ) -> None:
        """Share them by ``state``.

        Args:
            ttl: seconds for which a yes is good; 0 for never.
            state: of the node.
            acceptances: hears of each yes, for the time when the registry cannot be asked.
            names: which manifests name which content.
            places: which content the registry gave under which repository.
            is_shared: whether there are other workers.
        """
        super().__init__(ttl)
        self._state = state
        self._acceptances = acceptances
        self._names = names
        self._places = places
        self._is_shared = is_shared and bool(ttl)
        self._writes = 0

    @classmethod
    async def open(
        cls, ttl: float, state: State, *, acceptances: Acceptances, names: Names, places: Places, is_shared: bool
    ) -> EdgeGrants:
        """Return the grants in ``state``; raises ``sqlite3.Error``."""
        await state.add(*GRANTS_TABLES)
        return cls(ttl, state, acceptances=acceptances, names=names, places=places, is_shared=is_shared)

    async def remember(self, identity: Identity, repository: Repository, source: Digest, asked_at: float) -> None:
        """Keep the registry's yes to a question asked at ``asked_at`` (``time.monotonic``), for all workers."""
        await super().remember(identity, repository, source, asked_at)
        await self._places.remember(repository, (source,))
        if identity.may_pull(repository):
            return  # which the registry was not asked
        await self._acceptances.accepted(identity, repository)
        if self._is_shared:
            until = time.time() + asked_at - time.monotonic() + self._ttl
            row = (self._acceptances.hashed(identity), str(repository), source, until)
            self._writes += 1
            is_turn = self._writes % _SWEPT_EVERY == 1

            def write(connection: sqlite3.Connection) -> None:
                if is_turn:
                    connection.execute("DELETE FROM grants WHERE until < ?", (time.time(),))
                connection.execute("INSERT OR REPLACE INTO grants VALUES (?, ?, ?, ?)", row)

            await self._state.remember(write)

    async def forget(self, repository: Repository) -> None:
        """Drop every grant in ``repository``, of all workers' as far as they are written down."""
        await super().forget(repository)
        if self._is_shared:
            await self._state.remember(
                lambda connection: connection.execute("DELETE FROM grants WHERE repository = ?", (str(repository),))
            )

    async def covers(self, identity: Identity, repository: Repository, digest: Digest) -> bool:
        """Say whether this client may read the content with ``digest`` in ``repository`` without another question.

        It may when the registry gave this content under this repository, and said yes to this client, for the content
        or for a document that names it.

        Raises:
            sqlite3.Error: the state cannot be read.
        """
        if not await self._places.has(repository, digest):
            return False
        if self.holds(identity, repository, digest):
            return True
        if self._until is None:
            return False
        if any(self.holds(identity, repository, one) for one in self._names.known_parents(repository, digest)):
            return True
        sources = await self._names.ancestors(repository, digest)
        if self._is_shared:
            await self._learn(identity, repository)
        return any(self.holds(identity, repository, one) for one in (digest, *sources))

    async def _learn(self, identity: Identity, repository: Repository) -> None:
        """Take over the yes that other workers got for this client."""
        question = (self._acceptances.hashed(identity), str(repository), time.time())
        rows = await self._state.read(
            lambda connection: connection.execute(
                "SELECT digest, until FROM grants WHERE who = ? AND repository = ? AND until > ?", question
            ).fetchall()
        )
        now, clock = time.time(), time.monotonic()
        for digest, until in rows:
            if until - now <= self._ttl:  # else the clock was set back
                self._keep(identity, repository, Digest(digest), clock + until - now)
