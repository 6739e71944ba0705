"""How long either side of a transfer may stay silent."""

from __future__ import annotations

import asyncio
from types import TracebackType

_SLACK = 0.05
"""The fraction of the shorter idle_timeout by which a deadline may be early."""


class IdleTimeout:
    """Bounds how long either side may stay silent, however long the whole transfer takes.

    As a context it raises ``TimeoutError`` when the side that is waited for stays silent for too long. It may be
    entered again, for the next part of the same request, but not twice at a time. Out of a context nothing is
    bounded, so that a body that is still on its way may go on to say for whom it waits.

    Attributes:
        waiting_for: ``"client"`` or ``"upstream"``: whose silence ended it, once the time is out.
    """

    __slots__ = ("_client", "_limit", "_now", "_slack", "_upstream", "waiting_for")

    def __init__(self, *, client: float, upstream: float) -> None:
        """``client`` and ``upstream`` are seconds. Needs the running loop."""
        self._limit: asyncio.Timeout | None = None
        self._client = client
        self._upstream = upstream
        self._slack = min(client, upstream) * _SLACK
        self._now = asyncio.get_running_loop().time
        self.waiting_for = "upstream"

    async def __aenter__(self) -> None:
        """Bound the waits, from the first call of ``for_client`` or ``for_upstream``."""
        self._limit = await asyncio.Timeout(None).__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Bound nothing more."""
        limit, self._limit = self._limit, None
        if limit is not None:
            await limit.__aexit__(kind, error, traceback)

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
        if self._limit is None:
            return
        before = self._limit.when()
        if before is None or not 0 <= when - before < self._slack:
            self._limit.reschedule(when)
