"""Replicas without affinity on a Redis that hands over in the middle: no pull fails."""

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.lab.balancer import Balancer
from tests.lab.certificates import Authority
from tests.lab.images import PushedImage, push_field_image
from tests.lab.process import free_port
from tests.lab.proxy import Proxy
from tests.lab.pulls import CELLS, pull
from tests.lab.redis import Redis
from tests.lab.redis_groups import Group, clustered, watched_by_sentinels
from tests.lab.registry import Registry

PULLS = 200
REPLICAS = 3
RECTANGLES = [
    f"{x1}.{y1}.{x2}.{y2}"
    for x1, y1 in itertools.product(range(6), repeat=2)
    for x2, y2 in itertools.product(range(x1, 6), range(y1, 6))
]


@pytest.fixture(scope="module")
def image(registry: Registry) -> PushedImage:
    return push_field_image(registry.url, "groups/model", "v1", cells=CELLS, platforms=("linux/amd64", "linux/arm64"))


@contextlib.contextmanager
def replicas(directory: Path, registry: Registry, redis_url: str) -> Iterator[Balancer]:
    with contextlib.ExitStack() as stack:
        proxies = []
        for number in range(REPLICAS):
            (directory / f"replica-{number}").mkdir()
            environment = {"TWODFS_PROXY_CACHE_REDIS_URL": redis_url}
            proxies.append(
                stack.enter_context(Proxy.start(directory / f"replica-{number}", registry.url, environment=environment))
            )
        yield stack.enter_context(Balancer.start(directory / "nginx", [one.address for one in proxies]))


@pytest.mark.alone(reason="replicas have seconds to hear of a new master, and to put what the lost one had")
@pytest.mark.parametrize("start", [watched_by_sentinels, clustered])
def test_no_pull_fails_while_a_master_is_lost(
    start: Callable[[Path], AbstractContextManager[Group]],
    registry: Registry,
    image: PushedImage,
    tmp_path: Path,
) -> None:
    """Nobody pulled these partitions before, so each pull needs what another replica has just put."""
    assert len(RECTANGLES) >= PULLS
    a_third_is_done = threading.Semaphore(0)

    with start(tmp_path / "redis") as group, replicas(tmp_path, registry, group.url) as balancer:

        def one_pull(rectangle: str) -> str:
            try:
                return pull(balancer.url, image, rectangle)
            finally:
                a_third_is_done.release()

        with ThreadPoolExecutor(4) as pool:
            pulls = [pool.submit(one_pull, rectangle) for rectangle in RECTANGLES[:PULLS]]
            for _ in range(PULLS // 3):
                assert a_third_is_done.acquire(timeout=60)
            lost = group.lose_a_master()
            group.wait_until_replaced(lost)
            digests = [one.result(timeout=120) for one in pulls]
            assert len(set(digests)) == PULLS
            # Redis serves again after the change of masters: what is cut now is known to all of it.
            before = group.recipes()
            pull(balancer.url, image, RECTANGLES[PULLS])
            assert group.recipes() > before


def test_redis_may_want_tls_a_certificate_and_a_user(registry: Registry, image: PushedImage, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server, ours = authority.issue("redis", "127.0.0.1"), authority.issue("proxy", "proxy.example")
    port = free_port()
    tls = ("--tls-port", str(port), "--tls-ca-cert-file", str(authority.bundle), "--tls-auth-clients", "yes")
    pair = ("--tls-cert-file", str(server.certificate), "--tls-key-file", str(server.key))
    user = (
        "--user",
        *["proxy", "on", ">pa/ss:word", "~mine:*", "+@read", "+@write", "+@transaction", "+@connection"],
    )
    environment = {
        "TWODFS_PROXY_CACHE_REDIS_URL": f"rediss://proxy:pa%2Fss%3Aword@127.0.0.1:{port}/0",
        "TWODFS_PROXY_CACHE_REDIS_CA_FILE": str(authority.bundle),
        "TWODFS_PROXY_CACHE_REDIS_CERTIFICATE": str(ours.certificate),
        "TWODFS_PROXY_CACHE_REDIS_KEY": str(ours.key),
        "TWODFS_PROXY_CACHE_REDIS_TIMEOUT": "2",
        "TWODFS_PROXY_CACHE_KEY_PREFIX": "mine",
    }
    with (
        Redis.start(tmp_path, *tls, *pair, *user) as redis,
        Proxy.start(tmp_path, registry.url, environment=environment) as proxy,
    ):
        pull(proxy.url, image, "0.0.1.1")
        with redis.client() as client:  # the default user, in plain text
            assert list(client.scan_iter("mine:recipe:*"))
        assert not [event for event in proxy.log_events() if "redis" in event["event"]]
