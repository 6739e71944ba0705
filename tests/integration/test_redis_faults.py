"""Redis may do what it likes in the middle of pulls: every pull gets the right bytes."""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import pytest

from tests.lab.documents import OCI
from tests.lab.images import PushedImage, push_field_image
from tests.lab.proxy import Proxy
from tests.lab.pulls import CELLS, check_children, pull
from tests.lab.redis import Redis
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient
from tests.lab.waiting import wait_until


@pytest.fixture(scope="module")
def image(registry: Registry) -> PushedImage:
    return push_field_image(registry.url, "faults/model", "v1", cells=CELLS, platforms=("linux/amd64", "linux/arm64"))


def proxy_on(directory: Path, registry: Registry, redis_url: str) -> Proxy:
    return Proxy.start(directory, registry.url, environment={"TWODFS_PROXY_CACHE_REDIS_URL": redis_url})


def patient_proxy_on(directory: Path, registry: Registry, redis_url: str) -> Proxy:
    """Return a proxy that does not give Redis up because this machine is busy."""
    environment = {"TWODFS_PROXY_CACHE_REDIS_URL": redis_url, "TWODFS_PROXY_CACHE_REDIS_TIMEOUT": "2"}
    return Proxy.start(directory, registry.url, environment=environment)


@contextlib.contextmanager
def two_proxies(directory: Path, registry: Registry, redis: Redis) -> Iterator[tuple[Proxy, Proxy]]:
    for name in ("one", "two"):
        (directory / name).mkdir()
    with (
        patient_proxy_on(directory / "one", registry, redis.url) as one,
        patient_proxy_on(directory / "two", registry, redis.url) as two,
    ):
        yield one, two


def test_redis_killed_between_pulls(
    registry: Registry, image: PushedImage, redis_server: Redis, tmp_path: Path
) -> None:
    with proxy_on(tmp_path, registry, redis_server.url) as proxy:
        before = pull(proxy.url, image, "0.0.0.1")
        redis_server.kill()
        assert pull(proxy.url, image, "0.0.0.1") == before
        pull(proxy.url, image, "1.0.1.1")
        redis_server.restart()
        pull(proxy.url, image, "2.0.2.1")


def test_redis_is_used_again_after_it_came_back(
    registry: Registry, image: PushedImage, redis_server: Redis, tmp_path: Path
) -> None:
    with proxy_on(tmp_path, registry, redis_server.url) as proxy, RegistryClient(proxy.admin_url) as admin:
        pull(proxy.url, image, "0.0.0.1")
        redis_server.kill()
        pull(proxy.url, image, "1.0.1.1")
        assert orjson.loads(admin.request("GET", "/readyz").body)["redis"] == "unavailable"
        redis_server.restart()
        wait_until(lambda: orjson.loads(admin.request("GET", "/readyz").body)["redis"] == "ok")
        pull(proxy.url, image, "2.0.2.1")
    with redis_server.client() as client:
        assert list(client.scan_iter("twodfs:partition:*:2.0.2.1"))


def test_redis_flushed_between_head_and_get(
    registry: Registry, image: PushedImage, redis_server: Redis, tmp_path: Path
) -> None:
    with proxy_on(tmp_path, registry, redis_server.url) as proxy, RegistryClient(proxy.url) as client:
        top = client.get_manifest(image.repository, "v1--0.0.2.2")
        redis_server.flush()
        check_children(client, image, top.body, "0.0.2.2")
        redis_server.flush()
        pull(proxy.url, image, "0.0.2.2")


def test_a_hanging_redis_costs_one_time_out_and_then_nothing(
    registry: Registry, image: PushedImage, redis_server: Redis, tmp_path: Path
) -> None:
    with proxy_on(tmp_path, registry, redis_server.url) as proxy:
        pull(proxy.url, image, "0.0.0.1")
        redis_server.pause()
        for row in range(6):
            pull(proxy.url, image, f"{row}.0.{row}.3")
        outages = [e for e in proxy.log_events() if e["event"].startswith("redis does not answer")]
        assert len(outages) == 1
        slow = [e for e in proxy.log_events() if e["event"] == "request" and e["milliseconds"] >= 250]
        assert len(slow) <= 1
        redis_server.resume()
        pull(proxy.url, image, "0.0.0.1")


