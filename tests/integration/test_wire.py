"""What travels over the sockets: back-pressure, early ends, Expect, and what is no HTTP."""

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from proxy.clients import hops
from tests.lab.fake_registry import proxied, until
from tests.lab.process import listens
from tests.lab.proxy import Proxy
from tests.lab.raw_peer import BLOB, GET_BLOB, MIB, Peer, behind_proxy, connected, head_of, upload
from tests.lab.registry import Registry


async def test_requests_reach_the_upstream_as_they_were_sent() -> None:
    seen: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await head_of(reader))
        writer.write(b"HTTP/1.1 200 OK\r\nX-Odd:  two words \r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()

    async with behind_proxy(talk) as (_, host, port), connected(host, port) as (reader, writer):
        writer.write(
            b"GET /v2/_x//%7e~;b=*?x=%20&&/.. HTTP/1.1\r\nHost: public.example\r\nX-Mine: 1\r\nX-Mine: 2\r\n"
            b"Authorization: Basic abc=\r\nConnection: keep-alive, X-Secret-Hop\r\nX-Secret-Hop: 1\r\n"
            b"TE: trailers\r\nProxy-Authorization: no\r\nAccept-Encoding: gzip\r\n\r\n"
        )
        answer = await head_of(reader)
    lines = seen[0].decode().split("\r\n")
    assert lines[0] == "GET /v2/_x//%7e~;b=*?x=%20&&/.. HTTP/1.1"
    assert sorted(line for line in lines[1:] if line and not line.startswith("Host:")) == [
        "Accept-Encoding: gzip",
        "Authorization: Basic abc=",
        f"Via: 1.1 {hops.name()}",
        "X-Mine: 1",
        "X-Mine: 2",
    ]
    assert b"X-Odd: two words\r\n" in answer
    assert b"Server:" not in answer
    assert b"Content-Type:" not in answer


async def test_identity_is_asked_for_where_the_client_names_no_encoding() -> None:
    seen: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await head_of(reader))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with behind_proxy(talk) as (_, host, port), connected(host, port) as (reader, writer):
        writer.write(GET_BLOB)
        assert b" 204 " in await head_of(reader)
    assert b"Accept-Encoding: identity\r\n" in seen[0]


async def test_compressed_bodies_pass_as_they_are() -> None:
    body = b"\x1f\x8b this only looks like gzip"

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()

    async with behind_proxy(talk) as (_, host, port), connected(host, port) as (reader, writer):
        writer.write(GET_BLOB)
        assert b"Content-Encoding: gzip" in await head_of(reader)
        assert await reader.readexactly(len(body)) == body


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: list[Peer]) -> None:
    await head_of(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1000 * MIB))
    while True:
        writer.write(b"x" * MIB)
        await writer.drain()
        peer[0].sent += MIB


async def test_a_slow_client_slows_the_registry_down_instead_of_filling_memory() -> None:
    box: list[Peer] = []
    async with behind_proxy(lambda r, w: endless(r, w, box)) as (peer, host, port):
        box.append(peer)
        async with connected(host, port) as (reader, writer):
            writer.write(GET_BLOB)
            await head_of(reader)
            await until(lambda: peer.sent > 0)
            settled = -1
            while settled != peer.sent:  # the sockets' own buffers fill, then nothing moves
                settled = peer.sent
                await asyncio.sleep(0.3)
            assert peer.sent < 64 * MIB
        # The client is gone: the request upstream ends, long before its 1,000 MiB.
        await asyncio.wait_for(peer.closed.wait(), 30)
        assert peer.sent < 64 * MIB


async def test_a_client_that_leaves_before_the_answer_ends_the_request_upstream() -> None:
    arrived = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await head_of(reader)
        arrived.set()
        assert await reader.read() == b""

    async with behind_proxy(talk) as (peer, host, port):
        async with connected(host, port) as (_, writer):
            writer.write(GET_BLOB)
            await asyncio.wait_for(arrived.wait(), 30)
        await asyncio.wait_for(peer.closed.wait(), 30)


async def test_a_client_that_leaves_in_the_middle_of_an_upload_ends_it_upstream() -> None:
    received = bytearray()

    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await head_of(reader)
        while chunk := await reader.read(65536):
            received.extend(chunk)

    async with behind_proxy(talk) as (peer, host, port):
        async with connected(host, port) as (_, writer):
            writer.write(b"PATCH %s HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n" % BLOB + b"y" * 500)
            await until(lambda: len(received) == 500)
        await asyncio.wait_for(peer.closed.wait(), 30)
    assert len(received) == 500


