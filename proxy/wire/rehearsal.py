"""The protections, tried out at the start with the installed aiohttp and Python.

A control that rests on something that they do not promise would otherwise be gone with an update, unnoticed.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import hdrs, web
from multidict import CIMultiDict

from proxy.insides.inventory import PROTECTING, missing
from proxy.insides.server import RequestConnection
from proxy.insides.transports import read_at_once
from proxy.insides.versions import VERSIONS
from proxy.wire.responses import JSON, OutgoingResponse, whole
from proxy.wire.sizes import MAX_FIELD_SIZE, MAX_HEAD_SIZE, MAX_LINE_SIZE
from proxy.wire.stage import SECONDS, URL, StageClient, client_of, head_of, listener, session_with

_MOST_SECONDS: Final = 30.0
"""That any one of these may take. It takes milliseconds, but a machine that starts may have much else to do.

Nothing here depends on how fast the machine is: no time-out is waited for that would be another's undoing.
"""
_SOON: Final = 0.02
_PIECE: Final = 16

Rehearsal = Callable[[], Awaitable[bool]]

_POST: Final = b"POST / HTTP/1.1\r\nHost: h\r\n"
REFUSED: Final = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    b"GET /\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: h\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x/../y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nX: a\x00b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * (MAX_FIELD_SIZE + 1) + b"\r\n\r\n",
    b"GET /" + b"a" * (MAX_LINE_SIZE + 1) + b" HTTP/1.1\r\nHost: h\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n",
    b"POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    _POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    _POST + b"Content-Length: 0\r\nContent-Length: 50\r\n\r\n",
    _POST + b"Content-Length: +0\r\n\r\n",
    _POST + b"Content-Length : 0\r\n\r\n",
    _POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    _POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    _POST + b"X: a\r\n b\r\n\r\n",
    _POST + b"X: a\rContent-Length: 0\r\n\r\n",
    _POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    _POST + b"Transfer-Encoding: chunked\r\n\r\n0;\n\r\n",
)
"""Requests that are no HTTP, or end in another place for another reader."""


async def obstacle() -> str | None:
    """Name each protection that does not work here; None when all do. Takes some 50 milliseconds."""
    if (names := missing(PROTECTING)) is not None:
        return f"{VERSIONS} has no {names}"
    outcomes = await asyncio.gather(*(tried(what, rehearsal) for what, rehearsal in _REHEARSALS.items()))
    broken = "; ".join(filter(None, outcomes))
    return f"with {VERSIONS} this does not work: {broken}" if broken else None


async def tried(what: str, rehearsal: Rehearsal) -> str | None:
    """Return the name ``what`` when it does not work, with the reason as far as that is known; None when it does."""
    try:
        async with asyncio.timeout(_MOST_SECONDS):
            return None if await rehearsal() else what
    except Exception as error:  # noqa: BLE001 - an unknown aiohttp may fail in any way
        return f"{what} ({error!r})"


async def _answer(request: web.BaseRequest) -> web.StreamResponse:
    try:
        body = await request.read()
    except web.RequestPayloadError:
        return whole(400, b"", JSON)
    if request.path == "/whole":
        return whole(200, body, JSON)
    length = CIMultiDict({hdrs.CONTENT_LENGTH: str(len(body))})
    response = OutgoingResponse(status=200, headers=length)
    await response.prepare(request)
    await response.send(body)
    await response.flush()
    await response.write_eof()
    return response


async def _passes() -> bool:
    """Ask three times over one connection, and see that the answers are the ones that were made."""
    async with client_of(listener(_answer)) as client:
        for path, own in (b"/whole", {b"Content-Type"}), (b"/relayed", set()), (b"/whole", {b"Content-Type"}):
            client.writer.write(b"POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody" % path)
            head = await head_of(client.reader)
            line, *headers = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
            names = {header.partition(b":")[0] for header in headers}
            if line != b"HTTP/1.1 200 OK" or names != {b"Content-Length", b"Date"} | own:
                return False
            if await client.reader.readexactly(4) != b"body":
                return False
    return True


async def _refuses() -> bool:
    return all([await _is_answered(raw, b" 400 ") for raw in REFUSED])


async def _bounds_heads() -> bool:
    field = b"X: " + b"a" * (MAX_FIELD_SIZE - 1) + b"\r\n"
    return await _is_answered(b"GET / HTTP/1.1\r\n" + field * (1 + MAX_HEAD_SIZE // MAX_FIELD_SIZE), b" 431 ")


async def _is_answered(raw: bytes, status: bytes) -> bool:
    async with client_of(listener(_answer)) as client:
        _connection(client).data_received(raw)  # not through the socket: unread bytes there would reset it
        return status in await client.reader.readline()


def _connection(client: StageClient[asyncio.BaseProtocol]) -> RequestConnection:
    assert isinstance(client.protocol, RequestConnection)  # noqa: S101 - a listener without TLS makes no other
    return client.protocol


async def _times_heads_out() -> bool:
    """See that each head has its time, and let it be over."""
    async with client_of(listener(_answer)) as silent, client_of(listener(_answer)) as client:
        new = _connection(silent)
        has_time = SECONDS / 2 < new.seconds_left <= SECONDS
        new.await_head(0)
        connection = _connection(client)
        connection.data_received(b"GET /whole HTTP/1.1\r\nHost: h\r\n\r\n")
        await head_of(client.reader)
        while not connection.awaits_head:  # noqa: ASYNC110 - a turn of the loop, of which there is no notice
            await asyncio.sleep(0)
        connection.data_received(b"GET / HTTP/1.1\r\n")
        has_time = has_time and SECONDS / 2 < connection.seconds_left <= SECONDS
        connection.await_head(0)
        return has_time and b" 408 " in await client.reader.readline() and not await silent.reader.read()


async def _times_handshakes_out() -> bool:
    """Say nothing where a handshake is waited for; then have one more than there is room for."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    async with client_of(listener(_answer, seconds=_SOON, tls=tls)) as client:
        ended = not await client.reader.read()
    full = listener(_answer, tls=tls, connections=1)
    async with client_of(full) as first, client_of(full):
        return ended and not await first.reader.read()


