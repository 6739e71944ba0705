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
from proxy.bodies.sendfile import SendFile
from proxy.bodies.socket_handoff import flushed
from proxy.bodies.splice import SourceEndedError
from proxy.insides.transports import duplicate, is_plain
from proxy.wire.responses import OutgoingResponse, count_sent

_PIECE: Final = 64 * 1024


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
    async with flushed(sink, writer.drain):
        with duplicate(sink) as borrowed:
            yield _Borrowed(response, http, idle_timeout, sink, borrowed)


@dataclass(frozen=True, slots=True)
class _Borrowed:
    response: OutgoingResponse
    http: web.BaseRequest
    idle_timeout: IdleTimeout
    transport: asyncio.Transport
    sink: socket.socket

    async def send(self, file: int, part: range) -> None:
        if self.transport.is_closing():
            raise ConnectionResetError("the client is gone")
        moving = SendFile(file, part, self.sink, await_sink=self.idle_timeout.for_client)
        try:
            await moving.run()
        finally:
            moved = len(part) - moving.remaining
            count_sent(self.http, moved)
            if self.response.writer is not None:
                self.response.writer.output_size += moved


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
