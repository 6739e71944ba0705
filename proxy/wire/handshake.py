"""TLS of a client's connection, counted from the moment it is accepted.

asyncio tells of a TLS connection when its handshake is over. Who opens connections and says nothing would
take the process' files, and no limit would know of it.
"""

from __future__ import annotations

import asyncio
import ssl
from asyncio.sslproto import SSLProtocol
from typing import Any

from proxy.wire.connections import ClientConnections


class Handshake(SSLProtocol):
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
        nobody: Any = None  # waits for the end of the handshake
        handshake_timeout: Any = seconds
        loop = asyncio.get_running_loop()
        super().__init__(loop, protocol, context, nobody, server_side=True, ssl_handshake_timeout=handshake_timeout)
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

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, where there is room for one more."""
        self._socket = transport
        super().connection_made(transport)
        if not self._connections.opened(self):
            transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """End."""
        self._connections.closed(self)
        super().connection_lost(exc)

    def _on_handshake_complete(self, handshake_exc: Any) -> None:
        self._is_over = True
        self._connections.closed(self)  # its protocol counts from here
        super()._on_handshake_complete(handshake_exc)
