"""Answers that are exactly what they are given to be.

aiohttp is a server for applications; a proxy must not add a header, decode a body or invent an answer. The
classes here switch those things off, each with the reason beside it.
"""

from __future__ import annotations

import asyncio
from typing import Final

import orjson
from aiohttp import HttpVersion11, hdrs, web
from multidict import CIMultiDict, istr

from proxy.insides.answers import ExactAnswer, Writer
from proxy.logs import get_logger
from twodfs.printable import printable

JSON = "application/json; charset=utf-8"
SENT: Final = web.RequestKey("SENT", int)
"""Where a request keeps how many bytes of the answer's body went to the client."""
WINDOW: Final = 64 * 1024
"""Bytes of a whole answer that its connection holds beside the kernel, at most twice that with TLS.

Who asks for a large document and does not read it would hold a copy of all of it otherwise.
"""


def oci_errors(code: str, message: str, detail: object = None) -> bytes:
    """Return the error document of the distribution-spec, "Error Codes"."""
    return orjson.dumps({"errors": [{"code": code, "message": printable(message), "detail": detail}]})


def count_sent(request: web.BaseRequest, size: int) -> None:
    """Take down that ``size`` more bytes of the answer's body went to the client."""
    request[SENT] = request.get(SENT, 0) + size


class RelayedResponse(ExactAnswer):
    """A response that has exactly the headers it was given, streamed.

    The caller removes hop-by-hop headers; framing (length or chunks) and keep-alive are decided here. The
    head waits for what is written first, to leave in one segment with it; ``send_head`` does not wait.
    """

    def send_head(self) -> None:
        """Send the head now: the body is not there yet."""
        if self.writer is not None:
            self.writer.send_headers()

    async def send(self, chunk: bytes) -> None:
        """Send some of the body; what the client does not take yet stays with its connection."""
        if self.writer is not None:
            await self.writer.write(chunk, drain=False)

    async def flush(self) -> None:
        """Wait until the client has taken what was sent, down to what its connection may hold."""
        if self.writer is not None:
            await self.writer.drain()


class WholeResponse(RelayedResponse):
    """A response whose body is at hand. For HEAD and 304 the headers speak of the body, which is not sent.

    A body of more than ``WINDOW`` bytes leaves in pieces of that size, each when its client has taken the one
    before. They are views of the one body that all its readers share.
    """

    def __init__(
        self, *, status: int, headers: CIMultiDict[str], body: bytes | memoryview, reason: str | None = None
    ) -> None:
        super().__init__(status=status, reason=reason, headers=headers)
        self._whole = body

    async def begun(self, request: web.BaseRequest, writer: Writer) -> None:
        """Send the body."""
        if not self._whole:
            return
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        # Answers of before that wait to be taken count as well: clients may ask for many at once.
        if len(self._whole) <= WINDOW >= transport.get_write_buffer_size():
            await writer.write(self._whole)  # in one segment with the head
            count_sent(request, len(self._whole))
        else:
            await self._send_in_windows(writer, transport, request)

    async def _send_in_windows(self, writer: Writer, transport: asyncio.Transport, request: web.BaseRequest) -> None:
        # Held up as soon as the kernel does not take everything, and until it has. The bound is 1, not 0:
        # at 0 asyncio's TLS would wait for a buffer that is empty already.
        transport.set_write_buffer_limits(high=1, low=0)
        try:
            body = memoryview(self._whole)
            for start in range(0, len(body), WINDOW):
                piece = body[start : start + WINDOW]
                await writer.write(piece, drain=False)
                await writer.drain()
                count_sent(request, len(piece))
        finally:
            if not transport.is_closing():
                transport.set_write_buffer_limits()


def whole(status: int, body: bytes, content_type: str, headers: dict[istr, str] | None = None) -> WholeResponse:
    """Return a response of ours with ``body``."""
    all_headers = CIMultiDict(headers or {})
    all_headers[hdrs.CONTENT_TYPE] = content_type
    all_headers[hdrs.CONTENT_LENGTH] = str(len(body))
    return WholeResponse(status=status, headers=all_headers, body=body)


def expects_continue(request: web.BaseRequest) -> bool:
    """Say whether the client waits for ``100 Continue`` before its body; HTTP/1.0 knows no such thing."""
    return request.version >= HttpVersion11 and request.headers.get(hdrs.EXPECT, "").lower() == "100-continue"


def hang_up(request: web.BaseRequest, *, at_once: bool) -> None:
    """End the client's connection, which is how a body that ends too early is told from a whole one.

    What was passed on before still arrives, unless ``at_once``, which waits for nobody.
    """
    transport = request.transport
    if transport is not None:
        transport.abort() if at_once else transport.close()


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
