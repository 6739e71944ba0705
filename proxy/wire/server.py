"""The HTTP listener: everything that touches aiohttp's insides is here.

aiohttp is a server for applications; a proxy must not add a header, decode a body or invent an answer. The
classes here switch those things off, each with the reason beside it.
"""

from __future__ import annotations

import asyncio
import functools
import re
import select
import ssl
import weakref
from asyncio.selector_events import _SelectorSocketTransport  # type: ignore[attr-defined]
from asyncio.sslproto import _SSLProtocolTransport
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import ClientRequest, HttpVersion10, HttpVersion11, StreamReader, TCPConnector, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import RawRequestMessage, RawResponseMessage
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler, _ErrInfo
from multidict import CIMultiDict, istr

from proxy.logs import get_logger
from proxy.metrics.catalogue import BROKEN_TRANSFERS, count_request
from proxy.wire.connections import Connections
from proxy.wire.handshake import Handshake
from proxy.wire.pace import LEAST

JSON = "application/json; charset=utf-8"
CONTINUE_SECONDS = 1.0
_LINGER_SECONDS = 1.0
_TLS_READ = 32 * 1024
_FIRST_FINAL_STATUS = 200
_SLACK = 0.05
"""By what part of the shorter patience a deadline may be early."""

# A registry token is a JWT that can list many scopes; aiohttp's default of 8 KiB is too little for some.
MAX_FIELD_SIZE = 64 * 1024
MAX_LINE_SIZE = 16 * 1024
MAX_HEAD_SIZE = 128 * 1024
"""Bytes of a request's line and headers together."""
READ_BUFFER = 128 * 1024
"""Bytes of a body that are read ahead, on either side.

aiohttp stops reading at twice that, which is what asyncio takes from a socket at once: with less, each full
read would stop the connection and start it again.
"""

_ENDED = select.POLLRDHUP | select.POLLHUP | select.POLLERR
_VERSIONS = frozenset({HttpVersion10, HttpVersion11})
# RFC 3986, 3.2.2, with a port.
_HOST = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Za-z:.%_~-]+\])(?::[0-9]{0,5})?")

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def oci_errors(code: str, message: str, detail: object = None) -> bytes:
    """Return the error document of the distribution-spec, "Error Codes"."""
    return orjson.dumps({"errors": [{"code": code, "message": message, "detail": detail}]})


class RelayedResponse(web.StreamResponse):
    """A response that has exactly the headers it was given, streamed.

    The caller removes hop-by-hop headers; framing (length or chunks) and keep-alive are decided here. The
    head waits for what is written first, to leave in one segment with it; ``send_head`` does not wait.
    """

    _send_headers_immediately = False

    def send_head(self) -> None:
        """Send the head now: the body is not there yet."""
        if self._payload_writer is not None:
            self._payload_writer.send_headers()

    async def send(self, chunk: bytes) -> None:
        """Send some of the body; what the client does not take yet stays with its connection."""
        if self._payload_writer is not None:
            writer: Any = self._payload_writer  # its interface does not say that it need not wait
            await writer.write(chunk, drain=False)

    async def flush(self) -> None:
        """Wait until the client has taken what was sent, down to what its connection may hold."""
        if self._payload_writer is not None:
            await self._payload_writer.drain()

    async def _prepare_headers(self) -> None:
        if self._req is not None and self._req.version < HttpVersion11 and self.content_length is None:
            self.force_close()  # HTTP/1.0 has no chunks: the body ends with the connection
        absent = [name for name in (hdrs.CONTENT_TYPE, hdrs.SERVER) if name not in self.headers]
        await super()._prepare_headers()
        for name in absent:
            self.headers.pop(name, None)


class WholeResponse(RelayedResponse):
    """A response whose body is at hand. For HEAD and 304 the headers speak of the body, which is not sent."""

    def __init__(
        self, *, status: int, headers: CIMultiDict[str], body: bytes, reason: str | None = None
    ) -> None:
        super().__init__(status=status, reason=reason, headers=headers)
        self._whole = body

    async def _start(self, request: web.BaseRequest) -> AbstractStreamWriter:
        writer = await super()._start(request)
        if not self._must_be_empty_body and self._whole:
            await writer.write(self._whole)
        return writer


