"""A node that does nothing but fill and serve blobs, and a registry whose every word a test decides."""

import asyncio
import contextlib
import hashlib
import os
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from aiohttp import hdrs, web
from multidict import CIMultiDict

from proxy.auth.identity import Identity
from proxy.auth.realm import RealmPolicy
from proxy.bodies.idle_timeout import IdleTimeout
from proxy.config import load
from proxy.edge.disk.store import EdgeStore
from proxy.edge.filling.body import whole_body
from proxy.edge.filling.fills import Fills
from proxy.handlers.exchange import Answer, BodySource, WholeBody, send
from proxy.process import prepare
from proxy.repository import DEFAULT_UPSTREAM, Repository
from proxy.upstream.replies import RefusedError, UpstreamError
from proxy.upstream.upstream import Upstream
from proxy.wire.stage import listener
from tests.lab.blob_wire import End
from twodfs.oci.digest import Digest, digest_of

_TARGET = re.compile(r"/v2/(?P<name>[^?]+)/blobs/(?P<digest>sha256:[0-9a-f]{64})")
_RANGE = re.compile(r"bytes=([0-9]+)-([0-9]*)")
_HEAD = re.compile(rb"(?P<method>[A-Z]+) (?P<target>[^ ]+) HTTP/1.1\r\n", re.IGNORECASE)
_FIELD = re.compile(rb"\r\n(?P<name>[^:\r]+): *(?P<value>[^\r]*)")


@dataclass
class Node:
    """What fills and serves."""

    url: str
    store: EdgeStore
    fills: Fills
    asked: list[web.BaseRequest] = field(default_factory=list)
    """Requests of clients whose answer has begun."""

    @property
    def part(self) -> Path:
        """The only file on its way."""
        [found] = self.store.directory.ingest.glob("*.part")
        return found

    def left(self) -> list[str]:
        """Names of what is on its way."""
        return sorted(path.name for path in self.store.directory.ingest.iterdir())

    def content(self, digest: Digest) -> bytes | None:
        path = self.store.directory.blob(digest)
        return path.read_bytes() if path.exists() else None


