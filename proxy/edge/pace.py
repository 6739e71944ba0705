"""A cap on bandwidth that several transfers share."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Final

_BURST: Final = 0.25
"""Seconds' worth of bytes that may come at once after a pause."""


class Pace:
    """Lets so many bytes pass in a second, on average: a token bucket."""

    def __init__(self, rate: float) -> None:
        """``rate``: bytes for each second."""
        self._rate = rate
        self._due = 0.0

    async def take(self, size: int, lifted: asyncio.Event | None = None) -> None:
        """Return when ``size`` bytes more may have come; those who wait count, so the next waits for them, too.

        Args:
            size: bytes that have come just now.
            lifted: set when the cap holds for this transfer no more, which then waits no longer.
        """
        now = time.monotonic()
        self._due = max(self._due, now - _BURST) + size / self._rate
        if self._due <= now:
            return
        if lifted is None:
            await asyncio.sleep(self._due - now)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._due - now):
                await lifted.wait()
