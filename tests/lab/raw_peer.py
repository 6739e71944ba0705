"""Peers of the proxy that see and say exact bytes."""

import asyncio
import contextlib
import hashlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

from tests.lab.fake_registry import proxied

MIB = 2**20


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Peer:
    """A raw upstream: sees exactly the bytes that the proxy sends and answers exactly those it wants to."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self.sent = 0
        self.closed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._talk(reader, writer)
        self.closed.set()
        writer.close()


@contextlib.asynccontextmanager
async def behind_proxy(talk: Talk, **settings: str) -> AsyncIterator[tuple[Peer, str, int]]:
    """Yield a raw upstream, and host and port of a proxy in front of it."""
    peer = Peer(talk)
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    async with server:
        upstream = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with proxied(upstream, **settings) as url:
            host, _, port = url.removeprefix("http://").rpartition(":")
            yield peer, host, int(port)


@contextlib.asynccontextmanager
async def connected(host: str, port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    connection = socket.socket()
    # A small window, so that a transfer which nobody reads is still under way, not in the kernel's buffers.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    connection.settimeout(0)
    await asyncio.get_running_loop().sock_connect(connection, (host, port))
    reader, writer = await asyncio.open_connection(sock=connection, limit=MIB)
    try:
        async with asyncio.timeout(60):
            yield reader, writer
    finally:
        writer.close()


async def head_of(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


BLOB = b"/v2/a/blobs/uploads/x"


GET_BLOB = b"GET /v2/a/blobs/sha256:" + b"0" * 64 + b" HTTP/1.1\r\nHost: h\r\n\r\n"


async def upload(host: str, port: int, content: bytes) -> str:
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    async with connected(host, port) as (reader, writer):
        writer.write(b"POST /v2/wire/big/blobs/uploads/ HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
        head = (await head_of(reader)).decode()
        location = next(line for line in head.split("\r\n") if line.startswith("Location: http://h/"))
        target = location.removeprefix("Location: http://h") + f"&digest={digest}"
        writer.write(
            f"PUT {target} HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
            f"Content-Type: application/octet-stream\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        )
        assert b" 100 " in await head_of(reader)
        writer.write(content)
        assert b" 201 " in await head_of(reader)
    return f"/v2/wire/big/blobs/{digest}"
