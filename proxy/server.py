"""The HTTP listener: everything that touches aiohttp's insides is here.

aiohttp is a server for applications; a proxy must not add a header, decode a body or invent an answer. The
classes here switch those things off, each with the reason beside it.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import ClientRequest, HttpVersion11, StreamReader, TCPConnector, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from aiohttp.web_protocol import RequestHandler, _ErrInfo
from multidict import CIMultiDict, istr

from proxy.logs import get_logger

JSON = "application/json; charset=utf-8"
CONTINUE_SECONDS = 1.0
_FIRST_FINAL_STATUS = 200

# A registry token is a JWT that can list many scopes; aiohttp's default of 8 KiB is too little for some.
MAX_FIELD_SIZE = 64 * 1024
MAX_LINE_SIZE = 16 * 1024
READ_BUFFER = 128 * 1024
"""Bytes of a body that are read ahead, on either side.

aiohttp stops reading at twice that, which is what asyncio takes from a socket at once: with less, each full
read would stop the connection and start it again.
"""

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

    def set_response_params(self, **params: Any) -> None:
        """Begin to wait for an answer."""
        self._is_asked = True
        super().set_response_params(**params)

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
            self.force_close()
            self.transport.abort()


class Pool(TCPConnector):
    """Kept connections to the registry."""

    def __init__(self, **options: Any) -> None:
        """Take aiohttp's options."""
        super().__init__(**options)
        self._factory = functools.partial(AnswerReader, loop=self._loop)  # type: ignore[assignment]


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
            "read_bufsize": READ_BUFFER,
        }

    def __call__(self) -> RequestHandler:
        """Return the handler of a new connection."""
        return _Protocol(self, loop=asyncio.get_running_loop(), **self._options)
