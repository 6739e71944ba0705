"""Moves bodies past aiohttp: its sockets are borrowed, and returned so that keep-alive goes on.

A connection has three owners in layers: the transport (socket, write buffer), the protocol (parser) and the
stream that the parser feeds. The transport stops reading, bytes already in parser and stream are passed on
first, and then the socket is borrowed. Afterwards the parser, which has not seen the body, is replaced by a new one
in the state behind the body. The private parts of aiohttp and asyncio that this needs are in
``proxy.insides``; a start tries it out (``rehearsal``).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import aiohttp
from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter

from proxy.bodies.decrypt import Decrypt, Scratch
from proxy.bodies.splice import Mover, Pipe, Splice
from proxy.insides.answers import transport_of
from proxy.insides.client import AnswerConnection, connection_of, is_paused
from proxy.insides.server import RequestConnection
from proxy.insides.tls import Tunnel
from proxy.insides.transports import duplicate, is_plain
from proxy.wire.pool import AnswerReader


def _uncounted(_: int) -> None:
    """Count nothing."""


@dataclass(frozen=True, slots=True)
class SocketHandoff:
    """A body of a known length between two connections; only the source's may use TLS.

    Attributes:
        tunnel: the source's TLS layer; None where it is a plaintext connection.
        content: the stream that the source's parser feeds; not yet read from.
        length: bytes of the whole body.
        writer: where the body goes; its head may still be waiting in it.
        await_source: called before the source is waited for, whenever something moved.
        await_sink: the same for the sink.
        return_socket: called with the bytes that were not taken, and the source's socket.
        passed: called with the number of bytes that went to the sink.
    """

    source: asyncio.Transport
    protocol: RequestConnection | AnswerConnection
    content: StreamReader
    length: int
    sink: asyncio.Transport
    writer: AbstractStreamWriter
    await_source: Callable[[], None]
    await_sink: Callable[[], None]
    return_socket: Callable[[int, socket.socket], None]
    tunnel: Tunnel | None = None
    passed: Callable[[int], None] = _uncounted

    @classmethod
    def of_answer(
        cls,
        answer: aiohttp.ClientResponse,
        request: web.BaseRequest,
        *,
        length: int,
        await_source: Callable[[], None],
        await_sink: Callable[[], None],
        passed: Callable[[int], None] = _uncounted,
    ) -> SocketHandoff | None:
        """Return the way of ``answer`` to the client; None where sockets cannot be borrowed, or need not be.

        ``passed`` is called with the number of bytes sent.
        """
        protocol = connection_of(answer)  # None when all of it is here
        sink = request.transport
        if not isinstance(protocol, AnswerReader) or protocol.transport is None or not is_plain(sink):
            return None
        tunnel = Tunnel.of(protocol.transport)
        if tunnel is None and not is_plain(protocol.transport):
            return None

        def return_socket(remaining: int, source: socket.socket) -> None:
            if remaining:
                if tunnel is not None:
                    tunnel.abort()
                return
            if not resume_answers(protocol, answer.content, source, tunnel):
                protocol.count_surplus()

        return cls(
            source=protocol.transport,
            protocol=protocol,
            content=answer.content,
            length=length,
            sink=sink,
            writer=request.writer,
            await_source=await_source,
            await_sink=await_sink,
            return_socket=return_socket,
            tunnel=tunnel,
            passed=passed,
        )

    @classmethod
    def of_request(
        cls,
        request: web.BaseRequest,
        writer: AbstractStreamWriter,
        *,
        length: int,
        await_source: Callable[[], None],
        await_sink: Callable[[], None],
    ) -> SocketHandoff | None:
        """Return the way of a client's body to the registry; None where sockets cannot be borrowed."""
        sink, source, protocol = transport_of(writer), request.transport, request.protocol
        if not is_plain(sink) or not is_plain(source) or not isinstance(protocol, RequestConnection):
            return None

        def return_socket(remaining: int, _: socket.socket) -> None:
            protocol.resume_body(request.content, remaining)

        return cls(
            source=source,
            protocol=protocol,
            content=request.content,
            length=length,
            sink=sink,
            writer=writer,
            await_source=await_source,
            await_sink=await_sink,
            return_socket=return_socket,
        )

    async def splice(self, pipe: Pipe) -> int:
        """Pass the body on through ``pipe`` and return how many bytes went past us.

        0: it was complete before anything was borrowed, and is in ``content`` as usual.

        Raises:
            SourceEndedError: the source ended early.
            OSError: either side failed.
        """
        self.await_sink()
        if not await self._hold():
            return 0
        return await self._run(
            lambda source, sink, size: Splice(
                source, sink, size, pipe, await_source=self.await_source, await_sink=self.await_sink
            )
        )

    async def decrypt(self, tunnel: Tunnel, scratch: Scratch) -> int:
        """Do the same out of the source's ``tunnel``."""
        self.await_sink()
        if not await self._hold():
            return 0
        with tunnel.borrowed() as is_open:
            if not is_open:
                self.source.resume_reading()
                return 0
            return await self._run(
                lambda source, sink, size: Decrypt(
                    source,
                    sink,
                    size,
                    tunnel,
                    scratch,
                    await_source=self.await_source,
                    await_sink=self.await_sink,
                )
            )

    async def _run(self, mover: Callable[[socket.socket, socket.socket, int], Mover]) -> int:
        self.writer.send_headers()
        size = self.length - self.content.total_bytes
        with duplicate(self.source) as source, duplicate(self.sink) as sink:
            moving = mover(source, sink, size)
            try:
                async with flushed(self.sink, self.writer.drain):
                    self.await_source()
                    await moving.run()
            finally:
                self.writer.output_size += size - moving.remaining
                self.passed(size - moving.remaining)
                self.return_socket(moving.remaining, source)
        return size

    async def _hold(self) -> bool:
        async def pass_on(chunk: bytes) -> None:
            await self.writer.write(chunk)
            self.passed(len(chunk))

        return await hold(self.source, self.protocol, self.content, pass_on)


