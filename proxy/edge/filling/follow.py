"""A blob that another process of the node fetches: its file is looked at, again and again."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from typing import Final

from proxy.edge.filling.flight import Flight
from proxy.edge.filling.growth import Growth
from proxy.edge.filling.partial import Partial

_INTERVAL: Final = 0.02
"""Seconds between two looks."""


class Followed(enum.Enum):
    """What became of the file."""

    WHOLE = enum.auto()
    """It is the blob."""
    GONE = enum.auto()
    """It was removed."""
    STUCK = enum.auto()
    """The one who fills it is there, and does nothing."""
    OURS = enum.auto()
    """The one who filled it has stopped, or died; the lock is ours."""


async def follow(partial: Partial, flight: Flight, silence: Callable[[], float]) -> Followed:
    """Give readers of ``flight`` what comes into ``partial``, until nothing does for ``silence()`` seconds; return why.

    The file grows only behind what was hashed, so its length is what may be read.
    """
    now = asyncio.get_running_loop().time
    seen, since = (-1, flight.growth), now()
    while True:
        if partial.is_adopted:
            return Followed.WHOLE
        if partial.is_removed:
            return Followed.GONE
        if flight.growth is None and (size := partial.announced()) is not None:
            flight.start(Growth(partial.descriptor, size, partial.close))
        if flight.growth is not None:
            flight.growth.advance(partial.size)
        if partial.lock():
            # It may have been finished or removed between the look and the lock.
            if partial.is_in_place:
                return Followed.OURS
            return Followed.WHOLE if partial.is_adopted else Followed.GONE
        if seen != (partial.size, flight.growth):
            seen, since = (partial.size, flight.growth), now()
        if now() - since > silence():
            return Followed.STUCK
        await asyncio.sleep(_INTERVAL)
