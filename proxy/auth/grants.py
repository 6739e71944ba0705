"""Grants: the upstream's yes to a client, remembered for a short time.

A grant is for one client, one repository and one source digest, and lives in this process alone. It counts
from when the question was asked, so a right that was taken away is refused after ``auth.ttl`` at the latest.
"""

from __future__ import annotations

import time
from typing import Final

from cachetools import TTLCache

from proxy.auth.identity import Identity
from proxy.repository import Repository
from twodfs.oci.digest import Digest

_MOST_GRANTS: Final = 65_536

_Grant = tuple[bytes, Repository, Digest]


class Grants:
    """Which clients may read which sources without another question."""

    def __init__(self, ttl: float) -> None:
        """``ttl``: seconds for which a yes is good; 0 for never."""
        self._ttl = ttl
        self._until: TTLCache[_Grant, float] | None = TTLCache(_MOST_GRANTS, ttl) if ttl else None

    def holds(self, identity: Identity, repository: Repository, source: Digest) -> bool:
        """Say whether this client may read ``source`` in ``repository``, as far as is known."""
        if identity.may_pull(repository):
            return True
        if self._until is None:
            return False
        return time.monotonic() < self._until.get((identity.fingerprint, repository, source), 0.0)

    async def remember(self, identity: Identity, repository: Repository, source: Digest, asked_at: float) -> None:
        """Keep the upstream's yes to a question that was asked at ``asked_at`` (``time.monotonic``)."""
        self._keep(identity, repository, source, asked_at + self._ttl)

    async def forget(self, repository: Repository) -> None:
        """Drop every grant in ``repository``: something was written or deleted there."""
        if self._until is not None:
            for grant in [one for one in self._until if one[1] == repository]:
                self._until.pop(grant, None)

    def _keep(self, identity: Identity, repository: Repository, source: Digest, until: float) -> None:
        if self._until is not None:
            self._until[identity.fingerprint, repository, source] = until
