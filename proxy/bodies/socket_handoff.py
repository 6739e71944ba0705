"""Moves bodies past aiohttp: its sockets are borrowed, and given back so that keep-alive goes on.

A connection has three owners in layers: the transport (socket, write buffer), the protocol (parser) and the
stream that the parser feeds. The transport stops reading, what parser and stream already have is passed on
first, and then the socket is borrowed. Afterwards the parser, which has not seen the body, is replaced by one
that stands where it would stand. Whatever this needs of aiohttp and asyncio that they do not promise is in
this module; ``obstacle`` looks whether it is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from asyncio.selector_events import _SelectorSocketTransport  # type: ignore[attr-defined]
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from aiohttp import StreamReader, TCPConnector, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.base_protocol import BaseProtocol
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpRequestParser
from aiohttp.web_protocol import MAX_MSG_QUEUE_SIZE, RequestHandler

from proxy.bodies import decrypt, splice
from proxy.bodies.decrypt import Decrypt, Scratch, Tunnel
from proxy.bodies.splice import Mover, Pipe, Splice
from proxy.wire.pool import AnswerReader

_NEEDED: Final[dict[type, tuple[str, ...]]] = {
    BaseProtocol: ("_reading_paused", "_parser", "resume_reading", "transport"),
    RequestHandler: ("_read_bufsize", "max_line_size", "max_field_size", "max_headers"),
    ResponseHandler: ("set_response_params", "feed_data", "force_close", "should_close"),
    TCPConnector: ("_release", "_create_connection"),
    StreamReader: ("total_bytes", "read_nowait", "feed_data", "feed_eof", "is_eof", "exception"),
    _SelectorSocketTransport: ("pause_reading", "resume_reading", "get_write_buffer_size"),
    **decrypt.NEEDED,
}


def obstacle() -> str | None:
    """Say why bodies cannot be moved past aiohttp here; None when they can. Needs the running loop."""
    if (reason := splice.obstacle()) is not None:
        return reason
    wanted = ((owner, name) for owner, names in _NEEDED.items() for name in names)
    missing = [f"{owner.__name__}.{name}" for owner, name in wanted if not hasattr(owner, name)]
    if missing:
        return f"this version of aiohttp has no {', '.join(missing)}"
    try:
        return _rehearse()
    except (TypeError, AttributeError, ValueError) as error:
        return f"this version of aiohttp is unknown: {error}"


def _rehearse() -> str | None:
    """Exchange the parser of a connection in the middle of a body, without a socket."""
    protocol = web.Server(_nobody)()
    protocol._parser = parser = _new_parser(protocol)  # noqa: SLF001
    head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n"
    [(_, content)], _, _ = parser.feed_data(head + b"abc")
    if content.total_bytes != len(b"abc") or content.is_eof():
        return "aiohttp's parser does not feed bodies as they arrive"
    _give_back_request(protocol, content, len(b"de"))
    messages, _, _ = protocol._parser.feed_data(b"deGET / HTTP/1.1\r\nHost: h\r\n\r\n")  # noqa: SLF001
    if not content.is_eof() or content.read_nowait() != b"abcde":
        return "aiohttp's stream does not take a body from elsewhere"
    return None if len(messages) == 1 else "aiohttp's parser does not begin anew"


async def _nobody(_: web.BaseRequest) -> web.StreamResponse:
    raise NotImplementedError


def _uncounted(_: int) -> None:
    """Count nothing."""


@dataclass(frozen=True, slots=True)
class SocketHandoff:
    """A body of a known length between two connections; only the one that it comes from may be a TLS one.

    Attributes:
        tunnel: the source's TLS layer; None where it is a plaintext connection.
        content: the stream that the source's parser feeds; nobody has read from it.
        length: bytes of the whole body.
        writer: where the body goes; its head may still be waiting in it.
        await_source: called before the source is waited for, whenever something moved.
        await_sink: the same for the sink.
        restore: called with the bytes that were not taken, and the source's socket.
        passed: called with the number of bytes that went to the sink.
    """

    source: asyncio.Transport
    protocol: BaseProtocol
    content: StreamReader
    length: int
    sink: asyncio.Transport
    writer: AbstractStreamWriter
    await_source: Callable[[], None]
    await_sink: Callable[[], None]
    restore: Callable[[int, socket.socket], None]
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
        surplus: Callable[[], None],
        passed: Callable[[int], None] = _uncounted,
    ) -> SocketHandoff | None:
        """Return the way of ``answer`` to the client; None where sockets cannot be borrowed, or need not be.

        ``surplus`` is called when more arrived than was announced, ``passed`` with what went to the client.
        """
        connection = answer.connection  # None when all of it is here
        protocol = connection.protocol if connection is not None else None
        if not isinstance(protocol, AnswerReader) or not _is_plain(request.transport):
            return None
        tunnel = Tunnel.of(protocol.transport)
        if tunnel is None and not _is_plain(protocol.transport):
            return None

        def restore(remaining: int, source: socket.socket) -> None:
            if remaining:
                if tunnel is not None:
                    tunnel.abort()
                return
            state = _look(source) if tunnel is None else tunnel.look(source)
            if not _give_back_answer(protocol, answer.content, state):
                surplus()

        return cls(
            source=protocol.transport,  # type: ignore[arg-type] # it is one of the two
            protocol=protocol,
            content=answer.content,
            length=length,
            sink=request.transport,  # type: ignore[arg-type] # it is plain
            writer=request.writer,
            await_source=await_source,
            await_sink=await_sink,
            restore=restore,
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
        sink = getattr(writer, "transport", None)
        if not _is_plain(sink) or not _is_plain(request.transport):
            return None

        def restore(remaining: int, _: socket.socket) -> None:
            _give_back_request(request.protocol, request.content, remaining)

        return cls(
            source=request.transport,  # type: ignore[arg-type] # it is plain
            protocol=request.protocol,
            content=request.content,
            length=length,
            sink=sink,  # type: ignore[arg-type] # it is plain
            writer=writer,
            await_source=await_source,
            await_sink=await_sink,
            restore=restore,
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
        with _duplicate(self.source) as source, _duplicate(self.sink) as sink:
            moving = mover(source, sink, size)
            try:
                async with self._flushed():
                    self.await_source()
                    await moving.run()
            finally:
                self.writer.output_size += size - moving.remaining
                self.passed(size - moving.remaining)
                self.restore(moving.remaining, source)
        return size

    async def _hold(self) -> bool:
        """Stop reading and pass on all that aiohttp has read so far.

        False when the body turned out to be complete: then the connection may already serve somebody else.
        """
        content = self.content
        passed = 0
        is_held = False
        try:
            while not content.is_eof():
                if (exception := content.exception()) is not None:
                    raise exception
                self.source.pause_reading()
                if content.total_bytes > passed:
                    chunk = content.read_nowait()  # this makes the connection read on
                    passed += len(chunk)
                    if not content.is_eof():
                        self.source.pause_reading()
                    await self.writer.write(chunk)
                    self.passed(len(chunk))
                elif self.protocol._reading_paused:  # noqa: SLF001 - the parser has bytes that wait for the stream
                    self.protocol.resume_reading()
                else:
                    is_held = True
                    break
        finally:
            if not is_held and not content.is_eof():
                self.source.resume_reading()
        return is_held

    @contextlib.asynccontextmanager
    async def _flushed(self) -> AsyncIterator[None]:
        """Send all that is in the sink's buffer; in the context, the socket is the only way out."""
        self.sink.set_write_buffer_limits(high=0)
        try:
            await self.writer.drain()
            if self.sink.is_closing() or self.sink.get_write_buffer_size():
                raise ConnectionResetError("the connection was closed while its buffer was sent")
            yield
        finally:
            if not self.sink.is_closing():
                self.sink.set_write_buffer_limits()


