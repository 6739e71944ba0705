"""Clients that mean harm, over raw sockets: each is met by a bounded, clear answer, and others are served."""

import asyncio
import contextlib
import io
import resource
from collections.abc import AsyncIterator, Iterator

import aiohttp
import orjson
import pytest
from aiohttp import web

from tests.lab.conversation import AGAINST_THE_GRAMMAR
from tests.lab.fake_registry import FakeRegistry, proxied, serving, until
from tests.lab.partition_requests import ALL, IMAGE, TAG, get, message
from tests.lab.raw_peer import MIB, behind_proxy, connected, head_of

GET_BASE = b"GET /v2/ HTTP/1.1\r\nHost: h\r\n\r\n"
CLOSING = b"GET /v2/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


@pytest.fixture
async def registry() -> AsyncIterator[FakeRegistry]:
    async with serving(FakeRegistry(IMAGE)) as started:
        yield started


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def place(url: str) -> tuple[str, int]:
    host, _, port = url.partition("//")[2].rpartition(":")
    return host, int(port)


async def first_line(url: str, raw: bytes) -> bytes:
    async with connected(*place(url)) as (reader, writer):
        writer.write(raw)
        return (await asyncio.wait_for(head_of(reader), 30)).split(b"\r\n")[0]


HIDDEN = b"GET /v2/hidden/manifests/v1 HTTP/1.1\r\nHost: h\r\n\r\n"
SMUGGLED = [
    b"POST /v2/x HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    b"POST /v2/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + HIDDEN,
    b"POST /v2/x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nContent-Length: 50\r\n\r\n" + HIDDEN,
    b"POST /v2/x HTTP/1.1\r\nHost: h\r\nContent-Length: 0, 50\r\n\r\n" + HIDDEN,
    b"POST /v2/x HTTP/1.1\r\nHost: h\r\nContent-Length: +0\r\n\r\n" + HIDDEN,
    b"POST /v2/x HTTP/1.1\r\nHost: h\r\nContent-Length : 0\r\n\r\n" + HIDDEN,
    b"POST /v2/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    b"POST /v2/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n" + HIDDEN,
    b"POST /v2/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    b"POST /v2/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    b"POST /v2/x HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    b"POST /v2/x HTTP/1.1\nHost: h\nContent-Length: 0\n\n" + HIDDEN,
    b"POST /v2/x HTTP/1.1\r\nHost: h\r\nX: a\rContent-Length: 0\r\n\r\n" + HIDDEN,
    b"POST /v2/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0;\n\r\n" + HIDDEN,
    b"POST /v2/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n" + HIDDEN,
    b"POST /v2/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n" + HIDDEN,
    b"POST /v2/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n\r\n" + HIDDEN,
    b"POST /v2/x HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
]


@pytest.mark.parametrize("raw", SMUGGLED, ids=range(len(SMUGGLED)))
async def test_a_request_that_ends_in_two_places_never_hides_another(raw: bytes) -> None:
    seen = bytearray()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(MIB):
            seen.extend(chunk)
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with behind_proxy(talk) as (_, host, port), connected(host, port) as (reader, writer):
        writer.write(raw)
        line = (await asyncio.wait_for(head_of(reader), 30)).split(b"\r\n")[0]
        assert line.split()[1] == b"400"
        await asyncio.wait_for(reader.read(), 30)  # the connection ends, and what is behind it is not read
    assert b"hidden" not in seen


@pytest.mark.parametrize("target", AGAINST_THE_GRAMMAR)
async def test_paths_with_two_meanings_never_reach_the_registry(registry: FakeRegistry, target: str) -> None:
    async with proxied(registry.url) as url, connected(*place(url)) as (reader, writer):
        for method in ("GET", "HEAD", "PUT", "DELETE"):
            writer.write(f"{method} {target} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n".encode())
            head = await asyncio.wait_for(head_of(reader), 30)
            assert b" 400 " in head.split(b"\r\n")[0]
            if method != "HEAD":
                length = next(int(x[15:]) for x in head.split(b"\r\n") if x.startswith(b"Content-Length:"))
                (error,) = orjson.loads(await reader.readexactly(length))["errors"]
                assert error["code"] in ("NAME_INVALID", "TAG_INVALID", "DIGEST_INVALID", "UNSUPPORTED")
                assert error["message"]
    assert not registry.requests


