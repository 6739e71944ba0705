"""Connections to try things out on: pairs of sockets in this process, which need no network."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import aiohttp

from proxy.insides.client import dial_with
from proxy.wire.connections import ClientConnections
from proxy.wire.listener import Handler, Listener
from proxy.wire.pool import AnswerReader, BoundedContinueRequest, UpstreamPool

URL: Final = "http://127.0.0.1:1/"
"""Where requests of a stage's session go: to its registry, not to that address."""
SECONDS: Final = 60.0
"""The time-out of a listener's connections, which no test waits for."""
KEEPALIVE_SECONDS: Final = 3600.0
_SOON: Final = 0.02
P = TypeVar("P", bound=asyncio.BaseProtocol)
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def listener(
    handler: Handler, *, seconds: float = SECONDS, tls: ssl.SSLContext | None = None, connections: int = 8
) -> Listener:
    """Return a listener that neither logs nor counts refusals; ``seconds`` is its time-out for heads and handshakes."""
    return Listener(
        handler,
        keepalive_timeout=KEEPALIVE_SECONDS,
        header_timeout=seconds,
        connections=ClientConnections(connections),
        tls=tls,
        refused=lambda _remote, _status: None,
    )


@dataclass(frozen=True, slots=True)
class StageClient(Generic[P]):
    """A client's end of a connection, and the protocol at its other end."""

    protocol: P
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


@contextlib.asynccontextmanager
async def client_of(protocol: Callable[[], P]) -> AsyncIterator[StageClient[P]]:
    """Yield a client of the connections that ``protocol`` makes."""
    theirs, ours = socket.socketpair()
    transport, connection = await asyncio.get_running_loop().connect_accepted_socket(protocol, theirs)
    reader, writer = await asyncio.open_connection(sock=ours)
    try:
        yield StageClient(connection, reader, writer)
    finally:
        writer.transport.abort()
        transport.abort()


class Unasked(AnswerReader):
    """A connection to the registry that does not report an unsolicited answer."""

    def surplus(self) -> None:
        """Report nothing."""


class _Pool(UpstreamPool):
    connection = Unasked


class QuickContinueRequest(BoundedContinueRequest):
    """A request that waits next to no time for ``100 Continue``."""

    continue_seconds = _SOON


@contextlib.asynccontextmanager
async def session_with(
    talk: Talk, *, server: ssl.SSLContext | None = None, client: ssl.SSLContext | None = None
) -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a session as the proxy has one with its registry; each of its connections ends in ``talk``.

    Both speak TLS where there are contexts for it, and the request's scheme is https.
    """
    pool = _Pool(ssl=client) if client is not None else _Pool()
    async with asyncio.TaskGroup() as tasks:

        async def serve(theirs: socket.socket) -> None:
            loop = asyncio.get_running_loop()
            reader = asyncio.StreamReader()
            ends = asyncio.StreamReaderProtocol(reader)
            transport, _ = await loop.connect_accepted_socket(lambda: ends, theirs, ssl=server)
            writer = asyncio.StreamWriter(transport, ends, reader, loop)
            try:
                await talk(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                return  # the session is over
            finally:
                writer.transport.abort()

        def dial() -> socket.socket:
            ours, theirs = socket.socketpair()
            tasks.create_task(serve(theirs))
            return ours

        dial_with(pool, dial)
        async with aiohttp.ClientSession(
            connector=pool, request_class=QuickContinueRequest, auto_decompress=False
        ) as session:
            yield session


async def head_of(reader: asyncio.StreamReader) -> bytes:
    """Return a message's head.

    Raises:
        asyncio.IncompleteReadError: the connection ends before.
    """
    return await reader.readuntil(b"\r\n\r\n")
