"""Bytes out of a TLS connection into a socket, through two buffers that all streams share.

asyncio passes decrypted bytes through six copies and a parser; here are three. The buffers are empty between
turns: while its sink is full a stream holds one read, little for a slow sink.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Final

from proxy.bodies.splice import Mover, SourceEndedError
from proxy.insides.tls import Tunnel

_MOST: Final = 256 * 1024
"""Bytes that a fast stream reads in one go."""
_LEAST: Final = 16 * 1024
_GROWTH: Final = 32
"""A stream reads a thirty-second of what it has moved since it last stalled."""
_STALL_SECONDS: Final = 0.25
_RECORD: Final = 2**14 + 2**8
_TURN: Final = 2**20


class Scratch:
    """Buffers that every stream uses in its turn."""

    __slots__ = ("clear", "sealed")

    def __init__(self) -> None:
        self.sealed = memoryview(bytearray(_MOST))
        # All that was sealed fits, and the records that were not complete before.
        self.clear = memoryview(bytearray(_MOST + 2 * _RECORD))


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
        """Prepare to move ``size`` bytes; nothing else in the event loop uses the sockets."""
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
            clear = self._scratch.clear[: min(self.remaining, self._read_size() + 2 * _RECORD)]
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

    def _read_size(self) -> int:
        """Return how many bytes to read in one go: a slow sink holds them for long."""
        return min(max(self._moved // _GROWTH, _LEAST), _MOST)

    def _receive(self) -> bool:
        """Read from the socket, as much as the sink's back_pressure allows; False when it has nothing."""
        sealed = self._scratch.sealed[: self._read_size()]
        try:
            size = self._from.recv_into(sealed)
        except BlockingIOError:
            return False
        if not size:
            raise SourceEndedError(self.remaining)
        self._tunnel.put(sealed[:size])
        return True

    def _send(self, clear: memoryview) -> bool:
        """Write to the sink; False when bytes are left, and held."""
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
