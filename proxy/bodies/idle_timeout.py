"""How long either side of a transfer may stay silent."""

from __future__ import annotations

import asyncio

_SLACK = 0.05
"""By what part of the shorter idle_timeout a deadline may be early."""


class IdleTimeout:
    """Bounds how long either side may stay silent, however long the whole transfer takes.

    Attributes:
        waiting_for: ``"client"`` or ``"upstream"``: whose silence ended it, once the time is out.
    """

    __slots__ = ("_client", "_limit", "_now", "_slack", "_upstream", "waiting_for")

    def __init__(self, limit: asyncio.Timeout, *, client: float, upstream: float) -> None:
        """Move the deadline of ``limit``; ``client`` and ``upstream`` are seconds."""
        self._limit = limit
        self._client = client
        self._upstream = upstream
        self._slack = min(client, upstream) * _SLACK
        self._now = asyncio.get_running_loop().time
        self.waiting_for = "upstream"

    def for_client(self) -> None:
        """Wait for the client from now on."""
        self.waiting_for = "client"
        self._until(self._now() + self._client)

    def for_upstream(self) -> None:
        """Wait for the registry from now on."""
        self.waiting_for = "upstream"
        self._until(self._now() + self._upstream)

    def _until(self, when: float) -> None:
        """Move the deadline, unless that makes next to no difference: each piece of a body asks for it."""
        before = self._limit.when()
        if before is None or not 0 <= when - before < self._slack:
            self._limit.reschedule(when)
