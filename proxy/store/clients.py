"""Connections to Redis, in each of the forms that a Redis takes.

The differences are kept here: how to find the server that holds a key, whether many keys can be set in one
transaction, and how many canaries it takes to notice that a part of it was emptied.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any, Final, Protocol

from aiocache import RedisCache
from aiocache.serializers import NullSerializer
from redis.asyncio import BlockingConnectionPool, ConnectionPool, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from proxy.config import CacheConfig, RedisAddress, Topology
from proxy.store.replies import bind, bounded_parser
from twodfs.files import MOST_PEM, read_file

# A cluster deals keys out by their hash: this many miss none of a handful of shards but by rare bad luck.
_CANARIES_IN_A_CLUSTER: Final = 16
_SHORTEST_WAIT: Final = 0.05
_PREPARATION: Final = 3.0
"""Bytes of a file of certificates: a system's own has a quarter of a megabyte."""


class RedisFileError(Exception):
    """A certificate or key for Redis cannot be used; the message names the setting."""


class Client(Protocol):
    """A Redis of any topology."""

    cache: RedisCache
    canaries: int
    """How many keys it takes to see each server."""

    async def prepare(self) -> None:
        """Fetch the topology before the first call; nothing where it is known already."""

    async def set_all(self, pairs: Sequence[tuple[str, bytes]], ttl: int) -> None:
        """Set all of ``pairs`` for ``ttl`` seconds."""

    async def drop_idle(self) -> None:
        """Close idle connections, and forget the addresses of the servers."""


@contextlib.asynccontextmanager
async def open_client(config: CacheConfig) -> AsyncIterator[Client]:
    """Yield the Redis of ``config.redis_url``, there already or not; close its connections at the end."""
    address = RedisAddress.parse(config.redis_url.get_secret_value())
    async with _OPEN[address.topology](address, config) as client:
        yield client


class _Pooled:
    """One server at a time, known by its address or asked of Sentinels."""

    canaries = 1

    def __init__(self, config: CacheConfig, pool: ConnectionPool) -> None:
        self.cache = _cache(config, pool)
        self._pool = pool

    async def prepare(self) -> None:
        pass

    async def set_all(self, pairs: Sequence[tuple[str, bytes]], ttl: int) -> None:
        await self.cache.multi_set(pairs, ttl=ttl)

    async def drop_idle(self) -> None:
        await self._pool.disconnect(inuse_connections=False)


class _Cluster:
    """Many servers, each with a share of the keys."""

    canaries = _CANARIES_IN_A_CLUSTER

    def __init__(self, config: CacheConfig, cluster: RedisCluster) -> None:
        self.cache = _cache(config, ConnectionPool())
        self.cache.client = cluster
        self._cluster = cluster

    async def prepare(self) -> None:
        # Slots and commands are much to read: more than fits into the time of one call.
        async with asyncio.timeout(_PREPARATION):
            await self._cluster.initialize()

    async def set_all(self, pairs: Sequence[tuple[str, bytes]], ttl: int) -> None:
        # One transaction cannot span servers. All end, also when one fails: aiocache leaves tasks behind that
        # are cancelled.
        calls = [self.cache.set(key, value, ttl=ttl) for key, value in pairs]
        raise_first(await asyncio.gather(*calls, return_exceptions=True))

    async def drop_idle(self) -> None:
        # The map of slots is as old as the connections.
        await self._cluster.aclose()


@contextlib.asynccontextmanager
async def _open_server(address: RedisAddress, config: CacheConfig) -> AsyncIterator[Client]:
    # aiocache takes host, port and password only; the pool takes the whole URL (TLS, users, sockets).
    pool = BlockingConnectionPool.from_url(
        address.url,
        max_connections=config.redis_max_connections + 1,  # and one for the watch
        timeout=config.redis_timeout,
        socket_connect_timeout=config.redis_timeout,
        decode_responses=False,
        parser_class=bounded_parser(config),
        **tls_files(address, config),
    )
    try:
        yield _Pooled(config, pool)
    finally:
        await bounded(pool.disconnect(), config.redis_timeout)


