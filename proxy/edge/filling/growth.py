"""How far a blob's file has come, for those who wait for more."""

from __future__ import annotations

import asyncio
import enum
import errno
import os
from collections.abc import Callable
from typing import Final, Protocol

import aiohttp

HELD_BACK: Final = 64 * 1024
"""Bytes at the end of a blob that leave only when its digest is right."""


SLICE: Final = 8 * 2**20
"""Bytes that are hashed in one go; then other work has its turn."""


class Hash(Protocol):
    """The state of a hash."""

    def update(self, data: memoryview | bytes, /) -> None:
        """Take more bytes."""

    def digest(self) -> bytes:
        """Return the hash of the bytes so far."""

    def hexdigest(self) -> str:
        """Return it in hex."""

    def copy(self) -> Hash:
        """Return the same state, to go on from."""


def hash_file(descriptor: int, part: range, state: Hash, buffer: memoryview) -> int:
    """Give bytes of a file to ``state``, at most ``SLICE``; return how far that went.

    Raises:
        OSError: it cannot be read, or is shorter than ``part``.
    """
    at, stop = part.start, min(part.stop, part.start + SLICE)
    while at < stop:
        size = os.preadv(descriptor, [buffer[: stop - at]], at)
        if not size:
            raise OSError(errno.EIO, "the file is shorter than it was")
        state.update(buffer[:size])
        at += size
    return at


class Fate(enum.Enum):
    """What becomes of a growing file."""

    GROWING = enum.auto()
    WHOLE = enum.auto()
    """All of it is there, and has its digest."""
    CUT = enum.auto()
    """Nothing becomes of it: its readers must not take what they have for the beginning of the whole."""
    LEFT = enum.auto()
    """It grows no more, but what is there may be the beginning of the whole: readers go on by themselves."""


class Growth:
    """A file that grows, and its readers.

    Attributes:
        size: bytes of the whole blob.
        descriptor: of the file.
        available: bytes that are there.
        state: what becomes of it.
        hash: of the bytes that are available, where the state is ``LEFT``; None: not known here.
    """

    def __init__(self, descriptor: int, size: int, close: Callable[[], None], *, is_whole: bool = False) -> None:
        """``close`` is called when nobody needs the file any more: begins with one who does, the caller."""
        self.size = size
        self.descriptor = descriptor
        self.available = size if is_whole else 0
        self.fate = Fate.WHOLE if is_whole else Fate.GROWING
        self.hash: Hash | None = None
        self._close = close
        self._users = 1
        self._reason = ""
        self._changes = asyncio.Event()

    @property
    def released(self) -> int:
        """How many of the first bytes may leave."""
        if self.fate is Fate.WHOLE:
            return self.size
        return min(self.available, max(self.size - HELD_BACK, 0))

    def use(self) -> None:
        """Keep the file open for one more."""
        self._users += 1

    def leave(self) -> None:
        """Keep it open for one less."""
        self._users -= 1
        if not self._users:
            self._close()

    def advance(self, available: int) -> None:
        """Tell readers that so many bytes are there."""
        if available > self.available:
            self.available = min(available, self.size)
            self._wake()

    def strive(self) -> None:
        """Tell readers that they do not wait in vain: another attempt is made."""
        self._wake()

    def finish(self) -> None:
        """Tell readers that all bytes are there, and right."""
        self.available = self.size
        self._end(Fate.WHOLE)

    def cut(self, reason: str) -> None:
        """Tell readers that nothing becomes of it."""
        self._reason = reason
        self._end(Fate.CUT)

    def abandon(self, state: Hash | None = None) -> None:
        """Tell readers to go on by themselves behind the bytes that are available, which ``state`` is the hash of."""
        self.hash = state
        self._end(Fate.LEFT)

    def check(self) -> None:
        """Raise where readers are to be cut.

        Raises:
            aiohttp.ClientPayloadError: nothing becomes of the file.
        """
        if self.fate is Fate.CUT:
            raise aiohttp.ClientPayloadError(self._reason)

    async def changed(self) -> None:
        """Wait until more is there, or its state is another."""
        await self._changes.wait()

    def _end(self, state: Fate) -> None:
        if self.fate is Fate.GROWING:
            self.fate = state
            self._wake()

    def _wake(self) -> None:
        """Wake all who wait now; who comes later waits for what is next."""
        self._changes.set()
        self._changes.clear()