def whole(
    status: int, body: bytes, content_type: str, headers: dict[istr, str] | None = None
) -> WholeResponse:
    """Return a response of ours with ``body``."""
    all_headers = CIMultiDict(headers or {})
    all_headers[hdrs.CONTENT_TYPE] = content_type
    all_headers[hdrs.CONTENT_LENGTH] = str(len(body))
    return WholeResponse(status=status, headers=all_headers, body=body)


class Patience:
    """Bounds how long either side may stay silent, however long the whole transfer takes.

    Attributes:
        waiting_for: ``"client"`` or ``"upstream"``: whose silence ended it, once the time is out.
    """

    __slots__ = ("_client", "_limit", "_now", "_slack", "_upstream", "waiting_for")

    def __init__(self, limit: asyncio.Timeout, *, client: float, upstream: float) -> None:
        """Move the deadline of ``limit``; ``client`` and ``upstream`` are seconds."""
        self._limit = limit
        self._client = client
        self._upstream = upstream
        self._slack = min(client, upstream) * _SLACK
        self._now = asyncio.get_running_loop().time
        self.waiting_for = "upstream"

    def for_client(self) -> None:
        """Wait for the client from now on."""
        self.waiting_for = "client"
        self._until(self._now() + self._client)

    def for_upstream(self) -> None:
        """Wait for the registry from now on."""
        self.waiting_for = "upstream"
        self._until(self._now() + self._upstream)

    def _until(self, when: float) -> None:
        """Move the deadline, unless that makes next to no difference: each piece of a body asks for it."""
        before = self._limit.when()
        if before is None or not 0 <= when - before < self._slack:
            self._limit.reschedule(when)


class ImpatientRequest(ClientRequest):
    """A request upstream that waits for ``100 Continue`` for a second, not for ever (RFC 9110, 10.1.1)."""

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> None:
        """Send the body once the upstream is ready for it, or has said nothing for a second."""
        if self._continue is not None:
            writer.send_headers()
            await writer.drain()
            await asyncio.wait([self._continue], timeout=CONTINUE_SECONDS)
            if not self._continue.done():
                self._continue.set_result(False)
        await super().write_bytes(writer, conn, content_length)


class AnswerReader(ResponseHandler):
    """A connection to the registry that takes one answer for each request.

    aiohttp would keep a second one, which nobody asked for, as the answer to whoever asks next.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._is_asked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, with small buffers where the connection is a TLS one."""
        super().connection_made(transport)
        if isinstance(transport, _SSLProtocolTransport):
            # asyncio would read 256 KiB at once, and as much again ahead, for each connection.
            transport.set_read_buffer_limits(high=_TLS_READ)
            layer: Any = transport._ssl_protocol  # noqa: SLF001
            layer.max_size = _TLS_READ
            layer._ssl_buffer = bytearray(_TLS_READ)  # noqa: SLF001
            layer._ssl_buffer_view = memoryview(layer._ssl_buffer)  # noqa: SLF001

    def set_response_params(self, **params: Any) -> None:
        """Begin to wait for an answer."""
        self._is_asked = True
        if isinstance(self.transport, _SelectorSocketTransport):
            self.transport.max_size = LEAST
        super().set_response_params(**params)

    def is_connected(self) -> bool:
        """Say whether a kept connection can take a question: it has not ended, and nothing came unasked.

        The loop hears of either when it turns; the question would be lost, or answered with what is there.
        """
        if not super().is_connected() or self.transport is None:
            return False
        # Of TLS, what can be read need not be an answer: tickets come unasked.
        is_tls = isinstance(self.transport, _SSLProtocolTransport)
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket"), _ENDED if is_tls else _ENDED | select.POLLIN)
        return not poll.poll(0)

    def rest(self) -> None:
        """Stand between two answers, with a new parser."""
        super().set_response_params()
        self._is_asked = False

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Take an answer from the parser; hang up when there was no question."""
        if self._is_asked:
            self._is_asked = data[0].code < _FIRST_FINAL_STATUS
            super().feed_data(data, size)
        elif self.transport is not None:
            get_logger().warning("the registry answers what nobody asked")
            BROKEN_TRANSFERS.of("surplus").add()
            self.force_close()
            self.transport.abort()


class Pool(TCPConnector):
    """Kept connections to the registry."""

    def __init__(self, **options: Any) -> None:
        """Take aiohttp's options."""
        super().__init__(**options)
        self._factory = functools.partial(AnswerReader, loop=self._loop)  # type: ignore[assignment]


