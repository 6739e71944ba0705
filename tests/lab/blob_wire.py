"""A registry and a client as raw sockets, to see exactly which bytes pass a proxy between them."""

import asyncio
import contextlib
import hashlib
import os
import re
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from proxy.app import running
from proxy.config import load
from proxy.metrics.catalogue import BROKEN_TRANSFERS, RELAYED_BODIES
from tests.lab.certificates import Authority
from tests.lab.exposition import Scrape
from tests.lab.process import free_port
from tests.lab.proxy import Proxy

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
        await self.say(f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n".encode() + body)

    async def get(self, target: str = PATH, method: str = "GET") -> None:
        await self.say(f"{method} {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode())

    async def leave(self) -> None:
        """Close the connection, with what nobody took any more."""
        transport = self.writer.transport
        transport.abort() if transport.get_write_buffer_size() else transport.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    def shrink(self) -> None:
        """Take few bytes ahead, so that a transfer which nobody reads is still under way."""
        own = self.writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * KIB)


Talk = Callable[[End], Awaitable[None]]


class Crews:
    """Proxies of two worker processes. Those with the same settings are one, for test after test.

    Each asks a port of its own, on which the test of the moment is the registry.
    """

    def __init__(self, directory: Path, redis_url: str) -> None:
        self._directory = directory
        self._redis_url = redis_url
        self._started: dict[tuple[tuple[str, str], ...], tuple[Proxy, int]] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def crew(self, settings: Mapping[str, str]) -> tuple[Proxy, int]:
        """Return the proxy with `settings`, and the port on which it looks for its registry."""
        wanted = tuple(sorted(settings.items()))
        if wanted not in self._started:
            port = free_port()
            directory = Path(tempfile.mkdtemp(dir=self._directory))
            more = {f"TWODFS_PROXY_{path.upper().replace('__', '_')}": value for path, value in wanted}
            more |= {"TWODFS_PROXY_WORKERS": "2", "TWODFS_PROXY_CACHE_REDIS_URL": self._redis_url}
            proxy = Proxy.start(directory, f"http://127.0.0.1:{port}", environment=more, ready="/healthz")
            self._started[wanted] = self._stack.enter_context(proxy), port
        return self._started[wanted]


@dataclass(frozen=True)
class Relay:
    """A way in which bodies pass, and what carries them."""

    name: str
    setting: str = "auto"
    is_tls: bool = False
    """Whether the registry speaks TLS."""
    crews: Crews | None = None
    """Where two workers share the connections; None: this process has all of them."""

    @property
    def splices(self) -> bool:
        return self.setting == "auto" and not self.is_tls

    @property
    def decrypts(self) -> bool:
        return self.setting == "auto" and self.is_tls


Tallies = dict[tuple[str, str], float]


def _tallies_here() -> Tallies:
    return {
        (metric.name, values[0]): count
        for metric in (RELAYED_BODIES, BROKEN_TRANSFERS)
        for values, count in metric.series()
    }


def _tallies_of(proxy: Proxy) -> Tallies:
    scrape = Scrape.of(proxy.admin_url)
    return {key: scrape.value(key[0], {label: key[1]}) for key, label in _TALLIED.items()}


_TALLIED = {
    (metric.name, values[0]): metric.labels[0]
    for metric in (RELAYED_BODIES, BROKEN_TRANSFERS)
    for values, _ in metric.series()
}


@dataclass
class Wire:
    """A proxy between a registry that says what a test wants and clients that do."""

    address: tuple[str, int]
    tallies: Callable[[], Awaitable[Tallies]]
    before: Tallies
    connections: int = 0
    """How many the proxy opened to the registry."""
    gone: list[asyncio.Event] = field(default_factory=list)
    """For each connection to the registry: set when its talk is over."""

    async def relayed(self, way: str, at_least: int = 0) -> float:
        """Return how many bodies passed in a `way`; the last may be counted after it was received."""
        return await self._count(RELAYED_BODIES.name, way, at_least)

    async def broken(self, reason: str, at_least: int = 0) -> float:
        return await self._count(BROKEN_TRANSFERS.name, reason, at_least)

    async def _count(self, name: str, label: str, at_least: int) -> float:
        async with asyncio.timeout(30):
            while True:
                count = (await self.tallies())[name, label] - self.before[name, label]
                if count >= at_least:
                    return count
                await asyncio.sleep(0.05)

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
            await end.leave()


@contextlib.contextmanager
def _tls() -> Iterator[tuple[ssl.SSLContext, str]]:
    """Yield what a registry on loopback needs to speak TLS, and the file of who vouches for it."""
    with tempfile.TemporaryDirectory(prefix="twodfs-wire-") as directory:
        authority = Authority(Path(directory))
        pair = authority.issue("registry", "127.0.0.1")
        yield pair.server_context(), str(authority.bundle)


@contextlib.asynccontextmanager
async def wire(talk: Talk, relay: Relay = Relay("auto"), **settings: str) -> AsyncIterator[Wire]:
    """Run a proxy whose every connection to the registry speaks to ``talk``; settings as ``client__x``."""
    settings["blobs__relay"] = relay.setting
    async with contextlib.AsyncExitStack() as stack:
        context = None
        if relay.is_tls:
            context, settings["upstream__ca_file"] = stack.enter_context(_tls())
        conversation = Conversation(talk)
        if relay.crews is None:
            port = await stack.enter_async_context(conversation.held(0, context))
            flags: dict[str, str | None] = {key.replace("__", "."): value for key, value in settings.items()}
            scheme = "https" if relay.is_tls else "http"
            flags |= {
                "listen": "127.0.0.1:0",
                "admin": "none",
                "upstream.url": f"{scheme}://127.0.0.1:{port}",
            }
            started = await stack.enter_async_context(running(load({"shutdown_grace": "0.1", **flags}, {})))
            address = str(started.listen)

            async def tallies() -> Tallies:
                return _tallies_here()
        else:
            proxy, port = relay.crews.crew(settings)
            await stack.enter_async_context(conversation.held(port, context))
            address = proxy.address

            async def tallies() -> Tallies:
                return await asyncio.to_thread(_tallies_of, proxy)

        host, _, listening = address.rpartition(":")
        conversation.wire = Wire((host, int(listening)), tallies, await tallies())
        stack.push_async_callback(conversation.end)
        yield conversation.wire


class Conversation:
    """The registry: what it says on each connection."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._talks: list[asyncio.Task[None] | None] = []
        self.wire: Wire | None = None

    @contextlib.asynccontextmanager
    async def held(self, port: int, tls: ssl.SSLContext | None) -> AsyncIterator[int]:
        """Take connections on `port`, 0 for any; yields which it is."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=16 * MIB, ssl=tls)
        async with server:
            yield server.sockets[0].getsockname()[1]

    async def end(self) -> None:
        going_on = [one for one in self._talks if one is not None and not one.done()]
        for one in going_on:
            one.cancel()
        await asyncio.gather(*going_on, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self.wire is not None, "nobody was asked for anything yet"
        over = asyncio.Event()
        self._talks.append(asyncio.current_task())
        self.wire.connections += 1
        self.wire.gone.append(over)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._talk(End(reader, writer))
        finally:
            writer.transport.abort() if writer.transport.get_write_buffer_size() > MIB else writer.close()
            over.set()