@pytest.mark.parametrize("framing", [b"Content-Length: 100\r\n", b"Transfer-Encoding: chunked\r\n"])
async def test_a_body_that_breaks_off_upstream_breaks_off_for_the_client(framing: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        part = b"5\r\nhello\r\n" if b"chunked" in framing else b"hello"
        writer.write(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n" + part)
        await writer.drain()

    async with behind_proxy(talk) as (_, host, port), connected(host, port) as (reader, writer):
        writer.write(GET_BLOB)
        await head_of(reader)
        rest = await reader.read()
    assert b"hello" in rest
    assert not rest.endswith(b"0\r\n\r\n")
    assert len(rest) < 100


async def test_a_body_without_length_ends_with_the_connection() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nuntil the end")
        await writer.drain()

    async with behind_proxy(talk) as (_, host, port), connected(host, port) as (reader, writer):
        writer.write(b"GET /v2/ HTTP/1.0\r\n\r\n")
        await head_of(reader)
        assert await reader.read() == b"until the end"


async def test_a_no_comes_before_the_body_of_a_client_that_expects_100() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert b"Expect: 100-continue" in await head_of(reader)
        writer.write(b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        assert await reader.read() == b""

    async with behind_proxy(talk) as (_, host, port), connected(host, port) as (reader, writer):
        writer.write(b"PUT %s HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n" % BLOB)
        assert b" 401 " in await head_of(reader)


async def test_a_client_that_expects_100_gets_it_when_the_registry_is_ready() -> None:
    ready = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        await ready.wait()
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await reader.readexactly(9) == b"some blob"
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with behind_proxy(talk) as (_, host, port), connected(host, port) as (reader, writer):
        writer.write(b"PUT %s HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n" % BLOB)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(1), 0.3)
        ready.set()
        assert await head_of(reader) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"some blob")
        assert b" 201 " in await head_of(reader)


PUT_EXPECTING = b"PUT %s HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n" % BLOB


async def test_a_refused_client_that_expects_100_gets_a_closed_connection() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with behind_proxy(talk) as (_, host, port), connected(host, port) as (reader, writer):
        writer.write(PUT_EXPECTING)
        assert b"Connection: close" in await head_of(reader)


async def test_an_upstream_that_knows_no_expect_gets_the_body_all_the_same() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        assert await reader.readexactly(9) == b"some blob"
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with behind_proxy(talk) as (_, host, port), connected(host, port) as (reader, writer):
        writer.write(PUT_EXPECTING)
        assert b" 100 " in await head_of(reader)
        writer.write(b"some blob")
        assert b" 201 " in await head_of(reader)


async def test_a_malformed_chunk_in_the_middle_of_an_upload_is_answered_at_once() -> None:
    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await head_of(reader)
        await reader.read()

    async with behind_proxy(talk) as (_, host, port), connected(host, port) as (reader, writer):
        writer.write(b"PATCH %s HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" % BLOB)
        writer.write(b"3\r\nabc\r\n")
        await asyncio.sleep(0.1)
        writer.write(b"not a chunk\r\n")
        head = await asyncio.wait_for(head_of(reader), 30)
        assert b" 400 " in head
        assert b"body is not framed" in await reader.readuntil(b"}]}")
        assert await reader.read() == b""


async def test_http_1_0_with_keep_alive_hears_where_a_chunked_answer_ends() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        await writer.drain()

    async with behind_proxy(talk) as (_, host, port), connected(host, port) as (reader, writer):
        writer.write(b"GET /v2/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        await head_of(reader)
        assert await asyncio.wait_for(reader.read(), 30) == b"abc"


async def test_addresses_of_the_upstream_come_back_as_ours() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await head_of(reader)).split(b"\r\n")
        own = next(line for line in lines if line.startswith(b"Host: "))[6:]
        writer.write(
            b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nLocation: //" + own + b"/v2/x?a=b%20c\r\n"
            b"Link: <http://" + own + b'/v2/_catalog?n=1>; rel="next"\r\n'
            b"Link: <http://other.example/>; rel=x\r\n\r\n"
        )
        await writer.drain()

    async with behind_proxy(talk) as (_, host, port), connected(host, port) as (reader, writer):
        writer.write(b"GET /v2/ HTTP/1.1\r\nHost: public.example:8080\r\n\r\n")
        head = await head_of(reader)
    assert b"Location: http://public.example:8080/v2/x?a=b%20c\r\n" in head
    assert b'Link: <http://public.example:8080/v2/_catalog?n=1>; rel="next"\r\n' in head
    assert b"Link: <http://other.example/>; rel=x\r\n" in head


async def test_a_silent_upstream_in_the_middle_of_a_body_is_given_up() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
        assert await reader.read() == b""

    async with (
        behind_proxy(talk, upstream__read_timeout="0.3") as (_, host, port),
        connected(host, port) as (reader, writer),
    ):
        writer.write(GET_BLOB)
        await head_of(reader)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(100)


async def test_a_client_that_never_sends_its_body_hears_408() -> None:
    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await head_of(reader)
        await reader.read()

    async with (
        behind_proxy(talk, client__idle_timeout="0.3") as (_, host, port),
        connected(host, port) as (reader, writer),
    ):
        writer.write(b"PATCH %s HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc" % BLOB)
        assert b" 408 " in await head_of(reader)
        assert b"did not arrive in time" in await reader.readuntil(b"}]}")


async def test_a_long_upload_is_not_cut_short_by_the_time_for_an_answer() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        assert await reader.readexactly(10) == b"0123456789"
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    limits = {"upstream__read_timeout": "1.5", "client__idle_timeout": "1.5"}
    async with behind_proxy(talk, **limits) as (_, host, port), connected(host, port) as (reader, writer):
        writer.write(b"PATCH %s HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n" % BLOB)
        for digit in b"0123456789":
            await asyncio.sleep(0.2)
            writer.write(bytes([digit]))
        assert b" 201 " in await head_of(reader)


async def test_a_dead_kept_connection_is_replaced_but_an_upload_is_never_sent_twice() -> None:
    bodies: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        second = await head_of(reader)
        if second.startswith(b"PUT"):
            bodies.append(await reader.read(100))
        # and hangs up without an answer, as a server does that had decided to close the connection

    async with behind_proxy(talk) as (_, host, port), connected(host, port) as (reader, writer):
        writer.write(GET_BLOB)
        assert b" 200 " in await head_of(reader)
        writer.write(GET_BLOB)
        assert b" 200 " in await head_of(reader)  # asked again on a new connection
        writer.write(b"PUT %s HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody" % BLOB)
        head = await head_of(reader)
        assert b" 502 " in head or b" 200 " in head
    assert bodies == [b"body"]


NO_HTTP = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS hello\r\n\r\n",
    b"GET /v2/ HTTP/9.9\r\nHost: h\r\n\r\n",
    b"GET /v2/\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\nHost: x/../y\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"POST /v2/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"GET  /v2/ extra HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\nHost: h\r\nBad Header: x\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\nHost: h\r\nX: a\x00b\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\nHost: h\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\nHost: h\r\n" + b"X: y\r\n" * 500 + b"\r\n",
    b"POST /v2/ HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /v2/ HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    b"POST /v2/ HTTP/1.1\r\nHost: h\r\nContent-Length: -5\r\n\r\n",
    b"POST /v2/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"POST /v2/ HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /v2/ HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET_BLOB,
    b"CONNECT /v2/ HTTP/1.1\r\nHost: h\r\n\r\n",
    b"CONNECT /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: h\r\n\r\n" + GET_BLOB,
    b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n",
    b"CONNECT http://h/v2/ HTTP/1.1\r\nHost: h\r\n\r\n",
]