def _problem(message: RawRequestMessage) -> str | None:
    """Say what the parser let pass and the registry, or what stands before it, may read differently.

    HTTP/0.9, a coding beside chunked (RFC 9112, 6.1), and a ``Host`` that is none (3.2).
    """
    if message.version not in _VERSIONS:
        return "it is neither HTTP/1.1 nor HTTP/1.0"
    codings = message.headers.getall(hdrs.TRANSFER_ENCODING, ())
    if codings and [one.strip().lower() for one in codings] != ["chunked"]:
        return "its transfer coding is another than chunked"
    hosts = message.headers.getall(hdrs.HOST, ())
    if len(hosts) > 1 or not all(map(_HOST.fullmatch, hosts)):
        return "its Host is no host"
    return None


def expects_continue(request: web.BaseRequest) -> bool:
    """Say whether the client waits for ``100 Continue`` before it sends its body."""
    return request.headers.get(hdrs.EXPECT, "").lower() == "100-continue"


def hang_up(request: web.BaseRequest, *, at_once: bool) -> None:
    """End the client's connection, which is how a body that ends too early is told from a whole one.

    What was passed on before still arrives, unless ``at_once``, which waits for nobody.
    """
    transport = request.transport
    if transport is not None:
        transport.abort() if at_once else transport.close()