async def hold(
    source: asyncio.Transport,
    protocol: RequestConnection | AnswerConnection,
    content: StreamReader,
    pass_on: Callable[[bytes], Awaitable[None]],
) -> bool:
    """Stop reading ``source`` and pass on all that aiohttp has read so far, which ``content`` has yet to give.

    False when the body turned out to be complete: then the connection may already serve another request.
    """
    passed = 0
    is_held = False
    try:
        while not content.is_eof():
            if (exception := content.exception()) is not None:
                raise exception
            source.pause_reading()
            if content.total_bytes > passed:
                chunk = content.read_nowait()  # this makes the connection read on
                passed += len(chunk)
                if not content.is_eof():
                    source.pause_reading()
                await pass_on(chunk)
            elif is_paused(protocol):
                protocol.resume_reading()
            else:
                is_held = True
                break
    finally:
        if not is_held and not content.is_eof():
            source.resume_reading()
    return is_held


@contextlib.asynccontextmanager
async def flushed(sink: asyncio.Transport, drain: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Send all that is in the buffer of ``sink``, with ``drain``; in the context, the socket is the only way out."""
    sink.set_write_buffer_limits(high=0)
    try:
        await drain()
        if sink.is_closing() or sink.get_write_buffer_size():
            raise ConnectionResetError("the connection was closed while its buffer was sent")
        yield
    finally:
        if not sink.is_closing():
            sink.set_write_buffer_limits()


def resume_answers(protocol: AnswerReader, content: StreamReader, source: socket.socket, tunnel: Tunnel | None) -> bool:
    """End an answer whose body went past its parser; its connection returns to the pool.

    False, and the connection is closed, when more has come than was announced; it is closed as well when the
    registry hung up.
    """
    state = _look(source) if tunnel is None else tunnel.look(source)
    if state is not None:
        protocol.force_close()
    protocol.rest()
    content.feed_eof()
    return not state


def _look(source: socket.socket) -> bytes | None:
    """Return the next byte, b"" at the end or after an error, None when there is none yet."""
    try:
        return source.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None
    except OSError:
        return b""