@pytest.mark.parametrize("raw", NO_HTTP, ids=range(len(NO_HTTP)))
async def test_what_is_no_http_gets_an_oci_error_and_never_reaches_the_registry(raw: bytes) -> None:
    reached = asyncio.Event()

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with behind_proxy(talk) as (_, host, port), connected(host, port) as (reader, writer):
        writer.write(raw)
        head = await head_of(reader)
        assert head.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
        (error,) = orjson.loads(await reader.read())["errors"]
    assert error["code"] == "UNSUPPORTED"
    assert "the request is not HTTP" in error["message"]
    assert not reached.is_set()


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /v2/ HTTP/1.1\r\nHost: h\r\nX-Latin: caf\xe9\r\n\r\n",
        b"GET /v2/\xff\xfe HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET http://other.example/v2/ HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /v2/a#fragment HTTP/1.1\r\nHost: h\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
        b"CONNECT other.example:443 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"BREW /v2/ HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\n\r\n",
        b"GET /v2/a/blobs/sha256:" + b"0" * 64 + b" HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody",
        b"GET /v2/a/manifests/v1--0.0.0.0 HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody",
        b"GET /v2/ HTTP/1.1\r\nHost: bad host<>\r\n\r\n",
        b"GET /v2/a/manifests/v1--0.0.0.0--" + b"9" * 200 + b".0.0.0 HTTP/1.1\r\nHost: h\r\n\r\n",
    ],
)
async def test_odd_requests_get_a_bounded_clear_answer(registry: Registry, raw: bytes) -> None:
    async with proxied(registry.url) as url:
        host, _, port = url.removeprefix("http://").rpartition(":")
        async with connected(host, int(port)) as (reader, writer):
            writer.write(raw)
            head = await head_of(reader)
            assert b"Traceback" not in head
            assert 200 <= int(head.split()[1]) < 500, head


@pytest.fixture(params=["auto", "buffered"])
def running(registry: Registry, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Proxy]:
    environment = {"TWODFS_PROXY_BLOBS_RELAY": str(request.param)}
    with Proxy.start(tmp_path, registry.url, environment=environment) as started:
        yield started


