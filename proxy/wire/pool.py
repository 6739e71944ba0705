"""Connections to the registry: aiohttp's, that wait for nothing for ever and take nothing unasked."""

from __future__ import annotations

import asyncio
import functools
import select
from typing import Any

from aiohttp.abc import AbstractStreamWriter

from proxy.insides.client import AnswerConnection, Connector, UpstreamRequest
from proxy.insides.tls import is_tls, read_little
from proxy.insides.transports import read_at_once
from proxy.logs import get_logger, named
from proxy.metrics.catalogue import BROKEN_TRANSFERS
from proxy.repository import DEFAULT_UPSTREAM
from proxy.wire.back_pressure import LEAST

CONTINUE_SECONDS = 1.0
_TLS_READ = 32 * 1024
_FIRST_FINAL_STATUS = 200
_ENDED = select.POLLRDHUP | select.POLLHUP | select.POLLERR


class BoundedContinueRequest(UpstreamRequest):
    """A request upstream that waits for ``100 Continue`` for a second, not for ever (RFC 9110, 10.1.1)."""

    continue_seconds = CONTINUE_SECONDS

    async def before_body(self, writer: AbstractStreamWriter) -> None:
        """Wait until the upstream is ready for the body, or has said nothing for a second."""
        continued = self.continued
        if continued is not None:
            writer.send_headers()
            await writer.drain()
            await asyncio.wait([continued], timeout=self.continue_seconds)
            if not continued.done():
                continued.set_result(False)


class AnswerReader(AnswerConnection):
    """A connection to the registry that takes one answer for each request.

    aiohttp would keep a second one, which is unsolicited, as the answer to the next request.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, upstream: str = DEFAULT_UPSTREAM) -> None:
        """``upstream``: the registry's name, as ``Repository.upstream`` has it."""
        super().__init__(loop)
        self._upstream = upstream
        self._is_asked = False
        self._poll: select.poll | None = None

    def opened(self, transport: asyncio.BaseTransport) -> None:
        """Begin, with small buffers where the connection is a TLS one."""
        read_little(transport, _TLS_READ)

    def asked(self) -> None:
        """Begin to wait for an answer."""
        self._is_asked = True
        read_at_once(self.transport, LEAST)

    def is_ready(self) -> bool:
        """Say whether the connection has not ended, and nothing came unasked.

        The loop learns of either when it turns; the request would be lost, or answered with those bytes.
        """
        if self.transport is None:
            return False
        if self._poll is None:
            # With TLS, readable bytes need not be an answer: tickets come unasked.
            news = _ENDED if is_tls(self.transport) else _ENDED | select.POLLIN
            self._poll = select.poll()
            self._poll.register(self.transport.get_extra_info("socket"), news)
        return not self._poll.poll(0)

    def rest(self) -> None:
        """Stand between two answers."""
        self.renew()
        self._is_asked = False

    def takes(self, status: int) -> bool:
        """Take an answer; hang up when there was no question."""
        if self._is_asked:
            self._is_asked = status < _FIRST_FINAL_STATUS
            return True
        if self.transport is not None:
            self.surplus()
            self.hang_up()
        return False

    def surplus(self) -> None:
        """Tell of an answer to no question."""
        get_logger().warning("the registry answers what nobody asked", **named(self._upstream))
        self.count_surplus()

    def count_surplus(self) -> None:
        """Count that more came than was announced."""
        BROKEN_TRANSFERS.of("surplus", self._upstream).add()


class UpstreamPool(Connector):
    """Kept connections to the registry."""

    connection: type[AnswerReader] = AnswerReader

    def __init__(self, upstream: str = DEFAULT_UPSTREAM, **options: Any) -> None:
        """Take the registry's name, as ``Repository.upstream`` has it, and aiohttp's options."""
        super().__init__(functools.partial(self.connection, upstream=upstream), **options)
