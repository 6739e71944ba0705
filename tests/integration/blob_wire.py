"""A registry and a client as raw sockets, to see exactly which bytes pass a proxy between them."""

import asyncio
import contextlib
import hashlib
import os
import re
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from proxy.app import running
from proxy.bodies import Counts
from proxy.config import load
from tests.lab.certificates import Authority

KIB, MIB = 2**10, 2**20
PATH = "/v2/lib/blob/blobs/sha256:" + "0" * 64
UPLOAD = "/v2/lib/blob/blobs/uploads/x"
CONTENT = os.urandom(9 * MIB + 123)
_LENGTH = re.compile(rb"\r\nContent-Length: *([0-9]+)", re.IGNORECASE)


def sha256(content: bytes | bytearray) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class End:
    """One end of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def head(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")

    async def message(self) -> tuple[bytes, bytes]:
        """Read a message of a known length; returns its head and its body."""
        head = await self.head()
        length = _LENGTH.search(head)
        return head, await self.reader.readexactly(int(length[1]) if length else 0)

    async def say(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
        await self.writer.drain()

    async def answer(self, body: bytes, *, status: str = "200 OK", length: int | None = None) -> None:
        length = len(body) if length is None else length
        await self.say(f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n".encode(), body)

    async def get(self, target: str = PATH, method: str = "GET") -> None:
        await self.say(f"{method} {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode())

    def shrink(self) -> None:
        """Take few bytes ahead, so that a transfer which nobody reads is still under way."""
        own = self.writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * KIB)


Talk = Callable[[End], Awaitable[None]]


@dataclass
class Wire:
    """A proxy between a registry that says what a test wants and clients that do."""

    address: tuple[str, int]
    carried: Counts
    connections: int = 0
    """How many the proxy opened to the registry."""
    gone: list[asyncio.Event] = field(default_factory=list)
    """For each connection to the registry: set when its talk is over."""

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[End]:
        own = socket.socket()
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * KIB)
        own.settimeout(0)
        await asyncio.get_running_loop().sock_connect(own, self.address)
        end = End(*await asyncio.open_connection(sock=own, limit=16 * MIB))
        try:
            async with asyncio.timeout(60):
                yield end
        finally:
            end.writer.close()


@contextlib.contextmanager
def _tls() -> Iterator[tuple[ssl.SSLContext, str]]:
    """Yield what a registry on loopback needs to speak TLS, and the file of who vouches for it."""
    with tempfile.TemporaryDirectory(prefix="twodfs-wire-") as directory:
        authority = Authority(Path(directory))
        pair = authority.issue("registry", "127.0.0.1")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pair.certificate, pair.key)
        yield context, str(authority.bundle)


@contextlib.asynccontextmanager
async def wire(talk: Talk, **settings: str) -> AsyncIterator[Wire]:
    """Run a proxy whose every connection to the registry speaks to ``talk``; settings as ``blobs__relay``.

    The relay ``tls`` is ``auto`` with a registry that speaks TLS.
    """
    with contextlib.ExitStack() as stack:
        context = None
        if settings.get("blobs__relay") == "tls":
            context, settings["upstream__ca_file"] = stack.enter_context(_tls())
            settings["blobs__relay"] = "auto"
        async with _wire(talk, context, settings) as started:
            yield started


@contextlib.asynccontextmanager
async def _wire(talk: Talk, tls: ssl.SSLContext | None, settings: dict[str, str]) -> AsyncIterator[Wire]:
    held: list[Wire] = []
    talks: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        over = asyncio.Event()
        talks.append(asyncio.current_task())
        held[0].connections += 1
        held[0].gone.append(over)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await talk(End(reader, writer))
        finally:
            writer.transport.abort() if writer.transport.get_write_buffer_size() > MIB else writer.close()
            over.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=16 * MIB, ssl=tls)
    async with server:
        port = server.sockets[0].getsockname()[1]
        scheme = "https" if tls else "http"
        flags: dict[str, str | None] = {key.replace("__", "."): value for key, value in settings.items()}
        flags |= {"listen": "127.0.0.1:0", "admin": "none", "upstream.url": f"{scheme}://127.0.0.1:{port}"}
        async with running(load({"shutdown_grace": "0.1", **flags}, {})) as started:
            host, _, listening = str(started.listen).rpartition(":")
            held.append(Wire((host, int(listening)), started.carried))
            try:
                yield held[0]
            finally:
                running_talks = [one for one in talks if one is not None and not one.done()]
                for one in running_talks:
                    one.cancel()
                await asyncio.gather(*running_talks, return_exceptions=True)
