"""The open client connections: as many as there is room for, and the idle ones give way."""

from __future__ import annotations

import resource
from typing import Final, Protocol

from proxy.logs import get_logger

# Beside a connection, a transfer has one to the registry; listeners, Redis and files take the rest.
_OTHER_FILES: Final = 128


def room_for(most: int) -> int:
    """Return how many of ``most`` connections may be open, as far as the limit on open files lets them."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return most if files == resource.RLIM_INFINITY else min(most, max(8, (files - _OTHER_FILES) // 2))


class Closable(Protocol):
    """A connection as far as its end is concerned."""

    @property
    def is_idle(self) -> bool:
        """Whether no request of it is being answered."""

    def give_way(self) -> None:
        """End at once."""


class ClientConnections:
    """Counts connections, and knows which of them has been idle longest."""

    def __init__(self, most: int) -> None:
        """``most``: how many may be open, as far as the limit on open files lets them."""
        self._most = room_for(most)
        if self._most < most:
            files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            get_logger().warning("fewer connections than configured", connections=self._most, open_files=files)
        self._open: set[Closable] = set()
        self._idle: dict[Closable, None] = {}  # in the order in which they became idle

    def opened(self, connection: Closable) -> bool:
        """Take ``connection`` in; False when there is no room and every other one is at work."""
        if len(self._open) >= self._most and not self._make_room():
            return False
        self._open.add(connection)
        self._idle[connection] = None
        return True

    def closed(self, connection: Closable) -> None:
        """Forget ``connection``."""
        self._open.discard(connection)
        self._idle.pop(connection, None)

    def busy(self, connection: Closable) -> None:
        """Note that a request began."""
        self._idle.pop(connection, None)

    def idle(self, connection: Closable) -> None:
        """Note that a request ended."""
        if connection in self._open:
            self._idle[connection] = None

    def _make_room(self) -> bool:
        for connection in self._idle:
            if connection.is_idle:
                self.closed(connection)
                connection.give_way()
                return True
        return False