async def test_headers_that_never_end_are_cut_off(registry: FakeRegistry) -> None:
    async with proxied(registry.url) as url, connected(*place(url)) as (reader, writer):
        writer.write(b"GET /v2/ HTTP/1.1\r\nHost: h\r\n")
        async with asyncio.TaskGroup() as tasks:
            # Read from the start: what is sent behind the answer resets the connection.
            heard = tasks.create_task(asyncio.wait_for(head_of(reader), 30))
            with contextlib.suppress(ConnectionError):
                for n in range(100):
                    if heard.done():
                        break
                    writer.write(b"X-%d: " % n + b"y" * 4096 + b"\r\n")
                    await writer.drain()
                    await asyncio.sleep(0)
    assert heard.result().split(b"\r\n")[0].split()[1] in (b"431", b"400")


async def test_headers_that_drip_are_given_up_while_others_are_served(
    registry: FakeRegistry, client: aiohttp.ClientSession
) -> None:
    async with proxied(registry.url, limits__header_timeout="1") as url:
        async with connected(*place(url)) as (reader, writer):

            async def drip() -> None:
                with contextlib.suppress(ConnectionError):
                    for byte in GET_BASE[:-2] + b"X: " + b"y" * 1000:
                        writer.write(bytes([byte]))
                        await asyncio.sleep(0.05)

            dripping = asyncio.ensure_future(drip())
            head = await asyncio.wait_for(head_of(reader), 30)
            assert b" 408 " in head.split(b"\r\n")[0]
            assert b"headers did not arrive in time" in await asyncio.wait_for(reader.read(), 30)
            dripping.cancel()
        assert (await get(client, url + TAG))[0] == 200


async def test_a_kept_connection_may_idle_longer_than_headers_may_take(registry: FakeRegistry) -> None:
    async with (
        proxied(registry.url, limits__header_timeout="0.3") as url,
        connected(*place(url)) as (reader, writer),
    ):
        for _ in range(2):
            writer.write(GET_BASE)
            assert b" 200 " in (await asyncio.wait_for(head_of(reader), 30)).split(b"\r\n")[0]
            await asyncio.sleep(0.7)


async def test_a_client_that_takes_no_answer_loses_its_connection(registry: FakeRegistry) -> None:
    big = b'{"errors":[{"code":"NO","message":"%s"}]}' % (b"x" * 60_000)

    async def verbose(_: web.Request) -> web.StreamResponse | None:
        return web.Response(status=403, body=big, content_type="application/json")

    registry.interpose = verbose
    settings = {"client__idle_timeout": "0.5"}
    async with proxied(registry.url, **settings) as url, connected(*place(url)) as (reader, writer):
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(400):
            writer.write(b"GET %s HTTP/1.1\r\nHost: h\r\nAccept: %s\r\n\r\n" % (TAG.encode(), ALL.encode()))
        await asyncio.sleep(2)
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        with contextlib.suppress(ConnectionError):
            assert len(await asyncio.wait_for(reader.read(400 * MIB), 20)) < 400 * len(big)


@pytest.mark.usefixtures("many_files")
async def test_idle_connections_in_their_thousands_starve_nobody(
    registry: FakeRegistry, client: aiohttp.ClientSession
) -> None:
    most, idle = 500, 2000
    async with (
        proxied(registry.url, limits__connections=str(most)) as url,
        contextlib.AsyncExitStack() as stack,
    ):
        readers = []
        for at in range(idle):
            reader, writer = await asyncio.open_connection(*place(url))
            stack.callback(writer.close)
            readers.append(reader)
            if at % 400 == 0:
                assert (await get(client, url + TAG))[0] == 200
        assert (await get(client, url + TAG))[0] == 200
        assert b" 200 " in await first_line(url, GET_BASE)
        # The oldest gave way, the youngest are still there.
        await until(lambda: sum(reader.at_eof() or reader.exception() is not None for reader in readers) >= idle - most)
        assert not readers[-1].at_eof()
        assert readers[0].at_eof() or readers[0].exception() is not None


async def test_when_no_connection_is_idle_one_more_is_told_so(registry: FakeRegistry) -> None:
    arrived = 0
    ready = asyncio.Event()

    async def slow(_: web.Request) -> web.StreamResponse | None:
        nonlocal arrived
        arrived += 1
        await ready.wait()
        return None

    registry.interpose = slow
    async with proxied(registry.url, limits__connections="8") as url, contextlib.AsyncExitStack() as stack:
        busy = [await stack.enter_async_context(connected(*place(url))) for _ in range(8)]
        for _, writer in busy:
            writer.write(GET_BASE)
        await until(lambda: arrived == 8)
        async with connected(*place(url)) as (reader, _):
            said = await asyncio.wait_for(reader.read(), 30)
            assert said.startswith(b"HTTP/1.1 503 ")
            assert b"all connections are in use" in said
        ready.set()
        for reader, _ in busy:
            assert b" 200 " in (await asyncio.wait_for(head_of(reader), 30)).split(b"\r\n")[0]