class _Protocol(RequestHandler):
    """aiohttp's connection handler, with errors of the HTTP layer in the registry's words.

    A request's headers have a time and a size; aiohttp bounds the time between requests alone.
    """

    __slots__ = ("_connections", "_head_size", "_header_timeout", "_is_ending")

    def __init__(
        self, manager: web.Server, *, connections: Connections, header_timeout: float, **options: Any
    ) -> None:
        super().__init__(manager, loop=asyncio.get_running_loop(), **options)
        self._connections = connections
        self._header_timeout = header_timeout
        self._head_size = 0
        self._is_ending = False

    @property
    def is_idle(self) -> bool:
        return not (self._request_in_progress or self._messages)

    def give_way(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._connections.opened(self):
            self._await_head()
        else:
            self._refuse(
                503, "Service Unavailable", "TOOMANYREQUESTS", "all connections are in use; try again"
            )

    def connection_lost(self, exc: BaseException | None) -> None:
        self._connections.closed(self)
        super().connection_lost(exc)

    def _await_head(self) -> None:
        close_time = self._loop.time() + self._header_timeout
        self._next_keepalive_close_time = close_time
        if self._keepalive_handle is not None:
            self._keepalive_handle.cancel()
        self._keepalive_handle = self._loop.call_at(close_time, self._process_keepalive)

    def _process_keepalive(self) -> None:
        if self._head_size and self.is_idle and self._loop.time() >= self._next_keepalive_close_time:
            self._refuse(
                408, "Request Timeout", "UNSUPPORTED", "the request's headers did not arrive in time"
            )
        super()._process_keepalive()

    def _refuse(self, status: int, reason: str, code: str, message: str) -> None:
        """Answer where there is no request to answer, and close the connection."""
        if self.transport is None or self.transport.is_closing():
            return
        body = oci_errors(code, message)
        head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: {JSON}\r\nContent-Length: {len(body)}\r\n"
        self.transport.write(f"{head}Retry-After: 1\r\nConnection: close\r\n\r\n".encode() + body)
        # Closed while bytes of the client are unread, the connection would be reset, and the answer with it:
        # so what still comes is read for a moment, and dropped (RFC 9112, section 9.6).
        super().close()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._loop.call_later(_LINGER_SECONDS, self.transport.abort)

    def _count_head(self, size: int) -> None:
        """Watch over a request whose headers are not complete yet."""
        waits = self._waiter is not None and not self._waiter.done()
        if not (waits or not self._request_count) or self._messages:
            self._head_size = 0
            return
        if not self._head_size and self._request_count:
            self._await_head()
        self._head_size += size
        if self._head_size > MAX_HEAD_SIZE:
            message = f"the request's headers have more than {MAX_HEAD_SIZE} bytes"
            self._refuse(431, "Request Header Fields Too Large", "UNSUPPORTED", message)

    def close(self) -> None:
        """Close the connection: an idle one now, a busy one after its request.

        aiohttp stops listening to both: idle ones stay open, their next requests hang until the end, and the rest
        of an upload is not heard.
        """
        if self._current_request is not None or self._messages:
            self._is_ending = True
            return
        super().close()
        if self.transport is not None:
            self.transport.close()

    def request_ended(self) -> None:
        """Take no other request, if this was to be the last."""
        if self._is_ending:
            super().close()

    def data_received(self, data: bytes) -> None:
        if self._close or self._force_close:
            return
        super().data_received(data)
        for at, (message, _) in enumerate(self._messages):
            if isinstance(message, RawRequestMessage) and (problem := _problem(message)) is not None:
                error = _ErrInfo(status=400, exc=web.RequestPayloadError(problem), message=problem)
                self._messages[at] = error, EMPTY_PAYLOAD
        self._count_head(len(data))
        # aiohttp queues a parse error behind the request under way, whose handler would wait for its body.
        if (
            self._messages
            and isinstance(self._messages[-1][0], _ErrInfo)
            and self._current_request is not None
        ):
            body = self._current_request.content
            if not body.is_eof() and body.exception() is None:
                body.set_exception(web.RequestPayloadError("malformed request body"))

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun, an error cannot follow")
        if status == web.HTTPBadRequest.status_code:
            problem = (message or str(exc or "")).splitlines()
            text = f"the request is not HTTP as RFC 9112 has it: {problem[0] if problem else 'malformed'}"
            body = oci_errors("UNSUPPORTED", text.rstrip(": "))
            count_request("invalid", "OTHER", status, 0)
            get_logger().info("request", kind="invalid", status=status, remote=request.remote)
        else:
            get_logger().error("request failed", exc_info=exc, path=request.path)
            body = oci_errors("UNKNOWN", "the proxy failed on this request; its log has the reason")
        response = whole(status, body, JSON)
        response.force_close()
        return response


class Listener(web.Server):
    """The low-level aiohttp server around one handler.

    A client that goes away cancels its handler, and with it the request upstream. Bodies are never decoded.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        keepalive_timeout: float,
        header_timeout: float,
        connections: Connections,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``header_timeout``: seconds for a request's head, and for a handshake with ``tls``."""

        async def counted(request: web.BaseRequest) -> web.StreamResponse:
            protocol = request.protocol
            assert isinstance(protocol, _Protocol)  # noqa: S101 - __call__ makes no other
            connections.busy(protocol)
            try:
                return await handler(request)
            finally:
                connections.idle(protocol)
                protocol.request_ended()

        super().__init__(counted, handler_cancellation=True)
        self._tls = tls
        self._connections_taken = connections
        self._header_timeout = header_timeout
        self._handshakes: weakref.WeakSet[Handshake] = weakref.WeakSet()
        self._options: dict[str, Any] = {
            "auto_decompress": False,
            "access_log": None,
            "connections": connections,
            "header_timeout": header_timeout,
            "keepalive_timeout": keepalive_timeout,
            "max_line_size": MAX_LINE_SIZE,
            "max_field_size": MAX_FIELD_SIZE,
            "read_bufsize": READ_BUFFER,
        }

    def __call__(self) -> asyncio.BaseProtocol:  # type: ignore[override]
        """Return the protocol of a new connection."""
        protocol = _Protocol(self, **self._options)
        if self._tls is None:
            return protocol
        handshake = Handshake(protocol, self._tls, self._connections_taken, self._header_timeout)
        self._handshakes.add(handshake)
        return handshake

    def pre_shutdown(self) -> None:
        """Let connections end after their request, idle ones and handshakes at once."""
        super().pre_shutdown()
        for handshake in self._handshakes:
            handshake.abandon()


async def deliver(response: web.StreamResponse, request: web.BaseRequest, seconds: float) -> None:
    """Send a whole ``response``; a client that does not take it within ``seconds`` loses its connection."""
    try:
        async with asyncio.timeout(seconds):
            await response.prepare(request)
            await response.write_eof()
    except TimeoutError:
        get_logger().warning("transfer stalled", path=request.path, waiting_for="client")
        hang_up(request, at_once=True)
    except OSError:  # the client is gone; aiohttp finds out as well, and ends the connection
        hang_up(request, at_once=True)