async def _parses_behind_upgrade() -> bool:
    async with client_of(listener(_answer)) as client:
        client.writer.write(b"GET /relayed HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        client.writer.write(b"GET /whole HTTP/1.1\r\nHost: h\r\n\r\n")
        first, second = await head_of(client.reader), await head_of(client.reader)
    return b" 200 " in first and b"Content-Type" in second


async def _drops_unsolicited_answers() -> bool:
    """Answer unasked while the connection is idle: before the loop has noticed, and so that it does."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"
    peers: list[asyncio.StreamWriter] = []
    ended = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(writer)
        number = len(peers)
        await head_of(reader)
        writer.write(answer + b"%d" % number)
        if not await reader.read() and number == 2:  # noqa: PLR2004 - the one that notices
            ended.set()

    async with session_with(talk) as session:
        heard = []
        for number in range(1, 4):
            async with session.get(URL) as told:
                heard.append(await told.read())
            peers[-1].write(answer + b"!")
            if number == 2:  # noqa: PLR2004
                await ended.wait()
    return heard == [b"1", b"2", b"3"]


async def _ends_the_wait_for_continue() -> bool:
    body = b""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal body
        await head_of(reader)
        body = await reader.readexactly(4)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    async with session_with(talk) as session, session.put(URL, data=b"body", expect100=True) as answer:
        return answer.status == 200 and body == b"body"  # noqa: PLR2004 - as the peer says


class _Pieces(asyncio.Protocol):
    """Records the sizes of the pieces that arrive."""

    def __init__(self, size: int) -> None:
        self.sizes: list[int] = []
        self._size = size
        self.whole = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        read_at_once(transport, _PIECE)

    def data_received(self, data: bytes) -> None:
        self.sizes.append(len(data))
        if sum(self.sizes) == self._size:
            self.whole.set()


async def _reads_no_more_than_asked() -> bool:
    pieces = _Pieces(4 * _PIECE)
    async with client_of(lambda: pieces) as client:
        client.writer.write(bytes(4 * _PIECE))
        await pieces.whole.wait()
    return max(pieces.sizes) <= _PIECE


_REHEARSALS: Final[dict[str, Rehearsal]] = {
    "requests and answers pass as they are": _passes,
    "what is no HTTP is refused": _refuses,
    "a request's head is bounded in size": _bounds_heads,
    "a request's head is bounded in time": _times_heads_out,
    "a TLS handshake is bounded in time": _times_handshakes_out,
    "a request behind an upgrade is heard": _parses_behind_upgrade,
    "an answer that nobody asked for is dropped": _drops_unsolicited_answers,
    "the wait for 100 Continue is bounded": _ends_the_wait_for_continue,
    "what is read ahead is bounded": _reads_no_more_than_asked,
}