def test_replicas_that_share_a_flushed_redis_find_each_others_digests_again(
    registry: Registry, image: PushedImage, redis_server: Redis, tmp_path: Path
) -> None:
    with two_proxies(tmp_path, registry, redis_server) as (first, second):
        pull(first.url, image, "0.0.4.4")
        redis_server.flush()
        wait_until(lambda: canaries(redis_server) == 2)  # both have seen that Redis is empty
        with RegistryClient(first.url) as client:
            top = client.get_manifest(image.repository, "v1--0.0.4.4")
        with RegistryClient(second.url) as client:
            check_children(client, image, top.body, "0.0.4.4")


@pytest.mark.parametrize("is_list", [False, True])
def test_a_strangers_value_in_place_of_the_canary_does_not_turn_redis_off(
    registry: Registry, redis_server: Redis, tmp_path: Path, *, is_list: bool
) -> None:
    with two_proxies(tmp_path, registry, redis_server) as (first, second), redis_server.client() as client:
        wait_until(lambda: canaries(redis_server) == 2)
        keys = list(client.scan_iter("twodfs:canary:*"))
        for key in keys:
            client.delete(key)
            if is_list:
                client.lpush(key, b"a list")
            else:
                client.set(key, b"garbage")
        wait_until(lambda: {client.type(key) for key in keys} == {b"string"})
        wait_until(lambda: {client.get(key) for key in keys} == {b"alive"})
        wait_until(lambda: says_redis_is_ok(first) and says_redis_is_ok(second))


def canaries(redis: Redis) -> int:
    with redis.client() as client:
        return len(list(client.scan_iter("twodfs:canary:*")))


def test_what_was_cut_while_redis_was_away_is_there_when_it_is_back(
    registry: Registry, image: PushedImage, redis_server: Redis, tmp_path: Path
) -> None:
    with two_proxies(tmp_path, registry, redis_server) as (first, second):
        redis_server.pause()
        pull(first.url, image, "1.0.4.4")
        redis_server.resume()
        wait_until(lambda: says_redis_is_ok(first) and says_redis_is_ok(second))
        with RegistryClient(first.url) as client:
            top = client.get_manifest(image.repository, "v1--1.0.4.4")
        with RegistryClient(second.url) as client:
            check_children(client, image, top.body, "1.0.4.4")


def says_redis_is_ok(proxy: Proxy) -> bool:
    with RegistryClient(proxy.admin_url) as admin:
        return bool(orjson.loads(admin.request("GET", "/readyz").body)["redis"] == "ok")


def test_very_many_partitions_at_once_all_reach_redis(
    registry: Registry, image: PushedImage, redis_server: Redis, tmp_path: Path
) -> None:
    corners = [(row, col) for row in range(6) for col in range(6)]
    every = [f"{a}.{b}.{c}.{d}" for a, b in corners for c, d in corners if a <= c and b <= d]
    wanted = every[:300]

    def head(selection: str) -> int:
        with RegistryClient(proxy.url) as client:
            target = f"/v2/{image.repository}/manifests/v1--{selection}"
            return client.request("HEAD", target, headers={"Accept": OCI.index}).status

    with patient_proxy_on(tmp_path, registry, redis_server.url) as proxy, ThreadPoolExecutor(32) as pool:
        for _ in range(2):  # what was skipped in the rush is put the second time
            assert set(pool.map(head, wanted)) == {200}
    with redis_server.client() as client:
        assert len(list(client.scan_iter("twodfs:partition:*", count=1000))) == len(wanted)


@pytest.mark.parametrize("garbage", [b"", b"garbage", b"\x00" * 5000, b'[1,"sha256:00","0.0.0.0"]'])
def test_garbage_in_redis_is_never_served(
    registry: Registry, image: PushedImage, redis_server: Redis, tmp_path: Path, garbage: bytes
) -> None:
    with two_proxies(tmp_path, registry, redis_server) as (warm, cold):
        digest = pull(warm.url, image, "1.1.3.3")
        assert redis_server.overwrite_all(garbage) > 5
        assert pull(warm.url, image, "1.1.3.3") == digest
        assert pull(cold.url, image, "1.1.3.3") == digest


