"""Bytes of a file into a socket, inside the kernel (sendfile(2))."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Final

from proxy.bodies.splice import Mover, SourceEndedError

_TURN: Final = 2**20
"""Bytes that one stream moves before the others have their turn."""


def _nothing() -> None:
    """Do nothing: a file is not waited for."""


class SendFile(Mover):
    """Moves a part of a file, which is there, into a socket."""

    __slots__ = ("_file", "_offset")

    def __init__(self, file: int, part: range, sink: socket.socket, *, await_sink: Callable[[], None]) -> None:
        """Prepare to move ``part`` of the descriptor ``file``, whose own position stays as it is.

        Nothing else in the event loop uses ``sink``. ``await_sink`` is called whenever something moved, before
        it is waited for.
        """
        super().__init__(sink, sink, len(part), await_source=_nothing, await_sink=await_sink)
        self._file = file
        self._offset = part.start

    def _move(self) -> None:
        turn = _TURN
        while self.remaining:
            try:
                moved = os.sendfile(self._sink, self._file, self._offset, min(self.remaining, turn))
            except BlockingIOError:
                moved = turn = 0
            else:
                if not moved:
                    raise SourceEndedError(self.remaining)
            self._offset += moved
            self.remaining -= moved
            turn -= moved
            if turn <= 0 and self.remaining:
                self._await_sink()
                self._watch(reads=False, writes=True)
                return
        self._done.set_result(None)
