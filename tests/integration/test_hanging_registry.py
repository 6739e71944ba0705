"""One of two registries hangs, and the other is what it is alone: nothing that both use can be used up by one."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from proxy.app import Running, running
from proxy.config import load
from proxy.metrics.exposition import render
from proxy.metrics.instruments import snapshot
from tests.lab.exposition import Scrape
from tests.lab.fake_registry import FakeRegistry, serving, until
from tests.lab.partition_requests import IMAGE
from tests.lab.process import free_port
from tests.lab.proxy import Proxy
from tests.lab.redis import Redis
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient
from tests.lab.waiting import wait_until

HEALTHY = "/v2/team/model/manifests"
HANGING = "/v2/hub/team/model/manifests"
TABLES = """
[[upstream]]
name = "main"
url = "{main}"

[[upstream]]
name = "hub"
url = "{hub}"
prefix = "hub"
max_connections = 256
"""


class Tap:
    """Lets questions wait until they are let through."""

    def __init__(self) -> None:
        self.is_open = asyncio.Event()
        self.waiting: list[str] = []
        self.lets: tuple[str, ...] = ()
        """Ends of paths that are answered all the same."""

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        if not request.path.endswith(self.lets or ("?",)):
            self.waiting.append(request.path)
            await self.is_open.wait()
        return None


@dataclass(frozen=True)
class Pair:
    """A proxy in front of a registry that answers, and of one that hangs."""

    proxy: Running
    client: aiohttp.ClientSession
    hub: FakeRegistry
    tap: Tap
    hung: list[asyncio.Future[int]] = field(default_factory=list)

    def hang(self, path: str, times: int = 1) -> None:
        """Ask for what the tap holds back; it is waited for in `hung`."""
        self.hung.extend(asyncio.ensure_future(self.status(path)) for _ in range(times))

    async def status(self, path: str) -> int:
        async with self.client.get(f"http://{self.proxy.listen}{path}") as answer:
            await answer.read()
            return answer.status


@contextlib.asynccontextmanager
async def pair(
    directory: Path,
    hub_url: str = "",
    main_host: str = "127.0.0.1",
    released: Callable[[], None] = lambda: None,
    **settings: str,
) -> AsyncIterator[Pair]:
    tap = Tap()
    flags: dict[str, str | None] = {path.replace("__", "."): value for path, value in settings.items()}
    async with serving(FakeRegistry(IMAGE)) as main, serving(FakeRegistry(IMAGE, tap)) as hub:
        file = directory / "proxy.toml"
        file.write_text(TABLES.format(main=main.url.replace("127.0.0.1", main_host), hub=hub_url or hub.url))
        config = load({"listen": "127.0.0.1:0", "admin": "none", "shutdown_grace": "0.1"} | flags, {}, file)
        async with (
            running(config) as proxy,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client,
            asyncio.timeout(60),
        ):
            try:
                both = Pair(proxy, client, hub, tap)
                yield both
            finally:
                tap.is_open.set()
                released()
                await asyncio.gather(*both.hung, return_exceptions=True)


def scraped() -> Scrape:
    return Scrape(render(snapshot(), "")[0].decode())


async def test_two_hundred_requests_that_wait_for_one_registry_cost_none_to_another(tmp_path: Path) -> None:
    async with pair(tmp_path, limits__requests="400", limits__requests_per_client="200") as both:
        errors = scraped().value("twodfs_proxy_requests_total", kind="other", method="GET", status="429")
        both.hang(f"{HANGING}/v1", 200)
        await until(lambda: len(both.tap.waiting) == 200)

        assert await asyncio.gather(*(both.status(f"{HEALTHY}/v1") for _ in range(200))) == [200] * 200
        assert await asyncio.gather(*(both.status(f"{HEALTHY}/v1--0.0.1.1") for _ in range(50))) == [200] * 50
        assert await both.status(f"{HANGING}/v1") == 429

        assert not any(one.done() for one in both.hung)
        seen = scraped()
        assert seen.value("twodfs_proxy_in_flight", upstream="hub") == 200
        assert seen.value("twodfs_proxy_in_flight") == 0
        about = {"kind": "other", "method": "GET", "status": "429"}
        assert seen.value("twodfs_proxy_requests_total", about, upstream="hub") == 1
        assert seen.value("twodfs_proxy_requests_total", about) == errors
        both.tap.is_open.set()
        assert await asyncio.gather(*both.hung) == [200] * 200


async def test_what_is_waited_for_holds_a_share_of_the_clients_connections(tmp_path: Path) -> None:
    async with pair(tmp_path, limits__connections="16") as both:
        both.hang(f"{HANGING}/v1", 8)
        await until(lambda: len(both.tap.waiting) == 8)
        assert [await both.status(f"{HANGING}/v1") for _ in range(3)] == [429] * 3
        assert await asyncio.gather(*(both.status(f"{HEALTHY}/v1") for _ in range(7))) == [200] * 7
        assert not any(one.done() for one in both.hung)


async def test_a_cut_that_waits_for_its_registry_is_in_no_line_of_another(tmp_path: Path) -> None:
    async with pair(tmp_path, limits__cuts="1", limits__queued_cuts="0") as both:
        both.tap.lets = ("/manifests/v1",)  # HEAD of the tag; the index is asked for by its digest
        both.hang(f"{HANGING}/v1--0.0.1.1")
        await until(lambda: len(both.tap.waiting) == 1)
        assert await both.status(f"{HEALTHY}/v1--0.0.1.1") == 200
        assert await both.status(f"{HANGING}/v1--0.0.0.0") == 429
        assert not both.hung[0].done()


@dataclass(frozen=True)
class SilentServers:
    asked: list[str] = field(default_factory=list)
    may_answer: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def silent_servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[SilentServers]:
    """Name servers that say nothing about one host until they are let."""
    silent, look_up = SilentServers(), socket.getaddrinfo

    def ask(host: str, *place: Any, **options: Any) -> Any:
        if str(host).endswith("silent.example"):
            silent.asked.append(str(host))
            silent.may_answer.wait(60)
            raise OSError("no such host")
        return look_up(host, *place, **options)

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    yield silent
    silent.may_answer.set()


async def test_name_servers_that_say_nothing_of_one_registry_hold_up_no_other(
    tmp_path: Path, silent_servers: SilentServers
) -> None:
    async with pair(
        tmp_path, "http://registry.silent.example:5000", "localhost", silent_servers.may_answer.set
    ) as both:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        both.hang(f"{HANGING}/v1", 20)
        await until(lambda: bool(silent_servers.asked))
        assert await asyncio.gather(*(both.status(f"{HEALTHY}/v1") for _ in range(20))) == [200] * 20
        assert await asyncio.gather(*(both.status(f"{HEALTHY}/v1--0.0.1.1") for _ in range(5))) == [200] * 5
        assert not any(one.done() for one in both.hung)
        is_ready, document = await both.proxy.health.ready()
        assert is_ready
        assert document["upstreams"]["main"] == "ok"
        assert "hub" in document["upstreams"]


def test_lines_about_a_further_registry_name_it(tmp_path: Path, registry: Registry) -> None:
    again = registry.url.replace("127.0.0.1", "localhost")
    with Proxy.start(tmp_path, registry.url, config=TABLES.format(main=registry.url, hub=again)) as proxy:
        with RegistryClient(proxy.url) as client:
            for path in (f"{HEALTHY}/v1", f"{HANGING}/v1"):
                assert client.request("GET", path).status == 404
        proxy.terminate()
        lines = {line["path"]: line for line in proxy.log_events() if line["event"] == "request"}
    assert lines[f"{HANGING}/v1"]["upstream"] == "hub"
    assert "upstream" not in lines[f"{HEALTHY}/v1"]


def test_the_parent_of_workers_says_how_each_registry_is(
    tmp_path: Path, registry: Registry, redis_server: Redis
) -> None:
    tables = TABLES.format(main=registry.url, hub=f"http://127.0.0.1:{free_port()}")
    settings = {
        "TWODFS_PROXY_CACHE_REDIS_URL": redis_server.url,
        "TWODFS_PROXY_WORKERS": "2",
        "TWODFS_PROXY_READY_WHEN": "all",
    }
    with Proxy.start(tmp_path, registry.url, config=tables, environment=settings, ready="/healthz") as proxy:
        wait_until(lambda: "2 of 2" in readyz(proxy)[1]["workers"])
        status, document = readyz(proxy)
    assert (status, document["status"]) == (503, "unready")
    assert document["upstream"] == document["upstreams"]["main"] == "ok"
    assert "cannot be reached" in document["upstreams"]["hub"]


def readyz(proxy: Proxy) -> tuple[int, dict[str, Any]]:
    with RegistryClient(proxy.admin_url) as admin:
        answer = admin.request("GET", "/readyz")
    return answer.status, orjson.loads(answer.body)
