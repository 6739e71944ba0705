"""Sockets borrowed for bodies, tried out at the start with the aiohttp and the Python that are installed."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import ssl
from typing import Any, Final

import aiohttp
from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from multidict import CIMultiDict

from proxy.bodies import splice
from proxy.bodies.decrypt import Scratch
from proxy.bodies.file_handoff import file_outlet
from proxy.bodies.idle_timeout import IdleTimeout
from proxy.bodies.receive import Receiver
from proxy.bodies.socket_handoff import SocketHandoff
from proxy.bodies.splice import Pipe
from proxy.bodies.threads import Threads
from proxy.insides.inventory import BORROWING, missing
from proxy.insides.server import RequestConnection
from proxy.insides.versions import VERSIONS
from proxy.wire.rehearsal import Rehearsal, tried
from proxy.wire.responses import OutgoingResponse, whole
from proxy.wire.stage import SECONDS, URL, StageClient, client_of, head_of, listener, session_with

_TWICE: Final = 2
_BODY: Final = bytes(range(256)) * 4096
"""More than is read ahead on the way, so that a part of it is left for the sockets."""
_LENGTH: Final = b"Content-Length: %d\r\n\r\n" % len(_BODY)
_OK: Final = b"HTTP/1.1 200 OK\r\n"


async def obstacle(*, has_files: bool = False) -> str | None:
    """Say why bodies cannot be moved past aiohttp here; None when they can. Takes some 20 milliseconds.

    ``has_files``: whether they go to files and come from them as well; that takes some 50 more.
    """
    if (reason := splice.obstacle()) is not None:
        return reason
    if (names := missing(BORROWING)) is not None:
        return f"{VERSIONS} has no {names}"
    for what, rehearsal in (_REHEARSALS | (_OF_FILES if has_files else {})).items():
        if (broken := await tried(what, rehearsal)) is not None:
            return f"with {VERSIONS} this does not work: {broken}"
    return None


def _nothing() -> None:
    """Do nothing."""


class _Registry:
    """Answers downloads with the body, and takes it from uploads."""

    def __init__(self) -> None:
        self.connections = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while head := await head_of(reader):
            if head.startswith(b"GET "):
                writer.write(_OK + _LENGTH + _BODY)
            else:
                is_whole = await reader.readexactly(len(_BODY)) == _BODY
                writer.write((_OK if is_whole else b"HTTP/1.1 400 Bad Request\r\n") + b"Content-Length: 0\r\n\r\n")


async def _splices_downloads() -> bool:
    registry = _Registry()
    async with session_with(registry.talk) as session:
        return await _downloads(session, URL) and registry.connections == 1


async def _decrypts_downloads() -> bool:
    registry = _Registry()
    async with session_with(registry.talk, server=_server_context(), client=_client_context()) as session:
        return await _downloads(session, URL.replace("http:", "https:")) and registry.connections == 1


async def _downloads(session: aiohttp.ClientSession, url: str) -> bool:
    """Download twice over the same two connections; True when the bodies came whole, and past aiohttp."""
    moved: list[int] = []

    async def pass_on(request: web.BaseRequest) -> web.StreamResponse:
        response = OutgoingResponse(headers=CIMultiDict({hdrs.CONTENT_LENGTH: str(len(_BODY))}))
        async with session.get(url) as answer:
            await response.prepare(request)
            flow = SocketHandoff.of_answer(
                answer, request, length=len(_BODY), await_source=_nothing, await_sink=_nothing
            )
            if flow is not None and flow.tunnel is not None:
                moved.append(await flow.decrypt(flow.tunnel, Scratch()))
            elif flow is not None:
                with contextlib.closing(Pipe()) as pipe:
                    moved.append(await flow.splice(pipe))
        await response.write_eof()
        return response

    async with client_of(listener(pass_on)) as client:
        is_whole = await _downloaded(client)
    return is_whole and len(moved) == _TWICE and all(moved)


async def _downloaded(client: StageClient[Any]) -> bool:
    """Ask for the body twice; say whether it came whole."""
    for _ in range(_TWICE):
        client.writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        if not (await head_of(client.reader)).startswith(_OK):
            return False
        if await client.reader.readexactly(len(_BODY)) != _BODY:
            return False
    return True


async def _receives() -> bool:
    """Download into a thread twice over one connection; True when the bodies came whole, and past aiohttp."""
    registry = _Registry()
    async with session_with(registry.talk) as session:
        return await _received(session, URL) and registry.connections == 1


async def _receives_tls() -> bool:
    registry = _Registry()
    async with session_with(registry.talk, server=_server_context(), client=_client_context()) as session:
        return await _received(session, URL.replace("http:", "https:")) and registry.connections == 1


async def _received(session: aiohttp.ClientSession, url: str) -> bool:
    async def passed(_: int) -> None:
        """Wait for nothing."""

    with Threads("rehearsal", 1) as threads:
        for _ in range(_TWICE):
            body = bytearray()
            async with session.get(url) as answer:
                await Receiver(threads, SECONDS, borrows=True).receive(answer, body.extend, passed)
                if body != _BODY or answer.content.total_bytes >= len(_BODY):
                    return False
    return True


async def _sends_files() -> bool:
    """Send a file twice over one connection."""
    with os.fdopen(os.memfd_create("rehearsal"), "wb") as file:
        file.write(_BODY)
        file.flush()

        async def give(request: web.BaseRequest) -> web.StreamResponse:
            response = OutgoingResponse(headers=CIMultiDict({hdrs.CONTENT_LENGTH: str(len(_BODY))}))
            idle_timeout = IdleTimeout(client=SECONDS, upstream=SECONDS)
            await response.prepare(request)
            async with file_outlet(response, request, idle_timeout) as outlet:
                await outlet.send(file.fileno(), range(len(_BODY)))
            await response.write_eof()
            return response

        async with client_of(listener(give)) as client:
            return await _downloaded(client)


class _Upload(aiohttp.Payload):
    """A client's body on its way to the registry, past aiohttp."""

    def __init__(self, request: web.BaseRequest) -> None:
        super().__init__(request.content)
        self._request = request
        self.moved = 0

    @property
    def size(self) -> int:
        return len(_BODY)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise NotImplementedError

    async def write(self, writer: AbstractStreamWriter) -> None:
        flow = SocketHandoff.of_request(
            self._request, writer, length=len(_BODY), await_source=_nothing, await_sink=_nothing
        )
        if flow is not None:
            with contextlib.closing(Pipe()) as pipe:
                self.moved = await flow.splice(pipe)


