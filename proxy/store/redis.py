"""Records in Redis, shared by the replicas.

Redis may be slow, dead, full, flushed, corrupt or handing over to another server. The first call that fails
opens a breaker: from then on no call waits for Redis, until a probe in the background gets an answer again.
Records put shortly before a failure, or during it, are put again then: a server that takes over has not
always received them.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

from redis.exceptions import ResponseError

from proxy.config import CacheConfig
from proxy.logs import get_logger
from proxy.metrics.catalogue import REDIS_CORRUPT, REDIS_ERROR, REDIS_HIT, REDIS_MISS
from proxy.store.clients import Client, bounded, open_client, raise_first
from proxy.store.recent import Recent
from proxy.store.records import CorruptRecordError, Lifetime, R_co, Record, RecordKey, seal, unseal

T = TypeVar("T")

CANARY: Final = "canary"
"""Before the name of the one key of each replica that tells it whether Redis was emptied."""
_ALIVE: Final = b"alive"
_CANARY_SECONDS: Final = 3600
# Seconds: between looks at a healthy Redis; before the first probe of a failed one, and at most before the
# next; of health after which a failure counts as a first one again.
_HEARTBEAT: Final = 0.5
_FIRST_PROBE: Final = 0.25
_LAST_PROBE: Final = 2.0
_STEADY: Final = 60.0
# Bytes that are hashed within half a millisecond; more is a thread's work.
_SEAL_HERE: Final = 512 * 1024
# Seconds that the other replicas may take to see that Redis is back, and to put their records.
_SETTLED: Final = 2 * _LAST_PROBE
_SECONDS_A_DAY: Final = 86_400
# Characters of Redis's message about a failure that go into the log: a line of its has up to 64 KiB.
_LONGEST_REASON: Final = 500


def canary_seconds(config: CacheConfig) -> int:
    """Return the seconds until a canary expires: as long as provenances live, an hour at least.

    A full Redis that drops the keys that expire first (volatile-ttl) would drop it first otherwise, and seem emptied.
    """
    return max(_CANARY_SECONDS, int(config.recipe_days * _SECONDS_A_DAY))


class RedisStore:
    """Keeps sealed records under ``PREFIX:KEY``, each with a time to live."""

    def __init__(self, config: CacheConfig, client: Client) -> None:
        self._config = config
        self._client = client
        self._cache = client.cache
        self._secret = config.secret.get_secret_value().encode()
        self._slots = asyncio.Semaphore(config.redis_max_connections)
        self._failed = asyncio.Event()
        self._closing = asyncio.Event()
        name = uuid.uuid4().hex
        self._canaries = [f"{CANARY}:{name}:{number}" for number in range(client.canaries)]
        self._generation = 0
        self._recent = Recent()
        self._failed_at = self._healed_at = -math.inf

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(cls, config: CacheConfig) -> AsyncIterator[RedisStore]:
        """Use the Redis of ``config.redis_url`` for the time of the context; it need not be there yet."""
        async with open_client(config) as client:
            store = cls(config, client)
            if not await store._check_canaries():
                store._open_breaker(TimeoutError("it did not answer at the start"))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(store._watch())
                try:
                    yield store
                finally:
                    # Not cancelled: redis-py leaves a connection open that is cancelled while it connects.
                    store._closing.set()

    @property
    def is_available(self) -> bool:
        """Whether Redis is asked at all; False from a failure until a probe succeeds."""
        return not self._failed.is_set()

    @property
    def generation(self) -> int:
        """Changes when a canary was gone: Redis was emptied, or came back without its records."""
        return self._generation

    @property
    def is_settling(self) -> bool:
        """Whether a missing record may be there soon: Redis just failed, or just came back."""
        now = time.monotonic()
        if self.is_available:
            return now - self._healed_at < min(_SETTLED, self._config.redis_failover)
        return now - self._failed_at < self._config.redis_failover

    async def get(self, key: RecordKey[R_co]) -> R_co | None:
        """Return the record under ``key``; None when Redis has it not, or not whole, or does not answer."""
        answered, sealed = await self._call(lambda: self._cache.get(str(key)))
        if sealed is None:
            (REDIS_MISS if answered else REDIS_ERROR).add()
            return None
        if not isinstance(sealed, bytes):
            REDIS_ERROR.add()
            self._open_breaker(TypeError(f"GET is answered with {type(sealed).__name__}: is this Redis?"))
            return None
        try:
            if len(sealed) > _SEAL_HERE:
                record = await asyncio.to_thread(unseal, key, sealed, self._secret)
            else:
                record = unseal(key, sealed, self._secret)
        except CorruptRecordError as error:
            REDIS_CORRUPT.add()
            get_logger().warning("redis returned garbage", reason=str(error))
            return None
        REDIS_HIT.add()
        return record

    async def put(self, records: Mapping[RecordKey[Any], Record]) -> bool:
        """Send ``records`` to Redis, and say whether all arrived; those above ``redis_max_value`` stay out.

        Records that cannot be made again go first: should Redis fail on a large value, its provenance is there.
        """
        groups: dict[int, list[tuple[str, bytes]]] = {}
        for key, record in records.items():
            if record.weight > _SEAL_HERE:
                if record.weight > self._config.redis_max_value + _SEAL_HERE:
                    continue
                sealed = await asyncio.to_thread(seal, key, record, self._secret)
            else:
                sealed = seal(key, record, self._secret)
            if len(sealed) <= self._config.redis_max_value:
                groups.setdefault(self._time_to_live(record), []).append((str(key), sealed))
        for ttl, pairs in groups.items():
            self._recent.add(ttl, pairs, is_healthy=self.is_available)
        arrived = [await self._put(ttl, groups[ttl]) for ttl in sorted(groups, reverse=True)]
        return all(arrived)

    async def _put(self, ttl: int, pairs: list[tuple[str, bytes]]) -> bool:
        done, _ = await self._call(lambda: self._client.set_all(pairs, ttl))
        return done

    def _time_to_live(self, record: Record) -> int:
        """Return whole seconds, at least one: Redis takes 0 for an error."""
        is_lasting = record.lifetime is Lifetime.LASTING
        seconds = self._config.recipe_days * _SECONDS_A_DAY if is_lasting else self._config.ttl
        return max(1, int(seconds))

    async def _call(self, command: Callable[[], Awaitable[T]]) -> tuple[bool, T | None]:
        """Return whether ``command`` succeeded, and its result. Never raises."""
        if not self.is_available:
            return False, None
        try:
            async with asyncio.timeout(self._config.redis_timeout):
                await self._slots.acquire()
        except TimeoutError:  # we are busy, Redis is not to blame
            return False, None
        try:
            return True, await command()
        except ResponseError as error:
            if not _is_wrong_type(error):
                self._open_breaker(error)
        except Exception as error:  # noqa: BLE001 - the pull goes on without the cache
            self._open_breaker(error)
        finally:
            self._slots.release()
        return False, None

    def _open_breaker(self, error: Exception) -> None:
        if self.is_available:
            reason = (str(error) or type(error).__name__)[:_LONGEST_REASON]
            get_logger().warning("redis does not answer; going on without it", reason=reason)
            self._failed_at = time.monotonic()
            self._failed.set()

    async def _watch(self) -> None:
        """Check that Redis still has our canary; after a failure, ask less and less often until it works."""
        pause = _FIRST_PROBE
        steady_since = time.monotonic()
        while not self._closing.is_set():
            if await self._check_canaries():
                if not self.is_available:
                    steady_since = self._heal()
                    await self._put_again()
                if time.monotonic() - steady_since > _STEADY:
                    pause = _FIRST_PROBE
                await self._until_failure()
                continue
            self._open_breaker(TimeoutError("the probe failed"))
            # The connections from before the failure are as dead as the server.
            await bounded(self._client.drop_idle(), self._config.redis_timeout)
            await self._sleep(pause)
            pause = min(2 * pause, _LAST_PROBE)

    def _heal(self) -> float:
        """Close the breaker; return when, on the monotonic clock."""
        self._healed_at = time.monotonic()
        self._generation += 1  # the server that answers now may lack the records of the previous one
        self._failed.clear()
        get_logger().info("redis answers again")
        return self._healed_at

    async def _put_again(self) -> None:
        """Put the records that may be lost with the previous Redis; provenances first, as they live longest."""
        for ttl, pairs in self._recent.batches():
            if not await self._put(ttl, pairs):
                return  # failed again: it stays recent

    async def _until_failure(self) -> None:
        """Wait for a heartbeat, or until a call fails; then drop the connections it was one of."""
        await self._sleep(_HEARTBEAT, or_until=self._failed)
        if not self.is_available:
            await bounded(self._client.drop_idle(), self._config.redis_timeout)
            await self._sleep(_FIRST_PROBE)

    async def _sleep(self, seconds: float, *, or_until: asyncio.Event | None = None) -> None:
        """Wait, but no longer than until the store closes or ``or_until`` happens."""
        events = [self._closing] if or_until is None else [self._closing, or_until]
        async with asyncio.TaskGroup() as tasks:
            waiting = [tasks.create_task(event.wait()) for event in events]
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for task in waiting:
                task.cancel()

    async def _check_canaries(self) -> bool:
        """Read and write as real calls do; say whether that works. A lost canary starts a new generation."""
        try:
            await self._client.prepare()
            checks = [self._keep_alive(canary) for canary in self._canaries]
            were_alive = await asyncio.gather(*checks, return_exceptions=True)
            raise_first(were_alive)
        except Exception:  # noqa: BLE001 - any failure means: not now
            return False
        if not all(were_alive):
            self._generation += 1
        return True

    async def _keep_alive(self, canary: str) -> bool:
        """Return whether ``canary`` was alive; it is from now on."""
        was_alive = await self._value_of(canary) == _ALIVE
        if not was_alive:
            await self._cache.delete(canary)
        await self._cache.set(canary, _ALIVE, ttl=canary_seconds(self._config))
        if await self._cache.get(canary) != _ALIVE:
            raise ResponseError("Redis forgets at once")
        return was_alive

    async def _value_of(self, canary: str) -> object:
        """Return the value of our canary; None for a foreign value of another type."""
        try:
            return await self._cache.get(canary)
        except ResponseError as error:
            if _is_wrong_type(error):
                return None
            raise


def _is_wrong_type(error: ResponseError) -> bool:
    """Say whether a key holds a stranger's value: only that key is lost, Redis is well."""
    return str(error).startswith("WRONGTYPE")
