"""Answers with exactly the given headers.

aiohttp is a server for applications; a proxy must not add a header, decode a body or invent an answer. The
classes here switch those things off, each with the reason beside it.
"""

from __future__ import annotations

import asyncio
from typing import Final

import orjson
from aiohttp import HttpVersion11, hdrs, web
from multidict import CIMultiDict

from proxy.insides.answers import ExactAnswer, Writer
from twodfs.printable import printable

JSON = "application/json; charset=utf-8"
SENT: Final = web.RequestKey("SENT", int)
"""Where a request keeps how many bytes of the answer's body went to the client."""
WINDOW: Final = 64 * 1024
"""Bytes of a whole answer that its connection holds beside the kernel, at most twice that with TLS.

A client that asks for a large document and does not read it would hold a copy of all of it otherwise.
"""


def oci_errors(code: str, message: str, detail: object = None) -> bytes:
    """Return the error document of the distribution-spec, "Error Codes"."""
    return orjson.dumps({"errors": [{"code": code, "message": printable(message), "detail": detail}]})


def count_sent(request: web.BaseRequest, size: int) -> None:
    """Take down that ``size`` more bytes of the answer's body went to the client."""
    request[SENT] = request.get(SENT, 0) + size


class OutgoingResponse(ExactAnswer):
    """A response that has exactly the headers it was given, and the body that is sent when it was prepared.

    The caller removes hop-by-hop headers; framing (length or chunks) and keep-alive are decided here. The
    head waits for the first write, to leave in one segment with it; ``send_head`` does not wait.
    """

    def send_head(self) -> None:
        """Send the head now: the body is not there yet."""
        if self.writer is not None:
            self.writer.send_headers()

    async def send(self, chunk: bytes) -> None:
        """Send some of the body; the part that the client does not take yet stays with its connection."""
        if self.writer is not None:
            await self.writer.write(chunk, drain=False)

    async def flush(self) -> None:
        """Wait until the client has taken the bytes sent, down to the size of the connection's buffer."""
        if self.writer is not None:
            await self.writer.drain()

    async def send_whole(self, body: bytes | memoryview, request: web.BaseRequest) -> None:
        """Send all of the body; nothing where there is to be none: for HEAD and 304 the headers alone speak of it.

        A body of more than ``WINDOW`` bytes leaves in pieces of that size, each when its client has taken the one
        before. They are views of the one body that all its readers share.

        Raises:
            OSError: the client is gone.
        """
        if self.writer is None or self.is_without_body or not body:
            return
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        # Earlier answers that wait to be taken count as well: clients may ask for many at once.
        if len(body) <= WINDOW >= transport.get_write_buffer_size():
            await self.writer.write(body)  # in one segment with the head
            count_sent(request, len(body))
        else:
            await _send_in_windows(memoryview(body), self.writer, transport, request)


async def _send_in_windows(
    body: memoryview, writer: Writer, transport: asyncio.Transport, request: web.BaseRequest
) -> None:
    # Held up as soon as the kernel does not take everything, and until it has. The bound is 1, not 0: at 0
    # asyncio's TLS would wait for a buffer that is empty already.
    transport.set_write_buffer_limits(high=1, low=0)
    try:
        for start in range(0, len(body), WINDOW):
            piece = body[start : start + WINDOW]
            await writer.write(piece, drain=False)
            await writer.drain()
            count_sent(request, len(piece))
    finally:
        if not transport.is_closing():
            transport.set_write_buffer_limits()


class WholeResponse(OutgoingResponse):
    """A response that aiohttp sends by itself, body and all."""

    def __init__(self, *, status: int, headers: CIMultiDict[str], body: bytes) -> None:
        super().__init__(status=status, headers=headers)
        self._whole = body

    async def begun(self, request: web.BaseRequest, writer: Writer) -> None:  # noqa: ARG002
        """Send the body."""
        await self.send_whole(self._whole, request)


def whole(status: int, body: bytes, content_type: str) -> WholeResponse:
    """Return a response of ours with ``body``."""
    headers = CIMultiDict({hdrs.CONTENT_TYPE: content_type, hdrs.CONTENT_LENGTH: str(len(body))})
    return WholeResponse(status=status, headers=headers, body=body)


def expects_continue(request: web.BaseRequest) -> bool:
    """Say whether the client waits for ``100 Continue`` before its body; HTTP/1.0 knows no such thing."""
    return request.version >= HttpVersion11 and request.headers.get(hdrs.EXPECT, "").lower() == "100-continue"


def hang_up(request: web.BaseRequest, *, at_once: bool) -> None:
    """End the client's connection, which is how a body that ends too early is told from a whole one.

    Bytes passed on before still arrive, unless ``at_once``, which does not wait.
    """
    transport = request.transport
    if transport is not None:
        transport.abort() if at_once else transport.close()
