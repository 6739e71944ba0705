"""One suite that every store passes."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.config import load
from proxy.partitions.records import (
    BlobSize,
    BlobSizeKey,
    Content,
    ContentKey,
    Provenance,
    ProvenanceKey,
    Provenances,
)
from proxy.store import tiered
from proxy.store.memory import MemoryStore
from proxy.store.protocol import RecordStore
from proxy.store.records import CorruptRecordError, Record, RecordKey, seal, unseal
from proxy.store.redis import CANARY, RedisStore
from proxy.store.tiered import TieredStore
from proxy.tags.records import PartitionNamesKey
from tests.lab.edge import opened_store
from tests.lab.fake_registry import proxied
from tests.lab.peers import require
from tests.lab.records import PARTITION, PARTITION_KEY, PROVENANCE_KEY, RECORDS, REPOSITORY, SIZE_KEY, SOURCE
from tests.lab.redis import Redis
from tests.lab.redis_groups import Group, clustered, watched_by_sentinels
from tests.lab.registry import Registry
from twodfs.field.partition import Selection
from twodfs.oci.digest import digest_of


@pytest.fixture(scope="module")
def sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    require("redis-server")
    with watched_by_sentinels(tmp_path_factory.mktemp("sentinels") / "redis") as group:
        yield group


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    require("redis-server")
    with clustered(tmp_path_factory.mktemp("cluster") / "redis") as group:
        yield group


@contextlib.asynccontextmanager
async def redis_store(redis: Redis | Group, **settings: str) -> AsyncIterator[RedisStore]:
    # Patient: what is tested is what Redis keeps, not how soon a busy machine gets to it.
    flags = {"upstream": "http://127.0.0.1:1", "cache.redis_url": redis.url, "cache.redis_timeout": "5"}
    flags |= {f"cache.{name}": value for name, value in settings.items()}
    async with RedisStore.connect(load(flags, {}).cache) as store:
        yield store


@pytest.fixture(params=["memory", "disk", "memory and disk", "redis_server", "sentinels", "cluster", "tiered"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RecordStore]:
    if request.param == "memory":
        yield MemoryStore(2**20)
        return
    if request.param in {"disk", "memory and disk"}:
        async with opened_store(tmp_path) as edge:
            yield edge.records if request.param == "disk" else TieredStore(MemoryStore(2**20), None, disk=edge.records)
        return
    server = "redis_server" if request.param == "tiered" else request.param
    async with redis_store(request.getfixturevalue(server), key_prefix=uuid.uuid4().hex) as redis:
        yield TieredStore(MemoryStore(2**20), redis) if request.param == "tiered" else redis


async def test_what_is_put_comes_back(store: RecordStore) -> None:
    await store.put(RECORDS)
    for key, record in RECORDS.items():
        assert await store.get(key) == record


async def test_what_was_never_put_is_not_there(store: RecordStore) -> None:
    for key in RECORDS:
        assert await store.get(key) is None


async def test_the_last_put_wins(store: RecordStore) -> None:
    await store.put({SIZE_KEY: BlobSize(1)})
    await store.put({SIZE_KEY: BlobSize(2)})
    assert await store.get(SIZE_KEY) == BlobSize(2)


@pytest.mark.alone(reason="500 calls at once may time out, and redis-py leaves their sockets open")
async def test_many_at_once(store: RecordStore) -> None:
    keys = [BlobSizeKey(REPOSITORY, digest_of(b"%d" % number)) for number in range(500)]
    await asyncio.gather(*(store.put({key: BlobSize(at)}) for at, key in enumerate(keys)))
    found = await asyncio.gather(*(store.get(key) for key in keys))
    assert found == [BlobSize(at) for at in range(500)]


def test_memory_is_bounded_in_bytes_and_forgets_the_least_recent() -> None:
    store = MemoryStore(10_000)
    keys = [ContentKey(REPOSITORY, digest_of(b"%d" % number)) for number in range(10)]
    for key in keys:
        asyncio.run(store.put({key: Content(b"x" * 1600)}))
        store.peek(keys[0])
    assert store.used_bytes <= 10_000
    assert store.peek(keys[0]) is not None
    assert store.peek(keys[1]) is None
    asyncio.run(store.put({keys[2]: Content(b"x" * 20_000)}))
    assert store.peek(keys[9]) is not None


async def test_memory_learns_what_only_redis_knew(redis_server: Redis) -> None:
    async with redis_store(redis_server) as redis:
        await redis.put(RECORDS)
        both = TieredStore(MemoryStore(2**20), redis)
        assert both.peek(PARTITION_KEY) is None
        assert await both.get(PARTITION_KEY) == PARTITION
        redis_server.kill()
        assert both.peek(PARTITION_KEY) == PARTITION


async def test_disk_and_redis_each_know_what_the_other_lost(redis_server: Redis, tmp_path: Path) -> None:
    prefix = uuid.uuid4().hex
    async with opened_store(tmp_path / "edge") as edge:
        async with redis_store(redis_server, key_prefix=prefix) as redis:
            await TieredStore(MemoryStore(2**20), redis).put(RECORDS)
            assert await edge.records.get(PARTITION_KEY) is None
            # Of another replica: the disk has it from now on.
            assert await TieredStore(MemoryStore(2**20), redis, disk=edge.records).get(PARTITION_KEY) == PARTITION
            redis_server.kill()
            three = TieredStore(MemoryStore(2**20), redis, disk=edge.records)
            assert await three.get(PARTITION_KEY) == PARTITION
            assert await three.get(SIZE_KEY) is None
            assert not await three.put({SIZE_KEY: RECORDS[SIZE_KEY]})
        assert await TieredStore(MemoryStore(2**20), None, disk=edge.records).get(SIZE_KEY) == RECORDS[SIZE_KEY]


async def test_what_others_added_is_found_behind_the_disk_too(redis_server: Redis, tmp_path: Path) -> None:
    here, there = (Provenances((Provenance(SOURCE, Selection.parse(text)),)) for text in ("0.0.0.1", "0.0.1.1"))
    async with opened_store(tmp_path / "edge") as edge, redis_store(redis_server, key_prefix=uuid.uuid4().hex) as redis:
        await edge.records.put({PROVENANCE_KEY: here})
        await redis.put({PROVENANCE_KEY: there})
        three = TieredStore(MemoryStore(2**20), redis, disk=edge.records)
        assert await three.get_all(PROVENANCE_KEY) == [here, there]


async def test_a_disk_that_takes_nothing_makes_nothing_unpublished(redis_server: Redis, tmp_path: Path) -> None:
    async with opened_store(tmp_path / "edge") as edge, redis_store(redis_server, key_prefix=uuid.uuid4().hex) as redis:
        await edge.state.run(lambda c: c.execute("DROP TABLE records"))
        three = TieredStore(MemoryStore(2**20), redis, disk=edge.records)
        await three.publish(PARTITION_KEY, RECORDS)
        assert three.is_published(PARTITION_KEY)
        assert await redis.get(PARTITION_KEY) == PARTITION


async def test_records_in_redis_expire(redis_server: Redis) -> None:
    async with redis_store(redis_server, ttl="7", recipe_days="2", key_prefix="mine") as redis:
        await redis.put(RECORDS)
    with redis_server.client() as client:
        lives = {key.decode(): client.ttl(key) for key in client.scan_iter("*") if CANARY.encode() not in key}
    assert len(lives) == len(RECORDS)
    for name, seconds in lives.items():
        assert name.startswith("mine:")
        expected = 2 * 86_400 if ":recipe:" in name or ":subject:" in name else 7
        assert expected - 5 <= seconds <= expected


async def test_values_that_are_too_large_stay_out_of_redis(redis_server: Redis) -> None:
    async with redis_store(redis_server, redis_max_value="100") as redis:
        key = ContentKey(REPOSITORY, digest_of(b"x" * 100))
        await redis.put({key: Content(b"x" * 100)})
        assert await redis.get(key) is None
        assert redis.is_available


@pytest.mark.parametrize("key", list(RECORDS), ids=lambda key: type(key).__name__)
def test_a_seal_breaks_with_any_byte(key: RecordKey[Any]) -> None:
    sealed = seal(key, RECORDS[key])
    assert unseal(key, sealed) == RECORDS[key]
    for at in range(0, len(sealed), 7):
        broken = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        with pytest.raises(CorruptRecordError):
            unseal(key, broken)
    for other in RECORDS:
        if other != key:
            with pytest.raises(CorruptRecordError):
                unseal(other, sealed)
    with pytest.raises(CorruptRecordError):
        unseal(key, b"")


@pytest.mark.parametrize("key", list(RECORDS), ids=lambda key: type(key).__name__)
def test_a_seal_with_a_secret_is_made_and_broken_with_that_secret_alone(key: RecordKey[Any]) -> None:
    sealed = seal(key, RECORDS[key], b"ours")
    assert unseal(key, sealed, b"ours") == RECORDS[key]
    for made, read in ((b"ours", b""), (b"ours", b"theirs"), (b"", b"ours"), (b"theirs", b"ours")):
        with pytest.raises(CorruptRecordError):
            unseal(key, seal(key, RECORDS[key], made), read)


async def test_replicas_with_one_secret_share_and_others_neither_read_nor_fail(redis_server: Redis) -> None:
    key, record = ContentKey(REPOSITORY, digest_of(b"x")), Content(b"x")
    secret = {"secret": "sixteen characters"}
    async with (
        redis_store(redis_server, **secret) as one,
        redis_store(redis_server, **secret) as two,
        redis_store(redis_server) as without,
        redis_store(redis_server, secret="another one of sixteen") as other,
    ):
        await one.put({key: record})
        assert await two.get(key) == record
        for stranger in (without, other):
            assert await stranger.get(key) is None
            assert stranger.is_available
        await without.put({key: record})
        assert await one.get(key) is None


@pytest.mark.parametrize("encoded", [b"", b"null", b"[]", b"[1,2]", b'["x",[]]', b"\xff", b"{}\nbody"])
def test_what_is_sealed_but_is_no_record_is_refused(encoded: bytes) -> None:
    for key in RECORDS:
        if encoded == b"[]" and isinstance(key, ProvenanceKey | PartitionNamesKey):
            continue
        with pytest.raises(CorruptRecordError):
            key.decode(encoded)


class Sharing:
    """A shared store that has nothing, and may just be failing over."""

    generation = 0

    def __init__(self, *, is_settling: bool) -> None:
        self.is_settling = is_settling

    async def get(self, key: RecordKey[Any]) -> None:
        assert key

    async def put(self, records: Mapping[RecordKey[Any], Record]) -> bool:
        return bool(records)


@pytest.mark.parametrize("is_settling", [True, False])
@pytest.mark.parametrize("only_failing", [True, False])
async def test_without_patience_an_unknown_digest_is_unknown_at_once(
    monkeypatch: pytest.MonkeyPatch, *, is_settling: bool, only_failing: bool
) -> None:
    monkeypatch.setattr(tiered, "_LOOK_AGAIN", 3600)  # a single wait would be noticed
    store = TieredStore(MemoryStore(2**20), Sharing(is_settling=is_settling), failover=0)
    async with asyncio.timeout(60):
        assert not await store.settle(0, only_failing=only_failing)


@pytest.mark.parametrize(("patience", "waits"), [(0.0, []), (1.0, [0, 0.5]), (15.0, [0, 0.5, 1, 1.5])])
async def test_a_healthy_store_is_looked_at_again_no_longer_than_patience_allows(
    monkeypatch: pytest.MonkeyPatch, patience: float, waits: list[float]
) -> None:
    monkeypatch.setattr(tiered, "_LOOK_AGAIN", 0)
    store = TieredStore(MemoryStore(2**20), Sharing(is_settling=False), failover=patience)
    moments = (0, 0.5, 1, 1.5, 2, 2.5)
    assert [at for at in moments if await store.settle(at, only_failing=False)] == waits


async def test_without_patience_a_healthy_redis_is_not_waited_for(
    redis_server: Redis, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiered, "_LOOK_AGAIN", 3600)
    unknown = f"/v2/no/model/manifests/{digest_of(b'nobody made this')}"
    settings = {"cache__redis_url": redis_server.url, "cache__redis_failover": "0"}
    async with (
        proxied(registry.url, **settings) as url,
        aiohttp.ClientSession() as client,
        asyncio.timeout(60),
        client.get(url + unknown) as answer,
    ):
        assert answer.status == 404
