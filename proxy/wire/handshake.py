"""TLS of a client's connection, counted from the moment it is accepted.

asyncio tells of a TLS connection when its handshake is over. A client that opens connections and says nothing would
take the process' files, and no limit would know of it.
"""

from __future__ import annotations

import asyncio
import ssl

from proxy.insides.tls import ServerTls
from proxy.wire.connections import ClientConnections


class Handshake(ServerTls):
    """The TLS layer below a connection's protocol; until its handshake is over, it may have to give way."""

    is_idle = True

    def __init__(
        self,
        protocol: asyncio.Protocol,
        context: ssl.SSLContext,
        connections: ClientConnections,
        seconds: float,
    ) -> None:
        """``seconds``: that the handshake may take."""
        super().__init__(protocol, context, seconds)
        self._connections = connections
        self._socket: asyncio.Transport | None = None
        self._is_over = False

    def abandon(self) -> None:
        """End the handshake, if it is not over."""
        if not self._is_over:
            self.give_way()

    def give_way(self) -> None:
        """End at once."""
        if self._socket is not None:
            self._socket.abort()

    def opened(self, socket_transport: asyncio.Transport) -> None:
        """Go on, where there is room for one more."""
        self._socket = socket_transport
        if not self._connections.opened(self):
            socket_transport.abort()

    def shaken(self) -> None:
        """Let the protocol count from here."""
        self._is_over = True
        self._connections.closed(self)

    def closed(self) -> None:
        """Count no more."""
        self._connections.closed(self)
