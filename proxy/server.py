"""The HTTP listener: everything that touches aiohttp's insides is here.

aiohttp is a server for applications; a proxy must not add a header, decode a body or invent an answer. The
classes here switch those things off, each with the reason beside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import ClientRequest, HttpVersion11, hdrs, payload, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.connector import Connection
from aiohttp.web_protocol import RequestHandler, _ErrInfo
from multidict import CIMultiDict, istr

from proxy.logs import get_logger

JSON = "application/json; charset=utf-8"
CONTINUE_SECONDS = 1.0
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

# A registry token is a JWT that can list many scopes; aiohttp's default of 8 KiB is too little for some.
MAX_FIELD_SIZE = 64 * 1024
MAX_LINE_SIZE = 16 * 1024

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def oci_errors(code: str, message: str, detail: object = None) -> bytes:
    """Return the error document of the distribution-spec, "Error Codes"."""
    return orjson.dumps({"errors": [{"code": code, "message": message, "detail": detail}]})


class RelayedResponse(web.StreamResponse):
    """A response that has exactly the headers it was given, streamed.

    The caller removes hop-by-hop headers; framing (length or chunks) and keep-alive are decided here.
    """

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

    # Head and body leave in one segment.
    _send_headers_immediately = False


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

    __slots__ = ("_client", "_limit", "_now", "_upstream", "waiting_for")

    def __init__(self, limit: asyncio.Timeout, *, client: float, upstream: float) -> None:
        """Move the deadline of ``limit``; ``client`` and ``upstream`` are seconds."""
        self._limit = limit
        self._client = client
        self._upstream = upstream
        self._now = asyncio.get_running_loop().time
        self.waiting_for = "upstream"

    def for_client(self) -> None:
        """Wait for the client from now on."""
        self.waiting_for = "client"
        self._limit.reschedule(self._now() + self._client)

    def for_upstream(self) -> None:
        """Wait for the registry from now on."""
        self.waiting_for = "upstream"
        self._limit.reschedule(self._now() + self._upstream)


class RequestBody(payload.Payload):
    """A client's request body on its way upstream, passed on as it arrives.

    aiohttp may send a request again when a kept connection turns out to be dead. What was read from the
    client is gone by then, so a body that was begun refuses to be sent a second time.
    """

    _autoclose = False

    def __init__(self, request: web.BaseRequest, patience: Patience) -> None:
        super().__init__(request.content)
        self._request = request
        self._patience = patience
        self.is_begun = False
        self._size = request.content_length

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002
        """Refuse: a body in transit is never held as a whole."""
        raise TypeError("a request body in transit is not decoded")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Pass the whole body on to ``writer``."""
        await self.write_with_length(writer, None)

    async def write_with_length(
        self,
        writer: AbstractStreamWriter,
        content_length: int | None,  # noqa: ARG002 - the parser already holds the client to its own length
    ) -> None:
        """Pass the whole body on to ``writer``."""
        if self.is_begun:
            raise ConnectionResetError("the registry closed the connection during the upload")
        self.is_begun = True
        await self._send_continue()
        content = self._request.content
        patience = self._patience
        patience.for_client()
        while chunk := await content.readany():
            patience.for_upstream()
            await writer.write(chunk)
            patience.for_client()
        patience.for_upstream()

    async def _send_continue(self) -> None:
        """Tell a client that waits for it to go on: the registry is ready for the body (RFC 9110, 10.1.1)."""
        if expects_continue(self._request):
            transport = self._request.transport
            if transport is None or transport.is_closing():
                raise ConnectionResetError("the client is gone")
            transport.write(CONTINUE)


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
    """aiohttp's connection handler, with errors of the HTTP layer in the registry's words."""

    __slots__ = ()

    def close(self) -> None:
        """Close the connection: an idle one now, a busy one after its request.

        aiohttp stops listening to idle ones and leaves them open: requests on them would hang until the end.
        """
        super().close()
        if self._current_request is None and not self._messages and self.transport is not None:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
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

    def __init__(self, handler: Handler, *, keepalive_timeout: float) -> None:
        super().__init__(handler, handler_cancellation=True)
        self._options: dict[str, Any] = {
            "auto_decompress": False,
            "access_log": None,
            "keepalive_timeout": keepalive_timeout,
            "max_line_size": MAX_LINE_SIZE,
            "max_field_size": MAX_FIELD_SIZE,
            "read_bufsize": 256 * 1024,
        }

    def __call__(self) -> RequestHandler:
        """Return the handler of a new connection."""
        return _Protocol(self, loop=asyncio.get_running_loop(), **self._options)
