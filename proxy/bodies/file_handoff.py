"""Bytes of files on their way to a client: by its socket where that can be borrowed, else in pieces."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, Protocol

from aiohttp import web

from proxy.bodies.idle_timeout import IdleTimeout
from proxy.bodies.sendfile import SendFile, is_at_hand, send_at_once
from proxy.bodies.socket_handoff import flushed
from proxy.bodies.splice import SourceEndedError
from proxy.insides.answers import Writer
from proxy.insides.transports import duplicate, is_plain
from proxy.wire.responses import OutgoingResponse, count_sent

_PIECE: Final = 64 * 1024
_AT_ONCE: Final = 512 * 1024
"""Bytes that are sent without borrowing the socket, which costs as much as they do."""


class FileOutlet(Protocol):
    """A way to a client."""

    async def send(self, file: int, part: range) -> None:
        """Send ``part`` of the descriptor ``file``, all of which is there.

        Raises:
            OSError: the client is gone, or the file is shorter than that.
        """


@contextlib.asynccontextmanager
async def file_outlet(
    response: OutgoingResponse, http: web.BaseRequest, idle_timeout: IdleTimeout, *, borrows: bool = True
) -> AsyncIterator[FileOutlet]:
    """Yield the way to the client that asked ``http``, for the body of ``response``, whose head leaves now.

    Args:
        response: the answer, prepared.
        http: the request.
        idle_timeout: is told that the client is waited for.
        borrows: whether sockets can be borrowed here at all.
    """
    sink, writer = http.transport, response.writer
    response.send_head()
    idle_timeout.for_client()
    if not borrows or not is_plain(sink) or writer is None:
        yield _Pieces(response, http, idle_timeout)
        return
    async with contextlib.AsyncExitStack() as stack:
        yield _Borrowed(http, idle_timeout, sink, writer, stack)


@dataclass(slots=True)
class _Borrowed:
    """Sends past aiohttp: what the socket takes at once as it is, the rest with the socket borrowed from asyncio."""

    http: web.BaseRequest
    idle_timeout: IdleTimeout
    transport: asyncio.Transport
    writer: Writer
    stack: contextlib.AsyncExitStack
    sink: socket.socket | None = None

    async def send(self, file: int, part: range) -> None:
        if self.transport.is_closing():
            raise ConnectionResetError("the client is gone")
        sent = self._at_once(file, part)
        self._count(sent)
        if sent == len(part):
            return
        if self.sink is None:
            await self.stack.enter_async_context(flushed(self.transport, self.writer.drain))
            self.sink = self.stack.enter_context(duplicate(self.transport))
        rest = part[sent:]
        moving = SendFile(file, rest, self.sink, await_sink=self.idle_timeout.for_client)
        try:
            await moving.run()
        finally:
            self._count(len(rest) - moving.remaining)

    def _at_once(self, file: int, part: range) -> int:
        """Send the beginning as far as it goes without a wait; return how many bytes that were."""
        size = min(len(part), _AT_ONCE)
        if not size or self.transport.get_write_buffer_size() or not is_at_hand(file, part.start + size - 1):
            return 0
        return send_at_once(file, part.start, size, self.transport.get_extra_info("socket").fileno())

    def _count(self, sent: int) -> None:
        count_sent(self.http, sent)
        self.writer.output_size += sent


@dataclass(frozen=True, slots=True)
class _Pieces:
    """Reads in a thread, and holds one piece at a time."""

    response: OutgoingResponse
    http: web.BaseRequest
    idle_timeout: IdleTimeout

    async def send(self, file: int, part: range) -> None:
        at = part.start
        while at < part.stop:
            piece = await asyncio.to_thread(os.pread, file, min(part.stop - at, _PIECE), at)
            if not piece:
                raise SourceEndedError(part.stop - at)
            self.idle_timeout.for_client()
            await self.response.send(piece)
            await self.response.flush()
            count_sent(self.http, len(piece))
            at += len(piece)
