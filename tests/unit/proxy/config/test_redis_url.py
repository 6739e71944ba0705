"""Where Redis is, in a URL."""

import pytest

from proxy.config import RedisAddress, Topology
from proxy.config.redis_url import Login


def test_sentinels_name_a_service() -> None:
    address = RedisAddress.parse(
        "redis+sentinel://me:p%40ss@one:1,two,[::1]:3/shared/7?sentinel_username=s&sentinel_password=t%2Fu"
    )
    assert address.topology is Topology.SENTINEL
    assert address.nodes == (("one", 1), ("two", 26379), ("::1", 3))
    assert (address.service, address.db, address.is_tls) == ("shared", 7, False)
    assert address.login == Login("me", "p@ss")
    assert address.sentinel_login == Login("s", "t/u")


def test_a_cluster_is_a_list_of_nodes() -> None:
    address = RedisAddress.parse("rediss+cluster://:secret@one,two:7000")
    assert address.topology is Topology.CLUSTER
    assert address.nodes == (("one", 6379), ("two", 7000))
    assert address.is_tls
    assert address.login == Login(None, "secret")
    assert "secret" not in repr(address)


@pytest.mark.parametrize("url", ["redis://h:1/0", "rediss://u:p@h", "unix:///run/redis.sock?db=1"])
def test_one_server_is_as_redis_py_has_it(url: str) -> None:
    assert RedisAddress.parse(url).topology is Topology.SERVER


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://one:1",  # no service
        "redis+sentinel:///shared",
        "redis+sentinel://one:x/shared",
        "redis+sentinel://one:1/shared/db",
        "redis+sentinel://one:1/shared?password=x",
        "redis+cluster://one:1/0",
        "redis+cluster://one:1,,two:2",
        "redis+cluster://one:1?sentinel_password=x",
        "redis+server://one:1",
        "unix+cluster://one:1",
        "http://one:1",
        "redis://h:1/0?socket_timeout=9",
        "",
    ],
)
def test_anything_else_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="expected redis://") as caught:
        RedisAddress.parse(url)
    assert not url or url not in str(caught.value)
