"""Records in Redis, shared by the replicas.

Redis may be slow, dead, full, flushed or rotten. The first call that fails opens a breaker: from then
on nobody waits for Redis, until a probe in the background hears it answer again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

from aiocache import RedisCache
from aiocache.serializers import NullSerializer
from redis.asyncio import BlockingConnectionPool
from redis.exceptions import ResponseError

from proxy.config import CacheConfig
from proxy.logs import get_logger
from proxy.records import Key, R_co, Recipes, Record, RottenError, seal, unseal

T = TypeVar("T")

_FIRST_PROBE: Final = 0.5
_LAST_PROBE: Final = 15.0
_SECONDS_A_DAY: Final = 86_400


class RedisStore:
    """Keeps sealed records under ``PREFIX:KEY``, each with a time to live."""

    def __init__(self, config: CacheConfig, cache: RedisCache, pool: BlockingConnectionPool) -> None:
        self._config = config
        self._cache = cache
        self._pool = pool
        self._failed = asyncio.Event()
        self._is_closing = False

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(cls, config: CacheConfig) -> AsyncIterator[RedisStore]:
        """Use the Redis of ``config.redis_url`` for the time of the context; it need not be there yet."""
        # aiocache takes host, port and password only; the pool takes the whole URL (TLS, users, sockets), and
        # waits for a free connection where the default pool fails when all are in use.
        pool = BlockingConnectionPool.from_url(
            config.redis_url.get_secret_value(),
            max_connections=config.redis_max_connections,
            timeout=config.redis_timeout,
            socket_connect_timeout=config.redis_timeout,
            decode_responses=False,
        )
        cache = RedisCache(
            serializer=NullSerializer(encoding=None),
            namespace=config.key_prefix,
            timeout=config.redis_timeout,
            connection_pool_class=lambda **_: pool,
        )
        store = cls(config, cache, pool)
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(store._watch())
            try:
                yield store
            finally:
                # redis-py can swallow a cancellation while it closes connections, so the watch is told twice.
                store._is_closing = True
                store._failed.set()
                watch.cancel()
                await _bounded(pool.disconnect(), config.redis_timeout)

    @property
    def is_available(self) -> bool:
        """Whether Redis is asked at all; False from a failure until a probe is answered."""
        return not self._failed.is_set()

    async def get(self, key: Key[R_co]) -> R_co | None:
        """Return the record under ``key``; None when Redis has it not, or not whole, or does not answer."""
        sealed = await self._call(lambda: self._cache.get(str(key)))
        if sealed is None:
            return None
        try:
            return unseal(key, sealed)
        except RottenError as error:
            get_logger().warning("redis returned garbage", reason=str(error))
            return None

    async def put(self, records: Mapping[Key[Any], Record]) -> None:
        """Send ``records`` to Redis; those above ``redis_max_value`` stay out."""
        if self.is_available:
            await asyncio.gather(*(self._put(key, record) for key, record in records.items()))

    async def _put(self, key: Key[Any], record: Record) -> None:
        sealed = seal(key, record)
        if len(sealed) <= self._config.redis_max_value:
            await self._call(lambda: self._cache.set(str(key), sealed, ttl=self._time_to_live(record)))

    def _time_to_live(self, record: Record) -> int:
        """Return whole seconds, at least one: Redis takes 0 for an error."""
        is_recipe = isinstance(record, Recipes)
        seconds = self._config.recipe_days * _SECONDS_A_DAY if is_recipe else self._config.ttl
        return max(1, int(seconds))

    async def _call(self, command: Callable[[], Awaitable[T]]) -> T | None:
        if not self.is_available:
            return None
        try:
            return await command()
        except ResponseError as error:
            # Redis is there and said no (out of memory, read-only, another type): only this call is lost.
            get_logger().warning("redis refused a command", reason=str(error))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a cache, the pull goes on
            self._open_breaker(error)
        return None

    def _open_breaker(self, error: Exception) -> None:
        if self.is_available:
            reason = str(error) or type(error).__name__
            get_logger().warning("redis does not answer; going on without it", reason=reason)
            self._failed.set()

    async def _watch(self) -> None:
        """Wait for a failure, then ask until Redis answers, less and less often."""
        while not self._is_closing:
            await self._failed.wait()
            # The connections of before the failure are as dead as what they led to.
            await _bounded(self._pool.disconnect(inuse_connections=False), self._config.redis_timeout)
            pause = _FIRST_PROBE
            while not await self._answers() and not self._is_closing:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LAST_PROBE)
            if not self._is_closing:
                self._failed.clear()
                get_logger().info("redis answers again")

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(self._config.redis_timeout):
                return bool(await self._cache.client.ping())
        except Exception:  # noqa: BLE001 - any failure means: not yet
            return False


async def _bounded(closing: Awaitable[None], seconds: float) -> None:
    """Wait until connections are closed, but not for long: the other side may not take part."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(seconds):
            await closing