def _is_plain(transport: asyncio.BaseTransport | None) -> bool:
    """Say whether this is an open connection whose bytes on the socket are those that the parser sees."""
    return isinstance(transport, _SelectorSocketTransport) and not transport.is_closing()


@contextlib.contextmanager
def _duplicate(transport: asyncio.BaseTransport) -> Iterator[socket.socket]:
    """Yield the same socket under another number: a loop lets nobody watch those that transports own."""
    with transport.get_extra_info("socket").dup() as duplicate:
        yield duplicate


def _give_back_answer(protocol: AnswerReader, content: StreamReader, state: bytes | None) -> bool:
    """End an answer whose body went past its parser; its connection returns to the pool.

    ``state`` is what is behind the body. False, and the connection is closed, when that is more than was
    announced; it is closed as well when the registry hung up.
    """
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


def _give_back_request(protocol: RequestHandler, content: StreamReader, remaining: int) -> None:
    """Let the connection read on, with ``remaining`` bytes of the request's body still to come."""
    if protocol._parser is None:  # noqa: SLF001 - the connection is lost
        return
    successor = _new_parser(protocol)
    if remaining:
        protocol._parser = _RestOfBody(protocol, content, remaining, successor)  # type: ignore[assignment] # noqa: SLF001
        protocol.resume_reading(resume_parser=False)
    else:
        protocol._parser = successor  # noqa: SLF001
        content.feed_eof()


def _new_parser(protocol: RequestHandler) -> HttpRequestParser:
    """Return a parser like the connection's own, before its next request."""
    return HttpRequestParser(
        protocol,
        asyncio.get_running_loop(),
        protocol._read_bufsize,  # noqa: SLF001
        max_line_size=protocol.max_line_size,
        max_field_size=protocol.max_field_size,
        max_headers=protocol.max_headers,
        payload_exception=web.RequestPayloadError,
        auto_decompress=False,
        max_msg_queue_size=MAX_MSG_QUEUE_SIZE,
    )


class _RestOfBody:
    """Stands in for the parser until a known number of body bytes have come, then leaves to its successor."""

    def __init__(
        self,
        protocol: RequestHandler,
        content: StreamReader,
        remaining: int,
        successor: HttpRequestParser,
    ) -> None:
        self._protocol = protocol
        self._content = content
        self._remaining = remaining
        self._successor = successor

    def feed_data(self, data: bytes) -> tuple[Sequence[Any], bool, bytes]:
        body, rest = data[: self._remaining], data[self._remaining :]
        self._remaining -= len(body)
        self._content.feed_data(body)
        if self._remaining:
            return (), False, b""
        self._protocol._parser = self._successor  # noqa: SLF001
        self._content.feed_eof()
        return self._successor.feed_data(rest)

    def pause_reading(self) -> None:
        """Do nothing: the transport stops, and what it had read before fits the stream."""

    def message_consumed(self) -> None:
        """Do nothing: no request can be behind a body that is not complete."""

    def set_upgraded(self, _: bool) -> None:  # noqa: FBT001 - aiohttp's own
        """Do nothing: a request with a body that is spliced was no upgrade."""