async def _splices_uploads() -> bool:
    """Upload twice over the same two connections."""
    registry = _Registry()
    moved: list[int] = []
    async with session_with(registry.talk) as session:

        async def pass_on(request: web.BaseRequest) -> web.StreamResponse:
            upload = _Upload(request)
            async with session.put(URL, data=upload) as answer:
                moved.append(upload.moved)
                return whole(answer.status, b"", "text/plain")

        async with client_of(listener(pass_on)) as client:
            for _ in range(_TWICE):
                client.writer.write(b"PUT / HTTP/1.1\r\nHost: h\r\n" + _LENGTH + _BODY)
                if not (await head_of(client.reader)).startswith(_OK):
                    return False
    return len(moved) == _TWICE and all(moved) and registry.connections == 1


async def _reads_on_behind_a_piece() -> bool:
    """Exchange the parser of a connection in the middle of a body, without a socket."""
    protocol = listener(_no_handler)()
    if not isinstance(protocol, RequestConnection):
        return False
    [(_, content)] = protocol.parse(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc")
    fed = content.total_bytes
    protocol.resume_body(content, len(b"de"))
    behind = protocol.parse(b"deGET / HTTP/1.1\r\nHost: h\r\n\r\n")
    return fed == len(b"abc") and content.is_eof() and content.read_nowait() == b"abcde" and len(behind) == 1


async def _no_handler(_: web.BaseRequest) -> web.StreamResponse:
    raise NotImplementedError


def _client_context() -> ssl.SSLContext:
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE  # it is ourselves
    return client


def _server_context() -> ssl.SSLContext:
    """Return a context with a certificate that is made here and trusted nowhere."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "rehearsal")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # OpenSSL takes files alone, and there need not be a directory that can be written.
    with os.fdopen(os.memfd_create("rehearsal"), "wb") as file:
        file.write(private + certificate.public_bytes(pem))
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
    return context


_REHEARSALS: Final[dict[str, Rehearsal]] = {
    "a parser that begins in the middle of a body": _reads_on_behind_a_piece,
    "a download through borrowed sockets": _splices_downloads,
    "an upload through borrowed sockets": _splices_uploads,
    "a download out of a borrowed TLS connection": _decrypts_downloads,
}
_OF_FILES: Final[dict[str, Rehearsal]] = {
    "a download into a thread": _receives,
    "a download out of a borrowed TLS connection into a thread": _receives_tls,
    "a file into a borrowed socket": _sends_files,
}
