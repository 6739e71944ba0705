"""Clients' connections: aiohttp's handler, with errors in the registry's words and a bound on everything."""

from __future__ import annotations

import asyncio
import re
import ssl
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import HttpVersion10, HttpVersion11, hdrs, web
from multidict import CIMultiDictProxy

from proxy.insides.server import RequestConnection, RequestHead
from proxy.logs import get_logger
from proxy.metrics.catalogue import count_request
from proxy.wire.connections import ClientConnections
from proxy.wire.handshake import Handshake
from proxy.wire.responses import JSON, oci_errors, whole
from proxy.wire.sizes import MAX_FIELD_SIZE, MAX_HEAD_SIZE, MAX_LINE_SIZE, READ_BUFFER

_LINGER_SECONDS = 1.0
# RFC 3986, 3.2.2, with a port.
_HOST = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Za-z:.%_~-]+\])(?::[0-9]{0,5})?")
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Refused = Callable[[str | None, int], None]
"""Told of a request that is no HTTP: the client's address, and the status that it gets."""


def _count_refused(remote: str | None, status: int) -> None:
    count_request("invalid", "OTHER", status, 0)
    get_logger().info("request", kind="invalid", status=status, remote=remote)


def _problem(message: RequestHead) -> str | None:
    """Return the fault of a head that the parser let pass and the registry, or a proxy before it, may read differently.

    HTTP/0.9, a coding beside chunked, or any in HTTP/1.0 (RFC 9112, 6.1), a ``Host`` that is none (3.2), and
    a tunnel (RFC 9110, 9.3.6), whose target has another form.
    """
    if message.version != HttpVersion11 and message.version != HttpVersion10:  # noqa: PLR1714 - no hash
        return "it is neither HTTP/1.1 nor HTTP/1.0"
    headers = message.headers
    if message.method == hdrs.METH_CONNECT:
        return "CONNECT asks for a tunnel, and there is none here"
    if hdrs.TRANSFER_ENCODING in headers and message.version == HttpVersion10:
        return "HTTP/1.0 has no transfer codings"
    if hdrs.TRANSFER_ENCODING in headers and _codings(headers) != ["chunked"]:
        return "its transfer coding is another than chunked"
    hosts = headers.getall(hdrs.HOST, ())
    if len(hosts) > 1 or not all(map(_HOST.fullmatch, hosts)):
        return "its Host is no host"
    return None


def _codings(headers: CIMultiDictProxy[str]) -> list[str]:
    return [one.strip().lower() for one in headers.getall(hdrs.TRANSFER_ENCODING)]


class _Protocol(RequestConnection):
    """aiohttp's connection handler, with errors of the HTTP layer in the registry's words.

    A request's headers have a time and a size; aiohttp bounds the time between requests alone.
    """

    __slots__ = ("_connections", "_head_size", "_header_timeout", "_is_last", "_refused")

    def __init__(
        self,
        manager: web.Server,
        *,
        connections: ClientConnections,
        header_timeout: float,
        refused: Refused,
        **options: Any,
    ) -> None:
        super().__init__(manager, **options)
        self._connections = connections
        self._header_timeout = header_timeout
        self._refused = refused
        self._head_size = 0
        self._is_last = False

    def give_way(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._connections.opened(self):
            self.await_head(self._header_timeout)
        else:
            self._refuse(503, "Service Unavailable", "TOOMANYREQUESTS", "all connections are in use; try again")

    def connection_lost(self, exc: BaseException | None) -> None:
        self._connections.closed(self)
        super().connection_lost(exc)

    def too_late(self) -> None:
        if self._head_size:
            self._refuse(408, "Request Timeout", "UNSUPPORTED", "the request's headers did not arrive in time")

    def _refuse(self, status: int, reason: str, code: str, message: str) -> None:
        """Answer where there is no request to answer, and close the connection."""
        if self.transport is None or self.transport.is_closing():
            return
        body = oci_errors(code, message)
        head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: {JSON}\r\nContent-Length: {len(body)}\r\n"
        self.transport.write(f"{head}Retry-After: 1\r\nConnection: close\r\n\r\n".encode() + body)
        # Closed while bytes of the client are unread, the connection would be reset, and the answer with it:
        # so further bytes are read for a moment, and dropped (RFC 9112, section 9.6).
        self.take_no_more()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        asyncio.get_running_loop().call_later(_LINGER_SECONDS, self.transport.abort)

    def _count_head(self, size: int) -> None:
        """Watch over a request whose headers are not complete yet."""
        if not self.awaits_head:
            self._head_size = 0
            return
        if not self._head_size and not self.is_new:
            self.await_head(self._header_timeout)
        self._head_size += size
        if self._head_size > MAX_HEAD_SIZE:
            message = f"the request's headers have more than {MAX_HEAD_SIZE} bytes"
            self._refuse(431, "Request Header Fields Too Large", "UNSUPPORTED", message)

    def close(self) -> None:
        """Close the connection: an idle one now, a busy one after its request.

        aiohttp stops listening to both: idle ones stay open, their next requests hang until the end, and the
        rest of an upload is not received.
        """
        if self.is_answering:
            self._is_last = True
            return
        self.take_no_more()
        if self.transport is not None:
            self.transport.close()

    def request_ended(self) -> None:
        """Take no other request, if this was to be the last."""
        if self._is_last:
            self.take_no_more()

    def data_received(self, data: bytes) -> None:
        left: bytes | None = data  # which may be empty: so the parser is told to go on with the bytes it has
        while left is not None and not self.is_ending:
            left = self._take(left) or None

    def _take(self, data: bytes) -> bytes:
        """Parse ``data``; returns the bytes that the parser dropped."""
        known = self.queued
        is_in_body = self.is_in_body
        super().data_received(data)
        dropped = b""
        if self.queued > known and self.last_is_truncated:
            dropped = self._behind_upgrade(data, is_first=self.queued == known + 1 and not is_in_body)
        for at, head in self.queued_heads():
            if (problem := _problem(head)) is not None:
                self.refuse_queued(at, problem)
        self._count_head(len(data))
        # aiohttp queues a parse error behind the request under way, whose handler would wait for its body.
        body = self.current_body if self.last_is_refused else None
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(web.RequestPayloadError("malformed request body"))
        return dropped

    def _behind_upgrade(self, data: bytes, *, is_first: bool) -> bytes:
        """Return the bytes that follow a request in ``data`` that asks for another protocol, which it does not get.

        Where the request ends is known of one without a body that came alone; behind any other the connection
        is closed.
        """
        head, end, rest = data.partition(b"\r\n\r\n")
        if is_first and not self.last_has_body and end and b"\n\n" not in head:
            return rest
        self.close_behind_last()
        return b""

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
            self._refused(request.remote, status)
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
        connections: ClientConnections,
        tls: ssl.SSLContext | None = None,
        refused: Refused = _count_refused,
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
            "refused": refused,
        }

    def __call__(self) -> asyncio.BaseProtocol:  # type: ignore[override]
        """Return the protocol of a new connection."""
        protocol = _Protocol(self, **self._options)
        if self._tls is None:
            return protocol
        handshake = Handshake(protocol, self._tls, self._options["connections"], self._options["header_timeout"])
        self._handshakes.add(handshake)
        return handshake

    def pre_shutdown(self) -> None:
        """Let connections end after their request, idle ones and handshakes at once."""
        super().pre_shutdown()
        for handshake in self._handshakes:
            handshake.abandon()
