import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from tests.lab.redis import Redis


def test_a_killed_server_is_gone_and_comes_back_empty_on_the_same_port(redis_server: Redis) -> None:
    with redis_server.client() as client:
        client.set("key", b"value")
        redis_server.kill()
        with pytest.raises(RedisConnectionError):
            client.ping()
        redis_server.restart()
        assert client.get("key") is None


def test_a_paused_server_lets_its_clients_wait(redis_server: Redis) -> None:
    with redis_server.client(seconds=0.2) as client:
        client.ping()
        redis_server.pause()
        with pytest.raises(RedisTimeoutError):
            client.ping()
        redis_server.resume()
        assert client.ping()


def test_a_flushed_server_is_empty(redis_server: Redis) -> None:
    with redis_server.client() as client:
        client.set("key", b"value")
        redis_server.flush()
        assert client.dbsize() == 0


def test_garbage_replaces_every_string_and_nothing_else(redis_server: Redis) -> None:
    with redis_server.client() as client:
        client.set("one", b"1")
        client.set("two", b"2", ex=1000)
        client.hset("hash", "field", "kept")
        assert redis_server.overwrite_all(b"\xff\x00") == 2
        assert (client.get("one"), client.get("two")) == (b"\xff\x00", b"\xff\x00")
        assert client.ttl("two") > 900
        assert client.hget("hash", "field") == b"kept"


def test_options_reach_the_server(tmp_path_factory: pytest.TempPathFactory) -> None:
    with (
        Redis.start(tmp_path_factory.mktemp("redis"), "--maxmemory", "2mb") as server,
        server.client() as client,
    ):
        assert client.config_get("maxmemory") == {"maxmemory": "2097152"}