@contextlib.asynccontextmanager
async def filling(
    directory: Path,
    upstream: str,
    *,
    port: int = 0,
    tls: ssl.SSLContext | None = None,
    borrows: bool = True,
    hub: str | None = None,
    silence: Mapping[str, float] = MappingProxyType({}),
    **settings: Any,
) -> AsyncIterator[Node]:
    """Run a node in this loop; settings are `edge__background_fill="false"`.

    `hub`: another registry's origin; its repositories begin with `hub/`. `silence`: seconds for some of the registries.
    """
    flags: dict[str, str | None] = {path.replace("__", "."): value for path, value in settings.items()}
    defaults = {"upstream.url": upstream, "edge.directory": str(directory), "edge.min_free": "0"}
    config = load(defaults | flags, {})
    async with contextlib.AsyncExitStack() as stack:
        store = await stack.enter_async_context(EdgeStore.open(config.edge))
        realms = RealmPolicy(config.upstream.urls, ())
        upstreams = {
            DEFAULT_UPSTREAM: await stack.enter_async_context(Upstream.connect(config.upstream, config.blobs, realms))
        }
        if hub is not None:
            other = load(defaults | flags | {"upstream.url": hub}, {})
            upstreams["hub"] = await stack.enter_async_context(
                Upstream.connect(other.upstream, other.blobs, RealmPolicy(other.upstream.urls, ()), "hub")
            )
        fills = await stack.enter_async_context(
            Fills(
                store,
                upstreams,
                config.edge,
                silence={**dict.fromkeys(upstreams, config.upstream.read_timeout), **silence},
                borrows=borrows,
            )
        )
        node = Node("", store, fills)

        async def handle(http: web.BaseRequest) -> web.StreamResponse:
            idle_timeout = IdleTimeout(client=config.client.idle_timeout, upstream=config.upstream.read_timeout)
            answer = await _answer(node, http)
            node.asked.append(http)
            return await send(answer, http, idle_timeout)

        runner = web.ServerRunner(listener(handle, tls=tls, connections=1000), shutdown_timeout=0.1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", port).start()
        node.url = f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
        yield node


async def _answer(node: Node, http: web.BaseRequest) -> Answer:
    match = _TARGET.fullmatch(http.path)
    if match is None:
        return _whole(404, b"")
    digest = Digest(match["digest"])
    body: Callable[[range], BodySource]
    try:
        blob = await node.store.blobs.find(digest)
        if blob is not None:
            size, body = blob.size, lambda wanted, blob=blob: whole_body(blob, wanted)  # type: ignore[misc]
        else:
            repository = _repository(match["name"])
            growing = await node.fills.begin(repository, digest, Identity.of(http.headers))
            if growing is None:
                return _whole(507, b"pass it on")
            size, body = growing.size, growing.body
    except RefusedError as error:
        return _whole(error.reply.status, error.reply.body)
    except UpstreamError as error:
        return _whole(error.status, str(error).encode())
    headers = CIMultiDict({hdrs.CONTENT_TYPE: "application/octet-stream"})
    asked = _RANGE.fullmatch(http.headers.get(hdrs.RANGE, ""))
    if asked is None:
        headers[hdrs.CONTENT_LENGTH] = str(size)
        return Answer(200, headers, body(range(size)))
    wanted = range(int(asked[1]), min(int(asked[2]) + 1 if asked[2] else size, size))
    headers[hdrs.CONTENT_LENGTH] = str(len(wanted))
    headers[hdrs.CONTENT_RANGE] = f"bytes {wanted.start}-{wanted.stop - 1}/{size}"
    return Answer(206, headers, body(wanted))


def _repository(name: str) -> Repository:
    bare = name.removeprefix("hub/")
    return Repository(DEFAULT_UPSTREAM if bare == name else "hub", bare)


def _whole(status: int, content: bytes) -> Answer:
    return Answer(status, CIMultiDict({hdrs.CONTENT_LENGTH: str(len(content))}), WholeBody(content))


@dataclass(frozen=True)
class Asked:
    """A request that the registry got."""

    number: int
    """From 0, in the order in which they came."""
    method: str
    target: str
    headers: CIMultiDict[str]

    @property
    def first(self) -> int:
        """The first byte that is wanted."""
        match = _RANGE.fullmatch(self.headers.get(hdrs.RANGE, ""))
        return int(match[1]) if match else 0


Talk = Callable[[End, Asked], Awaitable[None]]


@dataclass
class Blob:
    """A blob, and the registry that has it: by default a decent one.

    `say` may answer in its place; it returns after an answer, or closes the connection.
    """

    content: bytes
    say: Talk | None = None
    requests: list[Asked] = field(default_factory=list)
    sent: int = 0
    """Bytes of the blob that were sent; counted by ``give``."""
    url: str = ""

    @property
    def digest(self) -> Digest:
        return digest_of(self.content)

    @property
    def path(self) -> str:
        return f"/v2/lib/blob/blobs/{self.digest}"

    async def give(self, end: End, first: int = 0, stop: int | None = None, *, content: bytes | None = None) -> None:
        """Give the rest from `first`, of which the bytes from `stop` on stay out."""
        whole = self.content if content is None else content
        size = len(whole)
        if first:
            await end.say(
                f"HTTP/1.1 206 Partial Content\r\nContent-Length: {size - first}\r\n"
                f"Content-Range: bytes {first}-{size - 1}/{size}\r\n\r\n".encode()
            )
        else:
            await end.say(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        await self.go_on(end, first, stop, content=content)

    async def go_on(self, end: End, first: int, stop: int | None = None, *, content: bytes | None = None) -> None:
        """Send these bytes."""
        piece = (self.content if content is None else content)[first:stop]
        self.sent += len(piece)
        await end.say(piece)

    async def talk(self, end: End) -> None:
        while True:
            head = await end.head()
            match = _HEAD.match(head)
            assert match is not None
            fields = CIMultiDict((one["name"].decode(), one["value"].decode()) for one in _FIELD.finditer(head))
            asked = Asked(len(self.requests), match["method"].decode(), match["target"].decode(), fields)
            if asked.method == "HEAD":  # whether a client may have it, which is not what a test of fills counts
                await end.say(f"HTTP/1.1 200 OK\r\nContent-Length: {len(self.content)}\r\n\r\n".encode())
                continue
            self.requests.append(asked)
            await (self.say or self._decently)(end, asked)
            if end.writer.is_closing():
                return

    async def _decently(self, end: End, asked: Asked) -> None:
        await self.give(end, asked.first)


@contextlib.asynccontextmanager
async def holding(blob: Blob, tls: ssl.SSLContext | None = None) -> AsyncIterator[Blob]:
    """Serve `blob` on loopback."""
    talks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.current_task()
        assert talk is not None
        talks.add(talk)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await blob.talk(End(reader, writer))
        finally:
            talks.discard(talk)
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        blob.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield blob
        finally:
            for talk in talks.copy():
                talk.cancel()
            await asyncio.gather(*talks, return_exceptions=True)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def run(directory: str, upstream: str, port: int) -> None:
    """Be a node, in a process of its own, until killed."""

    async def for_ever() -> None:
        async with filling(Path(directory), upstream, port=port):
            await asyncio.Event().wait()

    os.environ["SSL_CERT_FILE"] = os.devnull  # nobody speaks TLS, and to read all CAs takes longer than the rest
    prepare()
    asyncio.run(for_ever())
