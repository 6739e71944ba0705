"""Who may read what, with and without the registry."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from proxy.edge.offline.questions import EdgeQuestion
from proxy.edge.rights.acceptances import Acceptances
from proxy.edge.rights.grants import EdgeGrants
from proxy.edge.rights.places import Places
from twodfs.oci.digest import Digest


@dataclass(frozen=True, slots=True)
class OfflineRights:
    """What the registry said to each client, and what of it still counts."""

    grants: EdgeGrants
    acceptances: Acceptances
    places: Places

    async def covers(self, question: EdgeQuestion) -> bool:
        """Say whether the client may read the content that it asks for without a question to the registry."""
        try:
            return await self.grants.covers(question.identity, question.repository, question.digest)
        except sqlite3.Error:
            return False

    async def may_read_offline(self, question: EdgeQuestion) -> bool:
        """Say whether the client may read in the repository while the registry cannot be asked."""
        if question.kind == "root":
            return True  # its answer is remembered for these credentials alone
        try:
            return await self.acceptances.is_accepted_lately(question.identity, question.repository)
        except sqlite3.Error:
            return False

    async def is_there(self, question: EdgeQuestion) -> bool:
        """Say whether the registry gave the content that is asked for under this repository."""
        try:
            return await self.places.has(question.repository, question.digest)
        except sqlite3.Error:
            return False

    async def accepted(self, question: EdgeQuestion, digest: Digest, asked_at: float) -> None:
        """Keep the registry's yes to this client; ``asked_at`` is ``time.monotonic`` of the question."""
        await self.grants.remember(question.identity, question.repository, digest, asked_at)

    async def refused(self, question: EdgeQuestion) -> None:
        """Keep the registry's no to the client's credentials."""
        if question.repository.name:
            await self.acceptances.refused(question.identity, question.repository)

    def hashed(self, question: EdgeQuestion) -> str:
        """Return what stands for the client's credentials in all workers; empty for none."""
        return self.acceptances.hashed(question.identity).hex() if question.identity.headers else ""