@contextlib.asynccontextmanager
async def _open_sentinel(address: RedisAddress, config: CacheConfig) -> AsyncIterator[Client]:
    # A Sentinel that is silent must leave time to ask the next one within one call.
    wait = max(_SHORTEST_WAIT, config.redis_timeout / (len(address.nodes) + 1))
    tls = {"ssl": True, **tls_files(address, config)} if address.is_tls else {}
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        address.nodes,
        sentinel_kwargs={
            "username": address.sentinel_login.username,
            "password": address.sentinel_login.password,
            "socket_timeout": wait,
            "socket_connect_timeout": wait,
            "retry": Retry(NoBackoff(), 0),
            **tls,
        },
    )
    for one in sentinel.sentinels:
        bind(one, config)
    pool = SentinelConnectionPool(  # type: ignore[no-untyped-call]
        address.service,
        sentinel,
        max_connections=config.redis_max_connections + 1,
        username=address.login.username,
        password=address.login.password,
        db=address.db,
        socket_connect_timeout=config.redis_timeout,
        parser_class=bounded_parser(config),
        **tls,
    )
    try:
        yield _Pooled(config, pool)
    finally:
        await bounded(pool.disconnect(), config.redis_timeout)
        await bounded(sentinel.aclose(), config.redis_timeout)


@contextlib.asynccontextmanager
async def _open_cluster(address: RedisAddress, config: CacheConfig) -> AsyncIterator[Client]:
    tls = {"ssl": True, **tls_files(address, config)} if address.is_tls else {}
    cluster = RedisCluster(
        startup_nodes=[ClusterNode(host, port) for host, port in address.nodes],
        username=address.login.username,
        password=address.login.password,
        max_connections=config.redis_max_connections + 1,
        socket_timeout=config.redis_timeout,
        socket_connect_timeout=config.redis_timeout,
        # A shard without a master is lost for its keys alone.
        require_full_coverage=False,
        # Once more after a redirect or a dead connection; more would outlast the call.
        retry=Retry(NoBackoff(), 1),
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
        **tls,
    )
    bind(cluster, config)
    try:
        yield _Cluster(config, cluster)
    finally:
        await bounded(cluster.aclose(), config.redis_timeout)


_OPEN: Final = {
    Topology.SERVER: _open_server,
    Topology.SENTINEL: _open_sentinel,
    Topology.CLUSTER: _open_cluster,
}


def _cache(config: CacheConfig, pool: ConnectionPool) -> RedisCache:
    return RedisCache(
        serializer=NullSerializer(encoding=None),
        namespace=config.key_prefix,
        timeout=config.redis_timeout,
        connection_pool_class=lambda **_: pool,
    )


def tls_files(address: RedisAddress, config: CacheConfig) -> dict[str, Any]:
    """Return redis-py's arguments for certificates; none without TLS.

    Raises:
        RedisFileError: one of them cannot be read.
    """
    files = {
        "ssl_ca_certs": ("cache.redis_ca_file", config.redis_ca_file),
        "ssl_certfile": ("cache.redis_certificate", config.redis_certificate),
        "ssl_keyfile": ("cache.redis_key", config.redis_key),
    }
    told = {}
    for name, (setting, file) in files.items():
        if file is not None and address.is_tls:
            try:
                read_file(file, limit=MOST_PEM)  # OpenSSL reads it again, and a device for ever
            except OSError as error:
                raise RedisFileError(f"{setting} cannot be read: {file}: {error.strerror}") from None
            told[name] = str(file)
    return told


def check_tls(config: CacheConfig) -> None:
    """Load the files for TLS to the Redis that is configured, as its client will.

    Raises:
        RedisFileError: one of them cannot be read, or is no certificate or key.
    """
    files = tls_files(RedisAddress.parse(config.redis_url.get_secret_value()), config)
    try:
        context = ssl.create_default_context(cafile=files.get("ssl_ca_certs"))
        if "ssl_certfile" in files:
            context.load_cert_chain(files["ssl_certfile"], files.get("ssl_keyfile"))
    except (OSError, ssl.SSLError) as error:
        raise RedisFileError(f"the files of TLS to Redis (cache.redis_…) cannot be used: {error}") from None


def raise_first(outcomes: Sequence[object]) -> None:
    """Raise the first failure among the results of ``asyncio.gather``."""
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


async def bounded(closing: Awaitable[None], seconds: float) -> None:
    """Wait until connections are closed, but not for long: the other side may not take part."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(seconds):
            await closing