async def test_too_many_requests_of_one_client_hear_429_and_another_client_is_served(
    registry: FakeRegistry, client: aiohttp.ClientSession
) -> None:
    arrived = 0
    ready = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse | None:
        nonlocal arrived
        if request.headers.get("X-Slow"):
            arrived += 1
            await ready.wait()
        return None

    registry.interpose = slow
    settings = {"limits__requests_per_client": "3", "limits__requests": "5", "trusted_proxies": "127.0.0.0/8"}
    async with proxied(registry.url, **settings) as url:

        def ask(address: str, **headers: str) -> "asyncio.Future[tuple[int, dict[str, str], object]]":
            return asyncio.ensure_future(get(client, f"{url}/v2/", X_Forwarded_For=address, **headers))

        slow_ones = [ask("192.0.2.1", X_Slow="1") for _ in range(3)]
        await until(lambda: arrived == 3)
        status, headers, body = await ask("192.0.2.1")
        assert (status, headers["Retry-After"]) == (429, "1")
        assert "TOOMANYREQUESTS" in str(body)
        assert (await ask("evil, 192.0.2.1"))[0] == 429
        assert (await ask("192.0.2.7, 127.0.0.9"))[0] == 200
        slow_ones += [ask("2001:db8::1", X_Slow="1"), ask("2001:db8::2", X_Slow="1")]
        await until(lambda: arrived == 5)
        status, _, body = await ask("192.0.2.9")
        assert status == 429
        assert "5 requests already" in str(body)
        ready.set()
        assert {one[0] for one in await asyncio.gather(*slow_ones)} == {200}
        assert (await ask("192.0.2.1"))[0] == 200


async def test_what_untrusted_clients_say_of_themselves_is_not_believed(
    registry: FakeRegistry, client: aiohttp.ClientSession
) -> None:
    async def upload(_: web.Request) -> web.StreamResponse | None:
        return web.Response(status=202, headers={"Location": f"{registry.url}/v2/a/blobs/uploads/1"})

    registry.interpose = upload
    claims = {
        "X_Forwarded_For": "192.0.2.1",
        "X_Forwarded_Proto": "https",
        "X_Forwarded_Host": "front.example",
    }
    for trusted, origin in (("", None), ("127.0.0.0/8", "https://front.example")):
        async with proxied(registry.url, trusted_proxies=trusted) as url:
            _, headers, _ = await get(client, f"{url}/v2/a/blobs/uploads/", "POST", Forwarded="for=x", **claims)
            assert headers["Location"] == f"{origin or url}/v2/a/blobs/uploads/1"
        assert ("X-Forwarded-For" in registry.requests[-1].headers) == bool(trusted)
        assert ("Forwarded" in registry.requests[-1].headers) == bool(trusted)


async def test_no_header_that_only_a_proxy_may_send_reaches_the_registry(registry: FakeRegistry) -> None:
    claims = (
        *("X-Forwarded-User", "X-Forwarded-Access-Token", "X_Forwarded_For", "Remote-User", "True-Client-IP"),
        *("X-Original-URL", "X-Rewrite-Url", "X-HTTP-Method-Override"),
    )
    lines = "".join(f"{name}: root\r\n" for name in claims)
    for trusted, arrive in (("", set[str]()), ("127.0.0.0/8", set(claims[:5]))):
        async with proxied(registry.url, trusted_proxies=trusted) as url:
            raw = f"GET /v2/ HTTP/1.1\r\nHost: h\r\nX-Mine: 1\r\n{lines}\r\n"
            assert b" 200 " in await first_line(url, raw.encode())
        headers = registry.requests[-1].headers
        assert headers["X-Mine"] == "1"
        assert {name for name in claims if name in headers} == arrive


async def test_accept_headers_of_any_length_are_not_collected(
    registry: FakeRegistry, client: aiohttp.ClientSession
) -> None:
    async with proxied(registry.url, cache__tag_ttl="60") as url:
        for _ in range(2):  # asked again each time
            assert (await get(client, url + TAG, Accept=ALL + ", x/y" * 300))[0] == 200
        assert len(registry.asked("HEAD", "/manifests/v1")) == 2
        for _ in range(2):
            assert (await get(client, url + TAG))[0] == 200
        assert len(registry.asked("HEAD", "/manifests/v1")) == 3


