"""An answer on its way to the client."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol, cast

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_writer import StreamWriter

NEEDED: Final[dict[type, tuple[str, ...]]] = {
    web.StreamResponse: (
        "_send_headers_immediately",
        "_payload_writer",
        "_req",
        "_must_be_empty_body",
        "_start",
        "_prepare_headers",
        "_write_headers",
    ),
    StreamWriter: ("write", "drain", "send_headers", "transport", "output_size"),
}


class Writer(Protocol):
    """The writer of a message to a connection; its interface in aiohttp does not say that it need not wait."""

    output_size: int
    """Bytes of the message that were written."""

    async def write(self, chunk: bytes | memoryview, *, drain: bool = True) -> None:
        """Send the head, if it still waits, and ``chunk``."""

    async def drain(self) -> None:
        """Wait until the connection has taken the bytes written, down to its buffer's size."""

    def send_headers(self) -> None:
        """Send the head, if it still waits."""


def transport_of(writer: AbstractStreamWriter) -> asyncio.Transport | None:
    """Return where ``writer`` writes; None where that is over."""
    return writer.transport if isinstance(writer, StreamWriter) else None


class ExactAnswer(web.StreamResponse):
    """A response with exactly the headers that it was given; its head waits for the first write.

    aiohttp would add a Content-Type and a Server.
    """

    _send_headers_immediately = False

    @property
    def writer(self) -> Writer | None:
        """The writer of this answer; None before its start and after its end."""
        return cast("Writer | None", self._payload_writer)

    @property
    def is_without_body(self) -> bool:
        """Whether the client is to get no body, as for HEAD and 304; known once this is prepared."""
        return bool(self._must_be_empty_body)

    async def begun(self, request: web.BaseRequest, writer: Writer) -> None:
        """Send a body that is at hand, in one segment with the head: called once, unless there is to be no body."""

    async def _start(self, request: web.BaseRequest) -> AbstractStreamWriter:
        writer = await super()._start(request)
        if not self._must_be_empty_body:
            await self.begun(request, cast("Writer", writer))
        return writer

    async def _prepare_headers(self) -> None:
        if self._req is not None and self._req.version < HttpVersion11 and self.content_length is None:
            self.force_close()  # HTTP/1.0 has no chunks: the body ends with the connection
        absent = [name for name in (hdrs.CONTENT_TYPE, hdrs.SERVER) if name not in self.headers]
        await super()._prepare_headers()
        for name in absent:
            self.headers.pop(name, None)
