"""Connections to the registry: aiohttp's, that wait for nothing for ever and take nothing unasked."""

from __future__ import annotations

import asyncio
import functools
import select
from asyncio.selector_events import _SelectorSocketTransport  # type: ignore[attr-defined]
from asyncio.sslproto import _SSLProtocolTransport
from typing import Any

from aiohttp import ClientRequest, StreamReader, TCPConnector
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage

from proxy.logs import get_logger
from proxy.metrics.catalogue import BROKEN_TRANSFERS
from proxy.wire.back_pressure import LEAST

CONTINUE_SECONDS = 1.0
_TLS_READ = 32 * 1024
_FIRST_FINAL_STATUS = 200
_ENDED = select.POLLRDHUP | select.POLLHUP | select.POLLERR


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
        self._poll: select.poll | None = None

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
        if self._poll is None:
            # Of TLS, what can be read need not be an answer: tickets come unasked.
            is_tls = isinstance(self.transport, _SSLProtocolTransport)
            news = _ENDED if is_tls else _ENDED | select.POLLIN
            self._poll = select.poll()
            self._poll.register(self.transport.get_extra_info("socket"), news)
        return not self._poll.poll(0)

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


class UpstreamPool(TCPConnector):
    """Kept connections to the registry."""

    def __init__(self, **options: Any) -> None:
        """Take aiohttp's options."""
        super().__init__(**options)
        self._factory = functools.partial(AnswerReader, loop=self._loop)  # type: ignore[assignment]
