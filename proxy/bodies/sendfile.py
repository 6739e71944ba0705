"""Bytes of a file into a socket, inside the kernel (sendfile(2)).

A file that is not in memory would make the event loop wait for its disk. So the kernel is asked first whether it has
the bytes at hand, and where it has not, a thread reads them: what it reads stays in the kernel's cache.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Final

from proxy.bodies.splice import Mover, SourceEndedError

_TURN: Final = 2**22
"""Bytes that one stream moves before the others have their turn, half a millisecond."""
_PIECE: Final = 512 * 1024
"""Bytes whose last one tells whether they are in memory: a disk is read ahead in such steps."""
_WINDOW: Final = 8 * _PIECE
"""Bytes that are looked for ahead, so that they leave in one call."""
_AHEAD: Final = 2 * 2**20
"""Bytes that the disk is to read when it is waited for."""
_READ: Final = 64 * 1024


def _nothing() -> None:
    """Do nothing: a file is not waited for."""


class SendFile(Mover):
    """Moves a part of a file, which is there, into a socket."""

    __slots__ = ("_file", "_loaded_to", "_loading", "_offset")

    def __init__(self, file: int, part: range, sink: socket.socket, *, await_sink: Callable[[], None]) -> None:
        """Prepare to move ``part`` of the descriptor ``file``, whose own position stays as it is.

        Nothing else in the event loop uses ``sink``. ``await_sink`` is called whenever something moved, before
        it is waited for.
        """
        super().__init__(sink, sink, len(part), await_source=_nothing, await_sink=await_sink)
        self._file = file
        self._offset = part.start
        self._loading: asyncio.Future[None] | None = None
        self._loaded_to = 0

    def _move(self) -> None:
        turn = _TURN
        while self.remaining:
            if self._offset >= self._loaded_to and not self._find():
                self._load(min(self.remaining, _PIECE))
                return
            size = min(self.remaining, self._loaded_to - self._offset)
            moved = send_at_once(self._file, self._offset, size, self._sink)
            self._offset += moved
            self.remaining -= moved
            turn -= moved
            if self.remaining and (moved < size or turn <= 0):
                self._await_sink()
                self._watch(reads=False, writes=True)
                return
        self._done.set_result(None)

    def _find(self) -> bool:
        """Look how much of what is next is in memory; say whether anything is."""
        end = self._offset + self.remaining
        self._loaded_to = self._offset
        for _ in range(_WINDOW // _PIECE):
            piece_end = min(self._loaded_to + _PIECE, end)
            if self._loaded_to == end or not is_at_hand(self._file, piece_end - 1):
                break
            self._loaded_to = piece_end
        return self._loaded_to > self._offset

    def _load(self, size: int) -> None:
        """Let a thread bring the next bytes into memory, then go on."""
        self._watch(reads=False, writes=False)
        self._await_sink()
        self._loaded_to = self._offset + size  # a file system may never say yes
        file = os.dup(self._file)  # who closes the file waits for no thread
        self._loading = self._loop.run_in_executor(None, _read, file, self._offset, size)
        self._loading.add_done_callback(self._go_on)

    def _go_on(self, loading: asyncio.Future[None]) -> None:
        error = None if loading.cancelled() else loading.exception()
        if self._done.done():
            return
        if isinstance(error, OSError):
            self._done.set_exception(error)
        else:
            self._turn()


def send_at_once(file: int, offset: int, size: int, sink: int) -> int:
    """Send up to ``size`` bytes of a file as far as the socket takes them; return how many that were.

    Raises:
        SourceEndedError: the file ends before.
        OSError: the socket fails.
    """
    sent = 0
    try:
        while sent < size:
            moved = os.sendfile(sink, file, offset + sent, size - sent)
            if not moved:
                raise SourceEndedError(size - sent)
            sent += moved
    except BlockingIOError:
        pass
    return sent


def is_at_hand(file: int, offset: int) -> bool:
    """Say whether the kernel has this byte of a file in memory; True where it cannot say."""
    try:
        return bool(os.preadv(file, [bytearray(1)], offset, _NO_WAIT))
    except BlockingIOError:
        return False
    except OSError:
        return True


_NO_WAIT: Final[int] = getattr(os, "RWF_NOWAIT", 0)


def _read(file: int, offset: int, size: int) -> None:
    """Read bytes of a file for the kernel to keep; closes the file."""
    try:
        os.posix_fadvise(file, offset, _AHEAD, os.POSIX_FADV_WILLNEED)
        buffer = bytearray(_READ)
        for at in range(offset, offset + size, _READ):
            os.preadv(file, [buffer], at)
    finally:
        os.close(file)
