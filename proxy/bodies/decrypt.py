"""Bytes out of a TLS connection into a socket, through two buffers that all streams share.

asyncio passes what it decrypts through six copies and a parser; here are three. The buffers are empty between
turns: what a stream holds while its sink is full is what it read in one go, little for a slow sink.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from asyncio.selector_events import _SelectorSocketTransport  # type: ignore[attr-defined]
from asyncio.sslproto import SSLProtocol, SSLProtocolState, _SSLProtocolTransport
from collections.abc import Callable, Iterator
from typing import Any, Final

from proxy.bodies.splice import Mover, SourceEndedError

_MOST: Final = 256 * 1024
"""Bytes that a fast stream reads in one go."""
_LEAST: Final = 16 * 1024
_GROWTH: Final = 32
"""A stream reads a thirty-second of what it has moved since it last stalled."""
_STALL_SECONDS: Final = 0.25
_RECORD: Final = 2**14 + 2**8
_TURN: Final = 2**20

NEEDED: Final[dict[type, tuple[str, ...]]] = {
    _SSLProtocolTransport: ("pause_reading", "resume_reading"),
    SSLProtocol: ("get_buffer", "_abort", "_process_outgoing", "_control_ssl_reading"),
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
)


class Scratch:
    """Buffers that every stream uses in its turn."""

    __slots__ = ("clear", "sealed")

    def __init__(self) -> None:
        self.sealed = memoryview(bytearray(_MOST))
        # All that was sealed fits, and the records that were not complete before.
        self.clear = memoryview(bytearray(_MOST + 2 * _RECORD))


class Tunnel:
    """The TLS layer of a connection, borrowed from asyncio."""

    __slots__ = ("_protocol",)

    def __init__(self, protocol: Any) -> None:
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
        return cls(protocol)

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
        self._protocol._abort()  # noqa: SLF001

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


class Decrypt(Mover):
    """Moves an announced number of bytes out of a borrowed TLS connection into a socket."""

    __slots__ = ("_from", "_held", "_moved", "_scratch", "_stalled", "_to", "_tunnel")

    def __init__(
        self,
        source: socket.socket,
        sink: socket.socket,
        size: int,
        tunnel: Tunnel,
        scratch: Scratch,
        *,
        await_source: Callable[[], None],
        await_sink: Callable[[], None],
    ) -> None:
        """Prepare to move ``size`` bytes; the sockets are nobody else's in the event loop."""
        super().__init__(source, sink, size, await_source=await_source, await_sink=await_sink)
        self._from = source
        self._to = sink
        self._tunnel = tunnel
        self._scratch = scratch
        self._held = memoryview(b"")
        self._moved = 0
        self._stalled: float | None = None

    def _move(self) -> None:
        turn = _TURN
        if self._held and not self._send(self._held):
            return
        while self.remaining:
            clear = self._scratch.clear[: min(self.remaining, self._pace() + 2 * _RECORD)]
            size, is_more = self._tunnel.decrypt(clear)
            if is_more and not size:
                raise SourceEndedError(self.remaining)
            self.remaining -= size
            turn -= size
            if size and not self._send(clear[:size]):
                return
            if not is_more and self.remaining and (turn <= 0 or not self._receive()):
                self._await_source()
                self._watch(reads=True, writes=False)
                return
        self._done.set_result(None)

    def _pace(self) -> int:
        """Return how many bytes to read in one go: a slow sink holds them for long."""
        return min(max(self._moved // _GROWTH, _LEAST), _MOST)

    def _receive(self) -> bool:
        """Take what the socket has, as much as the sink's back_pressure allows; False when it has nothing."""
        sealed = self._scratch.sealed[: self._pace()]
        try:
            size = self._from.recv_into(sealed)
        except BlockingIOError:
            return False
        if not size:
            raise SourceEndedError(self.remaining)
        self._tunnel.put(sealed[:size])
        return True

    def _send(self, clear: memoryview) -> bool:
        """Give the sink what it takes; False when something is left, and held."""
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while sent < len(clear):
                sent += self._to.send(clear[sent:])
        self._moved += sent
        if sent == len(clear):
            if self._stalled is not None:
                if self._loop.time() - self._stalled > _STALL_SECONDS:
                    self._moved = 0
                self._stalled = None
            self._held = memoryview(b"")
            return True
        if clear is self._held:
            self._held = clear[sent:]
        else:
            self._held = memoryview(bytes(clear[sent:]))
            self._stalled = self._loop.time()
        if sent or not self._writes:
            self._await_sink()
        self._watch(reads=False, writes=True)
        return False