def test_swapped_values_in_redis_are_never_served(
    registry: Registry, image: PushedImage, redis_server: Redis, tmp_path: Path
) -> None:
    """Whole and sealed, but of another key."""
    with two_proxies(tmp_path, registry, redis_server) as (warm, cold):
        digests = [pull(warm.url, image, f"{row}.0.{row}.5") for row in range(3)]
        with redis_server.client() as client:
            keys = sorted(client.scan_iter("*"))
            values = [client.get(key) for key in keys]
            for key, value in zip(keys, [*values[1:], values[0]], strict=True):
                assert value is not None
                client.set(key, value)
        assert [pull(cold.url, image, f"{row}.0.{row}.5") for row in range(3)] == digests


def test_values_of_another_type_in_redis_do_not_disturb(
    registry: Registry, image: PushedImage, redis_server: Redis, tmp_path: Path
) -> None:
    with proxy_on(tmp_path, registry, redis_server.url) as proxy:
        digest = pull(proxy.url, image, "0.0.5.5")
        with redis_server.client() as client:
            for key in list(client.scan_iter("*")):
                client.delete(key)
                client.lpush(key, "not a string")
    other = tmp_path / "other"
    other.mkdir()
    with proxy_on(other, registry, redis_server.url) as proxy:
        assert pull(proxy.url, image, "0.0.5.5") == digest


def test_a_full_redis_does_not_disturb(registry: Registry, image: PushedImage, tmp_path: Path) -> None:
    options = ("--maxmemory", "1mb", "--maxmemory-policy", "noeviction")
    redis_directory = tmp_path / "redis"
    redis_directory.mkdir()
    with (
        Redis.start(redis_directory, *options) as redis,
        proxy_on(tmp_path, registry, redis.url) as proxy,
    ):
        for row in range(6):
            pull(proxy.url, image, f"{row}.0.{row}.5")


class Babbler(socketserver.BaseRequestHandler):
    """Accepts every connection and answers everything with the same."""

    answer = b""

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while self.request.recv(4096):
                self.request.sendall(self.answer)


@contextlib.contextmanager
def babbling(said: bytes) -> Iterator[str]:
    handler = type("Handler", (Babbler,), {"answer": said})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"redis://127.0.0.1:{server.server_address[1]}/0"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 400 Bad Request\r\n\xff\xfe\r\n",
        b":1\r\n",
        b"*1\r\n$1\r\na\r\n",
        b"-ERR DB index is out of range\r\n",
        b"$99999999\r\n",
    ],
)
def test_something_else_on_the_port_of_redis(
    registry: Registry, image: PushedImage, tmp_path: Path, said: bytes
) -> None:
    with babbling(said) as url, proxy_on(tmp_path, registry, url) as proxy:
        pull(proxy.url, image, "0.0.1.1")
        pull(proxy.url, image, "0.0.1.1")


def test_a_redis_that_never_was_there(registry: Registry, image: PushedImage, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with proxy_on(tmp_path, registry, f"redis://127.0.0.1:{port}/0") as proxy:
        pull(proxy.url, image, "0.0.1.1")


def test_a_second_proxy_serves_a_pinned_digest_from_redis_alone(
    registry: Registry, image: PushedImage, redis_server: Redis, tmp_path: Path
) -> None:
    first, second = (tmp_path / name for name in ("first", "second"))
    first.mkdir()
    second.mkdir()
    with proxy_on(first, registry, redis_server.url) as proxy:
        digest = pull(proxy.url, image, "3.3.4.4")
    with redis_server.client() as client:  # the partition itself may expire before its recipe does
        for key in client.scan_iter("twodfs:partition:*"):
            client.delete(key)
    with proxy_on(second, registry, redis_server.url) as proxy, RegistryClient(proxy.url) as client_:
        top = client_.get_manifest(image.repository, digest)
        assert (top.status, top.headers["docker-content-digest"]) == (200, digest)
        check_children(client_, image, top.body, "3.3.4.4")


def test_replicas_without_redis_give_the_same_digests(registry: Registry, image: PushedImage, tmp_path: Path) -> None:
    digests = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        with Proxy.start(tmp_path / name, registry.url) as proxy:
            digests.append([pull(proxy.url, image, one) for one in ("0.0.0.0", "0.0.5.5", "2.1.4.4")])
    assert digests[0] == digests[1]
