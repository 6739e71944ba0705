"""Registries that mean harm: each is met by a bounded, clear answer."""

import asyncio
import gzip
import os
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from proxy.config import BlobsConfig
from proxy.upstream.redirects import RedirectError, Redirects
from tests.lab.fake_registry import FakeRegistry, proxied, served, serving
from tests.lab.partition_requests import ALL, IMAGE, TAG, get, message, with_field
from tests.lab.raw_peer import GET_BLOB, MIB, behind_proxy, connected, head_of

METADATA = "http://169.254.169.254/latest/meta-data/"
BLOB = f"/v2/team/model/blobs/{IMAGE.blobs[0].digest}"
FIELD = IMAGE.field_blob.digest if IMAGE.field_blob else ""


@pytest.fixture
async def registry() -> AsyncIterator[FakeRegistry]:
    async with serving(FakeRegistry(IMAGE)) as started:
        yield started


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


def redirecting(location: str, ending: str = "") -> Any:
    async def elsewhere(request: web.Request) -> web.StreamResponse | None:
        if "/blobs/" not in request.path or not request.path.endswith(ending):
            return None
        return web.Response(status=307, headers={"Location": location})

    return elsewhere


def never(address_info: Any) -> socket.socket:
    pytest.fail(f"{address_info[4]} was about to be dialled")