async def test_sigterm_lets_running_downloads_finish_and_refuses_new_connections(running: Proxy) -> None:
    content = os.urandom(8 * MIB)
    host, _, port = running.address.rpartition(":")
    target = await upload(host, int(port), content)
    async with contextlib.AsyncExitStack() as stack:
        streams = []
        for _ in range(20):
            reader, writer = await stack.enter_async_context(connected(host, int(port)))
            writer.write(f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            await head_of(reader)
            streams.append(reader)
        exit_code = asyncio.get_running_loop().run_in_executor(None, running.terminate)
        await until(lambda: any(one["event"] == "stopping" for one in running.log_events()))
        await until(lambda: not listens(int(port))())
        bodies = [await reader.readexactly(len(content)) for reader in streams]
        assert all(body == content for body in bodies)
    assert await exit_code == 0
    assert running.log_events()[-1]["event"] == "stopped"


@pytest.mark.parametrize("grace", ["0", "0.5"])
async def test_a_client_that_takes_nothing_does_not_hold_up_the_end(
    registry: Registry, tmp_path: Path, grace: str
) -> None:
    environment = {"TWODFS_PROXY_SHUTDOWN_GRACE": grace}
    with Proxy.start(tmp_path, registry.url, environment=environment) as proxy:
        host, _, port = proxy.address.rpartition(":")
        target = await upload(host, int(port), os.urandom(16 * MIB))
        async with connected(host, int(port)) as (reader, writer):
            writer.write(f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            await head_of(reader)
            assert await asyncio.get_running_loop().run_in_executor(None, proxy.terminate, 10) == 0


async def test_a_request_whose_client_left_is_logged(running: Proxy) -> None:
    host, _, port = running.address.rpartition(":")
    target = await upload(host, int(port), os.urandom(16 * MIB))
    async with connected(host, int(port)) as (reader, writer):
        writer.write(f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        await head_of(reader)

    def lines() -> list[dict[str, Any]]:
        return [one for one in running.log_events() if (one["event"], one.get("path")) == ("request", target)]

    await until(lambda: bool(lines()))
    (line,) = lines()
    assert line["status"] in (200, 499)


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"TLS/1.0"])
@pytest.mark.parametrize("body", [b"", b"hello"])
async def test_a_request_behind_an_upgrade_that_is_not_made_is_answered(protocol: bytes, body: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await head_of(reader):
            assert b"upgrade" not in head.lower()
            if head.startswith(b"PATCH"):
                await reader.readexactly(len(body))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + head.split(b"/")[2] + b"/")

    first = b"PATCH /v2/1/ HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n" % len(body)
    first += b"Upgrade: %s\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAM\r\n\r\n" % protocol
    second = b"GET /v2/2/ HTTP/1.1\r\nHost: h\r\n\r\n"
    async with behind_proxy(talk) as (_, host, port), connected(host, port) as (reader, writer):
        writer.write(first + body + second + second.replace(b"/2/", b"/3/"))
        for number in (b"1/", b"2/", b"3/"):
            head = await asyncio.wait_for(head_of(reader), 30)
            assert b" 200 " in head
            assert await reader.readexactly(2) == number
            if b"\r\nConnection: close\r\n" in head:  # the client knows, and asks again
                assert body
                assert await reader.read() == b""
                break


async def test_http_1_0_gets_no_100() -> None:
    """RFC 9110, 10.1.1: a server must ignore the expectation, as 1.0 has no interim answers."""
    seen: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await head_of(reader) + await reader.readexactly(9))
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with behind_proxy(talk) as (_, host, port), connected(host, port) as (reader, writer):
        writer.write(PUT_EXPECTING.replace(b"HTTP/1.1", b"HTTP/1.0") + b"some blob")
        assert b" 201 " in await asyncio.wait_for(head_of(reader), 30)
    assert b"Expect" not in seen[0]
    assert seen[0].endswith(b"some blob")


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"gzip", b"chunked, gzip", b"gzip\r\nTransfer-Encoding: chunked"])
@pytest.mark.parametrize("target", [b"/v2/a/blobs/sha256:" + b"0" * 64, b"/v2/a/manifests/v1--0.0.0.0"])
async def test_a_transfer_coding_of_the_registrys_that_nobody_asked_for_is_a_502(coding: bytes, target: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + coding + b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        await writer.drain()

    async with behind_proxy(talk) as (_, host, port), connected(host, port) as (reader, writer):
        writer.write(b"GET " + target + b" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        assert b" 502 " in await asyncio.wait_for(head_of(reader), 30)
        (error,) = orjson.loads(await reader.read())["errors"]
    assert error["code"] == "UNAVAILABLE"