async def test_transfers_that_take_every_connection_leave_some_for_partitions(
    registry: FakeRegistry, client: aiohttp.ClientSession
) -> None:
    release = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse | None:
        if "/slow" in request.path:
            await release.wait()
        return None

    registry.interpose = slow
    async with proxied(registry.url, upstream__max_connections="8") as url, asyncio.TaskGroup() as tasks:
        for number in range(20):
            tasks.create_task(get(client, f"{url}/v2/slow/tags/list?n={number}"))
        await until(lambda: len(registry.requests) == 7)
        assert (await get(client, url + TAG))[0] == 200
        release.set()
    assert len([one for one in registry.requests if "/slow" in one.path]) == 20


@pytest.mark.parametrize("framing", ["length", "chunks", "expect"])
async def test_a_manifest_that_is_too_large_is_refused(
    registry: FakeRegistry, client: aiohttp.ClientSession, framing: str
) -> None:
    async def swallow(request: web.Request) -> web.StreamResponse | None:
        await request.read()
        return web.Response(status=201)

    async def chunks(size: int) -> AsyncIterator[bytes]:
        for _ in range(size // 1000):
            yield b"x" * 1000

    registry.interpose = swallow
    async with proxied(registry.url, limits__manifest_body="100000") as url:
        for path, size, expected in (
            ("manifests/v1", 50_000, 201),
            ("manifests/v1", 200_000, 413),
            ("blobs/uploads/1", 2_000_000, 201),
        ):
            data = chunks(size) if framing == "chunks" else io.BytesIO(b"x" * size)
            put = client.put(f"{url}/v2/a/{path}", data=data, expect100=framing == "expect")
            async with put as answer:
                assert answer.status == expected
                body = await answer.read()
            if expected == 413:
                (error,) = orjson.loads(body)["errors"]
                assert error["code"] == "SIZE_INVALID"
                assert "limits.manifest_body" in error["message"]


async def test_a_thousand_distinct_partitions_leave_other_clients_served(
    registry: FakeRegistry, client: aiohttp.ClientSession
) -> None:
    """What was cut before, and what needs no cut, is served all the while; what is too much hears 429."""
    settings = {"limits__cuts": "4", "limits__queued_cuts": "40", "trusted_proxies": "127.0.0.0/8"}
    async with proxied(registry.url, **settings) as url:
        assert (await get(client, url + TAG))[0] == 200
        connector = aiohttp.TCPConnector(limit=200)
        async with aiohttp.ClientSession(auto_decompress=False, connector=connector) as attacker:

            async def attack(number: int) -> int:
                tag = f"v1--0.0.{number}.{number % 7 + 3}"
                target = f"{url}/v2/team/model/manifests/{tag}"
                return (await get(attacker, target, X_Forwarded_For="192.0.2.66"))[0]

            attacks = [asyncio.ensure_future(attack(number)) for number in range(3, 1003)]
            served = []
            while not all(one.done() for one in attacks):
                status, _, _ = await get(client, url + TAG, X_Forwarded_For="192.0.2.1")
                served.append(status)
                served.append((await get(client, f"{url}/v2/", X_Forwarded_For="192.0.2.1"))[0])
                fresh = f"{url}/v2/other/model/manifests/v1--0.0.{len(served)}.1"
                served.append((await get(client, fresh, X_Forwarded_For="192.0.2.1"))[0])
            answers = [one.result() for one in attacks]
    assert set(served) == {200}
    assert set(answers) == {200, 429}
    assert served


async def test_a_429_of_a_full_queue_says_when_to_come_back(
    registry: FakeRegistry, client: aiohttp.ClientSession
) -> None:
    ready = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse | None:
        if "/blobs/" in request.path:
            await ready.wait()
        return None

    registry.interpose = slow
    async with proxied(registry.url, limits__cuts="1", limits__queued_cuts="0") as url:
        first = asyncio.ensure_future(get(client, url + TAG))
        await until(lambda: any("/blobs/" in one.path for one in registry.requests))
        other = f"{url}/v2/team/model/manifests/v1--0.0.0.0"
        status, headers, _ = await get(client, other)
        assert (status, headers["Retry-After"]) == (429, "1")
        assert (await message(client, other))[1:] == (
            "TOOMANYREQUESTS",
            "too many partitions wait to be cut; try again",
        )
        ready.set()
        assert (await first)[0] == 200
        assert (await get(client, other))[0] == 200