async def follow(location: str, origin: str, config: BlobsConfig, new_socket: Any) -> tuple[int, bytes]:
    """Follow one redirect of a registry at `origin`."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": location})

    def own(*_: object) -> Any:
        pytest.fail("the registry itself was not to be asked again")

    async with (
        served(answer) as url,
        aiohttp.ClientSession() as session,
        session.get(url, allow_redirects=False) as first,
        Redirects.connect(config, (URL(origin),), own, new_socket=new_socket) as redirects,
        redirects.followed("GET", URL(origin), CIMultiDict(), first) as response,
    ):
        return response.status, await response.read()


@pytest.mark.parametrize(
    "location",
    [
        METADATA,
        "http://127.0.0.1:1/",
        "http://localhost:1/",
        "http://0.0.0.0:1/",
        "http://10.1.2.3/",
        "http://172.16.0.1/",
        "http://192.168.1.1/",
        "http://100.64.0.1/",
        "http://224.0.0.1/",
        "http://255.255.255.255/",
        "http://[::1]/",
        "http://[::]/",
        "http://[fe80::1]/",
        "http://[fd00::1]/",
        "http://[ff02::1]/",
        "http://[::ffff:169.254.169.254]/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://[2002:a9fe:a9fe::1]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://2130706433/",
        "http://127.1/",
        "http://0x7f000001/",
    ],
)
async def test_an_address_that_is_not_public_is_never_dialled(location: str) -> None:
    with pytest.raises(RedirectError) as caught:
        await follow(location, "http://registry.example", BlobsConfig(), never)
    said = str(caught.value)
    assert any(
        one in said for one in ("is not a public address", "cannot be reached", "no address that can be dialled")
    )


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("ftp://storage.example/x", "no http"),
        ("file:///etc/passwd", "no http"),
        ("http://", "no http"),
        ("http://user:pass@storage.example/", "with a user in the address"),
        ("http://storage.example/", "from https to http"),
        ("//[bad/", "no http"),
    ],
)
async def test_a_target_that_is_not_to_be_asked_is_never_dialled(location: str, said: str) -> None:
    with pytest.raises(RedirectError, match=said):
        await follow(location, "https://registry.example", BlobsConfig(), never)


async def test_what_is_allowed_is_dialled() -> None:
    dialled: list[str] = []

    def noting(address_info: Any) -> socket.socket:
        dialled.append(address_info[4][0])
        return socket.socket(*address_info[:3])

    async def storage(_: web.Request) -> web.StreamResponse:
        return web.Response(text="content")

    async with served(storage) as url:
        for settings in ({"allowed_networks": "127.0.0.0/8"}, {"allowed_hosts": "127.0.0.1"}):
            config = BlobsConfig.model_validate(settings)
            assert await follow(url, "http://registry.example", config, noting) == (200, b"content")
    assert dialled == ["127.0.0.1", "127.0.0.1"]


async def test_a_name_is_judged_by_the_address_that_is_dialled() -> None:
    """A name server may say one thing when asked and another when dialled: only the dialled one counts."""
    config = BlobsConfig.model_validate({"allowed_hosts": "storage.example"})
    with pytest.raises(RedirectError, match=r"127\.0\.0\.1 is not a public address"):
        await follow("http://localhost:1/", "http://registry.example", config, never)


@pytest.mark.parametrize("redirect", ["pass", "follow"])
async def test_a_registry_that_sends_the_proxy_to_the_metadata_service_is_told_off(
    registry: FakeRegistry, client: aiohttp.ClientSession, redirect: str
) -> None:
    registry.interpose = redirecting(METADATA)
    async with proxied(registry.url, blobs__redirect=redirect) as url:
        status, code, said = await message(client, url + TAG)
        assert (status, code) == (502, "UNAVAILABLE")
        assert "169.254.169.254 is not a public address" in said
        assert "blobs.allowed_networks" in said
        if redirect == "follow":
            assert (await message(client, url + BLOB))[:2] == (502, "UNAVAILABLE")
        else:
            status, headers, _ = await get(client, url + BLOB)
            assert (status, headers["Location"]) == (307, METADATA)


async def test_followed_blobs_come_from_the_store_without_the_clients_credentials(
    registry: FakeRegistry, client: aiohttp.ClientSession
) -> None:
    seen: list[web.Request] = []

    async def storage(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        if request.headers.get("Range") == "bytes=2-3":
            part = {"Content-Range": f"bytes 2-3/{IMAGE.blobs[0].size}"}
            return web.Response(status=206, body=IMAGE.blobs[0].content[2:4], headers=part)
        return web.Response(body=IMAGE.blobs[0].content, headers={"X-Amz-Id": "1"})

    async with served(storage) as store:
        registry.interpose = redirecting(f"{store}/bucket/x?signature=a%2Fb", IMAGE.blobs[0].digest)
        settings = {"blobs__redirect": "follow", "blobs__allowed_networks": "127.0.0.1/32"}
        async with proxied(registry.url, **settings) as url:
            personal = {
                "Authorization": "Bearer secret",
                "Cookie": "a=b",
                "X_Custom": "me",
                "User_Agent": "d/1",
            }
            status, _, body = await get(client, url + BLOB, **personal)
            assert (status, body) == (200, IMAGE.blobs[0].content)
            status, headers, body = await get(client, url + BLOB, Range="bytes=2-3", **personal)
            assert (status, body) == (206, IMAGE.blobs[0].content[2:4])
            assert headers["Content-Range"].endswith(f"/{IMAGE.blobs[0].size}")
            assert (await get(client, url + BLOB, "HEAD"))[0] == 200
            # Nothing of the redirect is remembered: the registry is asked every time.
            assert len([one for one in registry.requests if one.path == BLOB]) == 3
    assert {one.path_qs for one in seen} == {"/bucket/x?signature=a%2Fb"}
    assert not [one for one in seen if set(one.headers) & {"Authorization", "Cookie", "X-Custom", "User-Agent"}]


@pytest.mark.parametrize("relay", ["auto", "buffered"])
async def test_large_followed_blobs_come_whole_and_without_the_clients_credentials(
    registry: FakeRegistry, client: aiohttp.ClientSession, relay: str
) -> None:
    content = os.urandom(3 * MIB + 5)
    seen: list[web.Request] = []

    async def storage(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        return web.Response(body=content)

    async with served(storage) as store:
        registry.interpose = redirecting(f"{store}/x", IMAGE.blobs[0].digest)
        settings = {"blobs__redirect": "follow", "blobs__allowed_hosts": "127.0.0.1", "blobs__relay": relay}
        async with proxied(registry.url, **settings) as url:
            for _ in range(3):  # also on kept connections
                async with client.get(url + BLOB, headers={"Authorization": "Bearer secret"}) as answer:
                    assert (answer.status, await answer.read() == content) == (200, True)
                assert (await get(client, f"{url}/v2/"))[0] == 200
    assert len(seen) == 3
    assert not [one for one in seen if "Authorization" in one.headers]


async def test_what_the_store_refuses_is_not_the_registrys_no(
    registry: FakeRegistry, client: aiohttp.ClientSession
) -> None:
    async def storage(_: web.Request) -> web.StreamResponse:
        return web.Response(status=403, text="<Error>expired</Error>")

    async with served(storage) as store:
        registry.interpose = redirecting(f"{store}/x", IMAGE.blobs[0].digest)
        settings = {"blobs__redirect": "follow", "blobs__allowed_hosts": "127.0.0.1"}
        async with proxied(registry.url, **settings) as url:
            status, _, said = await message(client, url + BLOB)
    assert status == 502
    assert said == "the registry redirects to 127.0.0.1 for this, which answers 403"


async def test_redirect_loops_end(registry: FakeRegistry, client: aiohttp.ClientSession) -> None:
    registry.interpose = redirecting(BLOB)
    async with proxied(registry.url, blobs__redirect="follow") as url:
        status, _, said = await message(client, url + BLOB)
    assert status == 502
    assert "redirects more than 5 times" in said
    assert len(registry.requests) == 6


async def test_a_gzip_bomb_is_not_inflated(registry: FakeRegistry, client: aiohttp.ClientSession) -> None:
    bomb = gzip.compress(b"[" * 64 * MIB)

    async def packed(request: web.Request) -> web.StreamResponse | None:
        if "/manifests/" not in request.path or request.method == "HEAD":
            return None
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip", "Content-Type": IMAGE.top.media_type})

    registry.interpose = packed
    async with proxied(registry.url) as url:
        status, code, said = await message(client, url + TAG)
        assert (status, code) == (502, "UNAVAILABLE")
        assert "is compressed, which was not asked for" in said
        async with client.get(f"{url}/v2/team/model/manifests/v1", headers={"Accept": ALL}) as answer:
            assert await answer.read() == bomb  # what is passed on is passed on as it is


async def test_an_endless_manifest_is_cut_off(client: aiohttp.ClientSession) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        while request.method == "GET":
            await response.write(b"x" * MIB)
            sent += MIB
        return response

    async with served(endless) as upstream, proxied(upstream) as url:
        status, _, said = await message(client, url + TAG)
    assert status == 502
    assert "is longer than 4194304 bytes" in said
    assert sent < 64 * MIB


async def test_a_manifest_that_drips_ends_in_a_504(client: aiohttp.ClientSession) -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        while request.method == "GET":
            await response.write(b" ")
            await asyncio.sleep(0.05)
        return response

    async with served(drip) as upstream, proxied(upstream, upstream__metadata_timeout="0.5") as url:
        status, _, said = await message(client, url + TAG)
    assert status == 504
    assert "does not answer in time" in said


@pytest.mark.parametrize(
    ("spoiled", "said"),
    [
        (b"{", "not JSON"),
        (b'{"a":' * 2000, "not JSON"),
        (b'{"a":' + b"[" * 500 + b"]" * 500 + b"}", "nested deeper than 254"),
        (b'{"rows":[],"rows":[{"allotments":[]}]}', "same key twice"),
        (b'{"rows":[],"partitions":{"edge":"%s.0.0.0"}}' % (b"9" * 5000), "no selection"),
        (b"\xff\xfe\x00", "not JSON"),
    ],
)
async def test_documents_that_are_made_to_hurt_are_refused_with_a_sentence(
    client: aiohttp.ClientSession, spoiled: bytes, said: str
) -> None:
    async with serving(FakeRegistry(with_field(spoiled))) as registry, proxied(registry.url) as url:
        status, code, text = await message(client, url + TAG)
    assert (status, code) == (400, "MANIFEST_INVALID")
    assert said in text


@pytest.mark.parametrize("total", ["9" * 5000, "٣", "-1", "1e5", ""])
async def test_a_size_that_is_no_number_is_an_error(
    registry: FakeRegistry, client: aiohttp.ClientSession, total: str
) -> None:
    allotments = {layer.blob.digest for layer in IMAGE.allotments.values()}

    async def lying(request: web.Request) -> web.StreamResponse | None:
        if request.path.rpartition("/")[2] not in allotments:
            return None
        if request.method == "HEAD":
            return web.Response(status=405)
        return web.Response(status=206, body=b"x", headers={"Content-Range": f"bytes 0-0/{total}"})

    registry.interpose = lying
    async with proxied(registry.url) as url:
        status, code, said = await message(client, url + TAG)
    assert (status, code) == (502, "UNAVAILABLE")
    assert "does not tell the size" in said


RAW_ANSWERS = [
    b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(5000)) + b"\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + b"y" * MIB + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nx",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\nX\x00Y: z\r\n\r\n",
    b"HTTP/1.1 999999 OK\r\n\r\n",
    b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 000 None\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    b'HTTP/1.1 200 OK\r\n{"secret": "in the body"}\r\n\r\n',
    b"HTTP/1.1 200 OK\r\nLocation: http://x/\r\n" * 3 + b"\r\n",
    b"A" * 200_000,
]


@pytest.mark.parametrize("raw", RAW_ANSWERS, ids=range(len(RAW_ANSWERS)))
async def test_answers_that_are_no_http_never_reach_the_client(raw: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(raw)
        await writer.drain()

    async with behind_proxy(talk) as (_, host, port), connected(host, port) as (reader, writer):
        writer.write(GET_BLOB)
        head = await asyncio.wait_for(head_of(reader), 30)
        assert b" 502 " in head.split(b"\r\n")[0]
        length = next(int(x[15:]) for x in head.split(b"\r\n") if x.startswith(b"Content-Length:"))
        assert b"secret" not in await reader.readexactly(length)


async def test_a_body_longer_than_it_said_does_not_become_the_next_answer() -> None:
    """Bytes behind an answer's end are no answer to the next request."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
        )
        await writer.drain()
        await reader.read()

    async with behind_proxy(talk) as (_, host, port), connected(host, port) as (reader, writer):
        for _ in range(3):
            writer.write(GET_BLOB)
            assert b" 200 " in await asyncio.wait_for(head_of(reader), 30)
            assert await reader.readexactly(2) == b"ok"
