"""A Redis that answers with more than anybody asked for: the proxy reads up to a bound, and pulls go on."""

import contextlib
import itertools
import re
import select
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import orjson
import pytest

from tests.lab.exposition import Scrape
from tests.lab.images import PushedImage, push_field_image
from tests.lab.process import resident
from tests.lab.proxy import Proxy
from tests.lab.pulls import CELLS, pull
from tests.lab.redis import Redis
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient
from tests.lab.waiting import wait_until

MIB = 2**20
ENDLESS = itertools.repeat(b"x" * 65536)
HOSTILE: dict[str, Callable[[], Iterable[bytes]]] = {
    "a value of 10 GB": lambda: itertools.chain([b"$10000000000\r\n"], ENDLESS),
    "a value of 10 GB, as an error": lambda: itertools.chain([b"!10000000000\r\n"], ENDLESS),
    "a line that never ends": lambda: itertools.chain([b"+"], ENDLESS),
    "a number that never ends": lambda: itertools.chain([b":"], itertools.repeat(b"1" * 65536)),
    "an array of a trillion": lambda: itertools.chain([b"*1000000000000\r\n"], itertools.repeat(b"_\r\n" * 9999)),
    "a map of a trillion": lambda: itertools.chain([b"%1000000000000\r\n"], itertools.repeat(b":1\r\n" * 9999)),
    "arrays within arrays": lambda: itertools.repeat(b"*1\r\n" * 9999),
    "many large values": lambda: itertools.chain(
        [b"*1000\r\n"], itertools.cycle([b"$1000000\r\n", b"x" * 10**6, b"\r\n"])
    ),
    "pushes that never end": lambda: itertools.repeat(b">2\r\n+a\r\n+b\r\n" * 999),
}


class Middle(socketserver.BaseRequestHandler):
    """Stands between the proxy and a Redis, and answers what is marked itself."""

    server: "HostileServer"

    def handle(self) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            behind = None
            if self.server.behind is not None:
                behind = stack.enter_context(socket.create_connection(("127.0.0.1", self.server.behind)))
            while True:
                ready = select.select([one for one in (self.request, behind) if one is not None], [], [])[0]
                if self.request in ready:
                    asked = self.request.recv(65536)
                    if not asked:
                        return
                    if behind is None or (b"GET" in asked and b":partition:" in asked):
                        self.say_too_much()
                    else:
                        behind.sendall(asked)
                if behind in ready and behind is not None:
                    self.request.sendall(behind.recv(65536))

    def say_too_much(self) -> None:
        self.server.asked += 1
        for chunk in self.server.said():
            self.request.sendall(chunk)
            self.server.taken += len(chunk)


class HostileServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, behind: int | None) -> None:
        super().__init__(("127.0.0.1", 0), Middle)
        self.behind = behind
        self.said: Callable[[], Iterable[bytes]] = HOSTILE["a value of 10 GB"]
        self.asked = self.taken = 0

    @property
    def port(self) -> int:
        return int(self.server_address[1])


@contextlib.contextmanager
def hostile(behind: int | None = None) -> Iterator[HostileServer]:
    with HostileServer(behind) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def image(registry: Registry) -> PushedImage:
    return push_field_image(registry.url, "hostile/model", "v1", cells=CELLS, platforms=("linux/amd64", "linux/arm64"))


def proxy_on(directory: Path, registry: Registry, redis_url: str) -> Proxy:
    # Patient: what is cut off is cut off for its size, not for the time that it takes.
    environment = {"TWODFS_PROXY_CACHE_REDIS_URL": redis_url, "TWODFS_PROXY_CACHE_REDIS_TIMEOUT": "5"}
    return Proxy.start(directory, registry.url, environment=environment)


def test_a_reply_that_is_too_large_is_cut_off_and_the_pull_goes_on(
    registry: Registry, image: PushedImage, redis_server: Redis, tmp_path: Path
) -> None:
    with (
        hostile(redis_server.port) as server,
        proxy_on(tmp_path, registry, f"redis://127.0.0.1:{server.port}/0") as proxy,
        RegistryClient(proxy.admin_url) as admin,
    ):

        def errors() -> float:
            seen = Scrape.of(proxy.admin_url)
            return seen.value("twodfs_proxy_cache_lookups_total", tier="redis", outcome="error")

        pull(proxy.url, image, "0.0.0.0")  # what a first pull costs in memory, with the first of them
        before, grown = resident(proxy.pid), 0
        selections = iter(f"{row}.{col}.{row}.{col}" for row in range(1, 6) for col in range(6))
        for name, said in HOSTILE.items():
            wait_until(lambda: orjson.loads(admin.request("GET", "/readyz").body)["redis"] == "ok")
            server.said, server.asked, server.taken, failed = said, 0, 0, errors()
            pull(proxy.url, image, next(selections))
            grown = max(grown, resident(proxy.pid) - before)
            assert server.asked, name
            assert errors() > failed, name
            # The most of a reply, and what the sockets' buffers hold of it.
            assert server.taken < 40 * MIB, name
        print(f"{grown / MIB:.1f} MiB")  # noqa: T201 - the figure of the run
        assert grown < 100 * MIB
        reasons = [one["reason"] for one in proxy.log_events() if "going on without" in one["event"]]
        assert len(reasons) == len(HOSTILE) + 1
        for reason in reasons:
            assert re.search(r"announces|more than|longer than|deeper than", reason), reason


@pytest.mark.parametrize("form", ["redis://{}/0", "redis+sentinel://{}/mymaster", "redis+cluster://{}"])
def test_a_redis_of_any_form_that_is_hostile_from_the_start_costs_little_memory(
    registry: Registry, image: PushedImage, tmp_path: Path, form: str
) -> None:
    with (
        hostile() as server,
        proxy_on(tmp_path, registry, form.format(f"127.0.0.1:{server.port}")) as proxy,
    ):
        pull(proxy.url, image, "0.0.1.1")
        before = resident(proxy.pid)
        asked = server.asked
        wait_until(lambda: server.asked > asked)  # it is tried again, and again cut off
        assert resident(proxy.pid) - before < 50 * MIB
        assert server.taken < server.asked * 8 * MIB
        pull(proxy.url, image, "1.1.2.2")
