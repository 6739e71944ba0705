"""What Redis answers, read up to a bound: with redis-py's own parser, as the connections have it."""

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis._parsers.resp3 import _AsyncRESP3Parser
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.exceptions import RedisError

from proxy.app import running
from proxy.config import CacheConfig, load
from proxy.preflight import StartError
from proxy.store import replies
from proxy.store.replies import ReplyTooLargeError, bind, obstacle, parsed

CONFIG = CacheConfig(redis_max_value=2**20)
OVERHEAD = 64 * 1024
# Of the most that a reply may have: 4 MiB where the largest value is smaller.
MOST = 4 * 2**20


def read(reply: bytes) -> object:
    return asyncio.run(parsed(CONFIG, reply))


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        (b"$5\r\nhello\r\n", b"hello"),
        (b"$0\r\n\r\n", b""),
        (b"_\r\n", None),
        (b":-7\r\n", -7),
        (b"*2\r\n+a\r\n*1\r\n:1\r\n", [b"a", [1]]),
        (b"%1\r\n+k\r\n#t\r\n", {b"k": True}),
        (b">2\r\n+invalidate\r\n+x\r\n+OK\r\n", b"OK"),
        (b"$%d\r\n%s\r\n" % (2**20, b"x" * 2**20), b"x" * 2**20),
        (b"*%d\r\n" % 50_000 + b":1\r\n" * 50_000, [1] * 50_000),
    ],
)
def test_replies_within_the_bound_are_read_as_ever(reply: bytes, value: object) -> None:
    assert read(reply) == value


@pytest.mark.parametrize(
    "reply",
    [
        b"$%d\r\n" % (2**20 + OVERHEAD + 1),
        b"=%d\r\n" % 10**10,
        b"!%d\r\n" % 10**10,
        b"*%d\r\n" % (MOST // 64 + 1),
        b"~%d\r\n" % 10**12,
        b"%%%d\r\n" % (MOST // 128 + 1),
        b">%d\r\n" % 10**12,
        b"*1\r\n" * 17,
        b"*9\r\n" + b"$500000\r\n%s\r\n" % (b"x" * 500_000) * 9,
        b"+" + b"x" * (2 * OVERHEAD + 1),
        b"-" + b"x" * (2 * OVERHEAD + 1),
        b">1\r\n+a\r\n" * 17,
    ],
    ids=range(12),
)
def test_replies_beyond_the_bound_are_given_up(reply: bytes) -> None:
    with pytest.raises(ReplyTooLargeError):
        read(reply)


@pytest.mark.parametrize("reply", [b"$-2\r\n", b"$+5\r\nhello\r\n", b"*x\r\n", b"$?\r\n", b"*1_0\r\n", b"$\r\n"])
def test_lengths_that_are_none_are_no_replies(reply: bytes) -> None:
    with pytest.raises(RedisError):
        read(reply)


def encoded(value: object) -> bytes:
    match value:
        case bytes():
            return b"$%d\r\n%s\r\n" % (len(value), value)
        case bool() | None:
            return {True: b"#t\r\n", False: b"#f\r\n", None: b"_\r\n"}[value]
        case int():
            return b":%d\r\n" % value
        case list():
            return b"*%d\r\n" % len(value) + b"".join(map(encoded, value))
    raise TypeError


LEAVES = st.binary(max_size=99) | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.none()
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=5), max_leaves=20)
PIECES = st.sampled_from([b"*", b"$", b"%", b">", b"+", b"-", b"!", b"\r\n", b"1", b"9999", b"-1", b"x"])


@given(VALUES)
def test_any_reply_comes_back_as_it_was_said(value: object) -> None:
    try:
        assert read(encoded(value)) == value
    except ReplyTooLargeError as error:
        assert "nested" in str(error)


@given(st.lists(PIECES, max_size=60).map(b"".join) | st.binary(max_size=200))
def test_any_bytes_are_a_reply_or_none(raw: bytes) -> None:
    with contextlib.suppress(RedisError, ValueError, TypeError, IndexError):  # what a call may fail with
        read(raw)


async def test_every_client_reads_with_the_bound() -> None:
    one = Redis(host="127.0.0.1", port=1)
    bind(one, CONFIG)
    connection = one.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    assert isinstance(connection._parser, replies._BoundedParser)
    cluster = RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", 1)])
    bind(cluster, CONFIG)
    assert isinstance(cluster.startup_nodes[0].acquire_connection()._parser, replies._BoundedParser)
    assert "parser_class" in cluster.nodes_manager.connection_kwargs


async def test_a_redis_py_that_reads_in_another_way_is_found_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await obstacle(CONFIG) is None
    monkeypatch.setattr(replies._BoundedParser, "_readline", _AsyncRESP3Parser._readline)
    assert "reads replies in its own way" in str(await obstacle(CONFIG))
    settings = {
        "upstream": "http://127.0.0.1:1",
        "listen": "127.0.0.1:0",
        "cache.redis_url": "redis://127.0.0.1:1",
    }
    with pytest.raises(StartError, match=r"requirements\.lock"):
        async with running(load(settings, {})):
            pass
