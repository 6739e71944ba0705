"""Whose credentials the registry accepted for which repository, and when.

Credentials are kept as hashes with a key of the edge directory, so that a node knows its clients again after a restart,
and a stolen state file shows none of them.
"""

from __future__ import annotations

import hmac
import sqlite3
import time
from typing import Final

from cachetools import LRUCache

from proxy.auth.identity import Identity
from proxy.edge.disk.state import State
from proxy.repository import Repository

ACCEPTANCES_TABLES: Final = (
    """CREATE TABLE IF NOT EXISTS acceptances (who BLOB NOT NULL, repository TEXT NOT NULL, accepted_at REAL NOT NULL,
    PRIMARY KEY (who, repository)) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS acceptances_by_age ON acceptances (accepted_at)",
)
_MOST_KNOWN: Final = 16_384
_SWEPT_EVERY: Final = 256
"""Writes between two times that what counts no more goes: a client with tokens has other credentials every time."""
_WRITTEN_EVERY: Final = 60.0
"""Seconds: a client that pulls all the time is written down once in so many."""


class Acceptances:
    """The registry's last yes to each client, for each repository."""

    def __init__(self, state: State, secret: bytes, *, good_for: float) -> None:
        """Keep them in ``state``.

        Args:
            state: of the node.
            secret: keys the hashes of credentials.
            good_for: seconds for which a yes counts while the registry cannot be asked.
        """
        self._state = state
        self._secret = secret
        self._good_for = good_for
        self._hashes: LRUCache[bytes, bytes] = LRUCache(_MOST_KNOWN)
        self._written: LRUCache[tuple[bytes, Repository], float] = LRUCache(_MOST_KNOWN)
        self._writes = 0

    @classmethod
    async def open(cls, state: State, secret: bytes, *, good_for: float) -> Acceptances:
        """Return the acceptances in ``state``; raises ``sqlite3.Error``."""
        await state.add(*ACCEPTANCES_TABLES)
        return cls(state, secret, good_for=good_for)

    def hashed(self, identity: Identity) -> bytes:
        """Return the hash that stands for the client's credentials in every process of the node."""
        known = self._hashes.get(identity.fingerprint)
        if known is None:
            parts = sorted((name.lower(), value) for name, value in identity.headers.items())
            message = b"".join(
                b"%s:%d:%s" % (name.encode(), len(value), value.encode("utf-8", "surrogateescape"))
                for name, value in parts
            )
            known = self._hashes[identity.fingerprint] = hmac.digest(self._secret, message, "sha256")
        return known

    async def accepted(self, identity: Identity, repository: Repository) -> None:
        """Keep that the registry let this client read something in ``repository`` just now."""
        await self.keep(self.hashed(identity), repository)

    async def keep(self, who: bytes, repository: Repository) -> None:
        """Do the same for the credentials with the hash ``who``."""
        now = time.time()
        if 0 <= now - self._written.get((who, repository), 0.0) < _WRITTEN_EVERY:
            return
        self._writes += 1
        is_turn = self._writes % _SWEPT_EVERY == 1

        def write(connection: sqlite3.Connection) -> None:
            if is_turn:
                connection.execute("DELETE FROM acceptances WHERE accepted_at < ?", (now - self._good_for,))
            connection.execute("INSERT OR REPLACE INTO acceptances VALUES (?, ?, ?)", (who, str(repository), now))

        if await self._state.remember(write):
            self._written[who, repository] = now

    async def refused(self, identity: Identity, repository: Repository) -> None:
        """Forget the client's yes: the registry says no to its credentials."""
        await self.drop(self.hashed(identity), repository)

    async def drop(self, who: bytes, repository: Repository) -> None:
        """Do the same for the credentials with the hash ``who``."""
        self._written.pop((who, repository), None)
        await self._state.remember(
            lambda connection: connection.execute(
                "DELETE FROM acceptances WHERE who = ? AND repository = ?", (who, str(repository))
            )
        )

    async def is_accepted_lately(self, identity: Identity, repository: Repository) -> bool:
        """Say whether this client may read ``repository`` while the registry cannot be asked."""
        return identity.may_pull(repository) or await self.has(self.hashed(identity), repository)

    async def has(self, who: bytes, repository: Repository) -> bool:
        """Do the same for the credentials with the hash ``who``."""
        row = await self._state.read(
            lambda connection: connection.execute(
                "SELECT accepted_at FROM acceptances WHERE who = ? AND repository = ?", (who, str(repository))
            ).fetchone()
        )
        # A box without a clock of its own may start in the past: its clients must not be locked out for that.
        return row is not None and abs(time.time() - row[0]) <= self._good_for
