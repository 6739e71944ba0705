"""The TLS layer between a transport and its protocol."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from asyncio.selector_events import _SelectorSocketTransport  # type: ignore[attr-defined]
from asyncio.sslproto import SSLProtocol, SSLProtocolState, _SSLProtocolTransport
from collections.abc import Iterator
from typing import Any, Final

NEEDED: Final[dict[type, tuple[str, ...]]] = {
    SSLProtocol: ("_on_handshake_complete", "max_size"),
    _SSLProtocolTransport: ("set_read_buffer_limits", "abort"),
}
NEEDED_TO_BORROW: Final[dict[type, tuple[str, ...]]] = {
    _SSLProtocolTransport: ("pause_reading", "resume_reading"),
    SSLProtocol: ("get_buffer", "_process_outgoing", "_control_ssl_reading"),
    SSLProtocolState: ("WRAPPED",),
}
_PARTS: Final = (
    "_transport",
    "_sslobj",
    "_incoming",
    "_outgoing",
    "_state",
    "_ssl_buffer",
    "_ssl_buffer_view",
    "_ssl_reading_paused",
)
_RECORD: Final = 2**14 + 2**8


def is_tls(transport: asyncio.BaseTransport | None) -> bool:
    """Say whether bytes of this connection pass a TLS layer of asyncio's."""
    return isinstance(transport, _SSLProtocolTransport)


def read_little(transport: asyncio.BaseTransport, size: int) -> None:
    """Read at most ``size`` bytes of a TLS connection at a time, and as many ahead.

    asyncio would read 256 KiB at once, and as much again ahead, for each connection.
    """
    if isinstance(transport, _SSLProtocolTransport):
        transport.set_read_buffer_limits(high=size)
        layer: Any = transport._ssl_protocol  # noqa: SLF001
        layer.max_size = size
        layer._ssl_buffer = bytearray(size)  # noqa: SLF001
        layer._ssl_buffer_view = memoryview(layer._ssl_buffer)  # noqa: SLF001


class ServerTls(SSLProtocol):
    """The TLS layer below a client's connection, which tells of the connection before its handshake is over.

    asyncio tells no protocol of a connection until then. A subclass overrides ``opened``, ``shaken`` and ``closed``.
    """

    def __init__(self, protocol: asyncio.Protocol, context: ssl.SSLContext, seconds: float) -> None:
        """``seconds``: that the handshake may take."""
        nobody: Any = None  # waits for the end of the handshake
        handshake_timeout: Any = seconds
        loop = asyncio.get_running_loop()
        super().__init__(loop, protocol, context, nobody, server_side=True, ssl_handshake_timeout=handshake_timeout)

    def opened(self, socket_transport: asyncio.Transport) -> None:
        """Called when the connection is there and its handshake has begun."""

    def shaken(self) -> None:
        """Called when the handshake is over, well or not; ``protocol`` is about to be told."""

    def closed(self) -> None:
        """Called when the connection is lost."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin the handshake."""
        super().connection_made(transport)
        self.opened(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End."""
        self.closed()
        super().connection_lost(exc)

    def _on_handshake_complete(self, handshake_exc: Any) -> None:
        self.shaken()
        super()._on_handshake_complete(handshake_exc)


class Tunnel:
    """The TLS layer of a connection, borrowed from asyncio."""

    __slots__ = ("_protocol", "_transport")

    def __init__(self, transport: asyncio.Transport, protocol: Any) -> None:
        self._transport = transport
        self._protocol = protocol

    @classmethod
    def of(cls, transport: asyncio.BaseTransport | None) -> Tunnel | None:
        """Return the layer below an open TLS ``transport``; None where it is none, or cannot be borrowed."""
        if not isinstance(transport, _SSLProtocolTransport) or transport.is_closing():
            return None
        protocol: Any = transport._ssl_protocol  # noqa: SLF001
        if not all(hasattr(protocol, part) for part in _PARTS):
            return None
        if not isinstance(protocol._transport, _SelectorSocketTransport):  # noqa: SLF001
            return None
        return cls(transport, protocol)

    @contextlib.contextmanager
    def borrowed(self) -> Iterator[bool]:
        """Keep asyncio from reading the socket; False when it has seen the connection's end already."""
        protocol = self._protocol
        protocol._transport.pause_reading()  # noqa: SLF001
        # asyncio makes itself a new one when it reads again.
        protocol._ssl_buffer = bytearray()  # noqa: SLF001
        protocol._ssl_buffer_view = memoryview(protocol._ssl_buffer)  # noqa: SLF001
        try:
            yield protocol._state is SSLProtocolState.WRAPPED  # noqa: SLF001
        finally:
            if protocol._transport is not None:  # noqa: SLF001
                protocol._ssl_reading_paused = False  # noqa: SLF001
                protocol._transport.resume_reading()  # noqa: SLF001

    def abort(self) -> None:
        """Close the connection without a goodbye: it would have to be looked for behind the body."""
        self._transport.abort()

    def put(self, sealed: memoryview) -> None:
        """Take bytes that came from the socket."""
        self._protocol._incoming.write(sealed)  # noqa: SLF001

    def decrypt(self, into: memoryview) -> tuple[int, bool]:
        """Return how many bytes were written, and whether to call again before the next ``put``.

        No bytes, and to be called again: the other side has ended the connection.

        Raises:
            ssl.SSLError: the other side does not speak TLS as it should.
        """
        read = self._protocol._sslobj.read  # noqa: SLF001
        at, size = 0, len(into)
        try:
            while at < size:
                got = read(size - at, into[at:])
                if not got:
                    return at, True
                at += got
        except ssl.SSLWantReadError:
            pass
        else:
            return at, True
        if self._protocol._outgoing.pending:  # noqa: SLF001 - an answer to a change of keys
            self._protocol._process_outgoing()  # noqa: SLF001
        return at, False

    def look(self, source: socket.socket) -> bytes | None:
        """Return the next byte, b"" at the end or after an error, None when there is none yet."""
        byte = bytearray(1)
        try:
            with contextlib.suppress(BlockingIOError):
                sealed = source.recv(_RECORD)
                if not sealed:
                    return b""
                self.put(memoryview(sealed))
            return bytes(byte[: self._protocol._sslobj.read(1, byte)])  # noqa: SLF001
        except ssl.SSLWantReadError:
            return None
        except OSError:
            return b""
