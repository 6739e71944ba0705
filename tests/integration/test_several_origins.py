"""Several origins of one registry: one dies, one hangs, one answers 503; clients see none of it."""

import asyncio
import contextlib
import http.client
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web

from tests.lab.caller import ACCEPT
from tests.lab.fake_registry import FakeRegistry, proxied, served, serving, until
from tests.lab.images import build_image, push_field_image
from tests.lab.process import free_port
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient, basic

CELLS = {(row, column): {f"{row}.{column}": b"w"} for row in range(2) for column in range(2)}
IMAGE = build_image(CELLS)
TAG = "/v2/team/model/manifests/v1--0.0.1.1"
SHARED = {"http": {"secret": "one for both"}}


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"Accept": ACCEPT}) as session:
        yield session


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Registry, Registry]]:
    """Two registries on one storage."""
    storage = {"storage": {"filesystem": {"rootdirectory": str(tmp_path / "storage")}}} | SHARED
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    with (
        Registry.start(tmp_path / "first", extra_config=storage) as first,
        Registry.start(tmp_path / "second", extra_config=storage) as second,
    ):
        yield first, second


def dead() -> str:
    return f"http://127.0.0.1:{free_port()}"


@pytest.mark.parametrize("balance", ["failover", "round-robin"])
def test_a_registry_that_dies_among_200_pulls_fails_none(
    pair: tuple[Registry, Registry], tmp_path: Path, balance: str
) -> None:
    first, second = pair
    image = push_field_image(first.url, "pool/model", "v1", cells=CELLS)
    settings = {"TWODFS_PROXY_UPSTREAM_BALANCE": balance}
    is_halfway = threading.Event()
    with Proxy.start(tmp_path, f"{first.url},{second.url}", environment=settings) as proxy:

        def pull(number: int) -> int:
            if number == 100:
                is_halfway.set()
            with RegistryClient(proxy.url) as connection:
                path = f"/v2/{image.repository}/manifests/"
                tag = ("v1", "v1--0.0.1.1", f"v1--0.0.{number % 2}.1")[number % 3]
                return connection.request("GET", path + tag, headers={"Accept": ACCEPT}).status

        with ThreadPoolExecutor(4) as pullers:
            answers = [pullers.submit(pull, number) for number in range(200)]
            assert is_halfway.wait(60)
            first.stop()
            assert [one.result(60) for one in answers] == [http.client.OK] * 200
        with contextlib.closing(http.client.HTTPConnection(urlsplit(proxy.admin_url).netloc)) as admin:
            admin.request("GET", "/readyz")
            ready = admin.getresponse()
            assert (ready.status, b"ready" in ready.read()) == (http.client.OK, True)
            admin.request("GET", "/metrics")
            told = admin.getresponse().read().decode()
    assert 'twodfs_proxy_upstream_up{origin="0"} 0' in told
    assert 'twodfs_proxy_upstream_up{origin="1"} 1' in told
    assert 'twodfs_proxy_breaker_open{breaker="upstream-0"} 1' in told


def test_an_upload_goes_on_at_another_origin(pair: tuple[Registry, Registry], tmp_path: Path) -> None:
    first, second = pair
    with (
        Proxy.start(tmp_path, f"{first.url},{second.url}") as proxy,
        RegistryClient(proxy.url) as connection,
    ):
        begun = connection.request("POST", "/v2/pool/up/blobs/uploads/")
        assert begun.headers["location"].startswith(f"{proxy.url}/")
        first.stop()
        place = begun.headers["location"].removeprefix(proxy.url)
        went_on = connection.request("PATCH", place, body=b"some bytes")
        assert went_on.status == http.client.ACCEPTED, went_on.body
        assert went_on.headers["location"].startswith(f"{proxy.url}/")


async def test_a_dead_origin_is_passed_over_and_comes_back(client: aiohttp.ClientSession) -> None:
    port = free_port()
    async with (
        serving(FakeRegistry(IMAGE)) as second,
        proxied(f"http://127.0.0.1:{port},{second.url}") as url,
    ):
        for target in (TAG, "/v2/"):
            async with client.get(url + target) as answer:
                assert answer.status == 200
        first = FakeRegistry(IMAGE)
        runner = web.ServerRunner(web.Server(first.answer))  # type: ignore[arg-type]
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
            await until(lambda: bool(first.requests))  # the probe
            async with asyncio.timeout(30):
                while not first.asked("GET", "/v2/"):
                    async with client.get(f"{url}/v2/") as answer:
                        assert answer.status == 200
        finally:
            await runner.cleanup()


async def test_an_origin_that_answers_503_is_left_alone(client: aiohttp.ClientSession) -> None:
    async def failing(_: web.Request) -> web.StreamResponse:
        return web.Response(status=503)

    async with (
        served(failing) as broken,
        serving(FakeRegistry(IMAGE)) as second,
        proxied(f"{broken},{second.url}") as url,
        asyncio.timeout(30),
    ):
        status = 0
        while status != 200:
            async with client.get(f"{url}/v2/") as answer:
                status = answer.status


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_a_body_that_was_not_begun_goes_to_the_next_origin(client: aiohttp.ClientSession, method: str) -> None:
    bodies: list[bytes] = []

    async def taking(request: web.Request) -> web.StreamResponse:
        bodies.append(await request.read())
        return web.Response(status=202)

    upload = "/v2/a/blobs/uploads/1"
    async with (
        served(taking) as second,
        proxied(f"{dead()},{second}") as url,
        client.request(method, url + upload, data=b"x" * 200_000) as answer,
    ):
        assert answer.status == 202
    assert [body for body in bodies if body] == [b"x" * 200_000]


async def test_a_body_that_was_begun_is_never_sent_again(client: aiohttp.ClientSession) -> None:
    asked: list[str] = []

    async def hanging_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"HEAD"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async def second(request: web.Request) -> web.StreamResponse:
        asked.append(request.method)
        return web.Response()

    server = await asyncio.start_server(hanging_up, "127.0.0.1", 0)
    async with server, served(second) as spare:
        first = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with proxied(f"{first},{spare}") as url:
            async with client.patch(f"{url}/v2/a/blobs/uploads/1", data=b"x" * 200_000) as answer:
                assert answer.status == 502
            async with client.get(f"{url}/v2/") as answer:  # a read that broke off is
                assert answer.status == 200
    assert "PATCH" not in asked
    assert "GET" in asked


async def test_our_own_credentials_go_to_whichever_origin_answers(client: aiohttp.ClientSession) -> None:
    async def closed(request: web.Request) -> web.StreamResponse | None:
        if request.headers.get("Authorization") == basic("proxy", "secret"):
            return None
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="lab"'})

    settings = {
        "upstream__credentials__kind": "static",
        "upstream__credentials__username": "proxy",
        "upstream__credentials__password": "secret",
        "auth__clients__allow_anonymous": "true",
    }
    async with (
        serving(FakeRegistry(IMAGE, closed)) as second,
        proxied(f"{dead()},{second.url}", **settings) as url,
    ):
        for target in (TAG, "/v2/team/model/manifests/v1"):
            async with client.get(url + target) as answer:
                assert answer.status == 200, await answer.text()


async def test_links_of_every_origin_come_back_to_us(client: aiohttp.ClientSession) -> None:
    places = [dead()]

    async def elsewhere(_: web.Request) -> web.StreamResponse:
        return web.Response(status=202, headers={"Location": f"{places[0]}/v2/a/blobs/uploads/1?x=1"})

    async with (
        served(elsewhere) as second,
        proxied(f"{places[0]},{second}") as url,
        client.post(f"{url}/v2/a/blobs/uploads/", allow_redirects=False) as answer,
    ):
        assert answer.headers["Location"] == f"{url}/v2/a/blobs/uploads/1?x=1"


async def test_who_waits_for_a_free_connection_hears_a_504_in_time(client: aiohttp.ClientSession) -> None:
    async def silent(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    settings = {"upstream__max_connections": "1", "upstream__read_timeout": "0.5"}
    async with served(silent) as registry, proxied(registry, **settings) as url, asyncio.timeout(30):

        async def ask() -> tuple[int, str]:
            async with client.get(f"{url}/v2/") as answer:
                return answer.status, await answer.text()

        for status, said in await asyncio.gather(ask(), ask(), ask()):
            assert status == 504
            assert "does not answer in time" in said


async def test_a_kept_connection_that_was_closed_is_replaced(client: aiohttp.ClientSession) -> None:
    served_on: list[int] = []

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        served_on.append(1)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")  # the next request is not answered
        writer.close()

    server = await asyncio.start_server(once, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with proxied(f"http://127.0.0.1:{port}") as url:
            for _ in range(3):
                async with client.get(f"{url}/v2/") as answer:
                    assert (answer.status, await answer.read()) == (200, b"ok")
    assert len(served_on) == 3


async def test_the_next_address_of_a_name_is_tried(
    client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = socket.getaddrinfo

    def two(host: str, port: int, **more: int) -> list[tuple[object, ...]]:
        if host != "registry.test":
            return list(resolve(host, port, **more))
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*kind, (address, port)) for address in ("127.0.0.2", "127.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", two)
    async with serving(FakeRegistry(IMAGE)) as registry:
        port = urlsplit(registry.url).port
        async with proxied(f"http://registry.test:{port}") as url, client.get(f"{url}/v2/") as answer:
            assert answer.status == 200
