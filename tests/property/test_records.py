"""Whatever Redis answers is a record that was put there, or is not there; and it costs what it is long."""

import asyncio
import contextlib
import json
import socket
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.config import CacheConfig
from proxy.partitions.records import (
    BlobSize,
    Content,
    CutPartition,
    ParsedField,
    PartitionKey,
    Provenances,
)
from proxy.store.records import CorruptRecordError, Record, RecordKey, seal, unseal
from proxy.store.redis import RedisStore
from tests.lab.records import BODY, DIGEST, PARTITION, PROVENANCE_KEY, RECORDS, SIZE_KEY
from tests.property.strategies import ANY_JSON, mutations
from twodfs.oci.digest import digest_of

KEYS = list(RECORDS)


def spoiled(whole: bytes) -> st.SearchStrategy[bytes]:
    """`whole` with a few bytes replaced, left out or put in somewhere."""
    return st.builds(
        lambda at, gone, by: whole[:at] + by + whole[at + gone :],
        st.integers(0, len(whole)),
        st.integers(0, 8) | st.integers(0, len(whole)),
        st.binary(max_size=6) | st.sampled_from([b"\n", b"[", b'"', b"9" * 5000, b"-1", b"1e999", b"null", b"\x80"]),
    )


ENCODED = st.sampled_from([record.encode() for record in RECORDS.values()])
TABLES = mutations([PARTITION.root, [["x", DIGEST, len(BODY)]], 4]) | mutations([[1, DIGEST, "0.0.0.1"]])
REPLIES = (
    ENCODED.flatmap(spoiled)
    | st.binary(max_size=80)
    | (ANY_JSON | TABLES).map(lambda value: json.dumps(value).encode() + b"\n" + BODY)
    | TABLES.map(lambda value: json.dumps(value).encode())
)


def held(key: RecordKey[Any], record: Record) -> None:
    """Make sure of what a record that came back vouches for."""
    assert record.weight >= 0
    if isinstance(record, Content):
        assert digest_of(record.body) == DIGEST
    if isinstance(record, BlobSize):
        assert record.size >= 0
    if isinstance(record, CutPartition):
        assert all(isinstance(one.media_type, str) for one in record.documents.values())
        assert isinstance(key, PartitionKey)
        assert record.top.digest == record.root
        assert all(digest_of(one.body) == digest for digest, one in record.documents.items())
    if isinstance(record, ParsedField):
        assert len(list(record.field)) == record.field.count
    if isinstance(record, Provenances):
        assert Provenances().__or__(record).ways == tuple(dict.fromkeys(record.ways))[:32]
    assert key.decode(record.encode()).encode() == record.encode()


@given(st.sampled_from(KEYS), REPLIES)
@example(PROVENANCE_KEY, b'[[0,null,""]]')
@example(PROVENANCE_KEY, b'[[0,"%s",null]]' % DIGEST.encode())
@example(SIZE_KEY, b"-1")
def test_any_bytes_are_a_record_or_rotten(key: RecordKey[Any], encoded: bytes) -> None:
    try:
        record = key.decode(encoded)
    except CorruptRecordError as error:
        assert str(error)
        return
    held(key, record)


@given(st.sampled_from(list(RECORDS.items())), st.sampled_from([b"", b"secret"]), st.data())
def test_a_seal_is_kept_by_its_own_record_alone(
    pair: tuple[RecordKey[Any], Record], secret: bytes, data: st.DataObject
) -> None:
    key, record = pair
    sealed = seal(key, record, secret)
    assert unseal(key, sealed, secret).encode() == record.encode()
    other = data.draw(spoiled(sealed))
    strange = next(one for one in KEYS if one != key)
    for name, content, word in ((key, other, secret), (strange, sealed, secret), (key, sealed, b"x")):
        if (name, content, word) == (key, sealed, secret):
            continue
        try:
            unseal(name, content, word)
        except CorruptRecordError:
            continue
        raise AssertionError("what was not sealed like this was taken")


BULK = st.binary(max_size=40).map(lambda body: b"$%d\r\n%s\r\n" % (len(body), body))
ITEMS = (
    *(b"+OK", b"+QUEUED", b":1", b"$-1", b"*-1", b"*0", b"_", b"-ERR no", b"-LOADING", b"-WRONGTYPE x"),
    *(b"-MOVED 1 127.0.0.1:1", b"$5\r\nalive", b"*2", b"%1", b"~1", b">2", b"#t", b",inf", b"(9", b""),
    *(b"$99999999999999999999", b"$-7", b"$x", b"$?", b":x", b"*x", b"=5\r\ntxt:a", b"!3\r\nERR"),
)
PROTOCOL = st.lists(BULK | st.sampled_from([one + b"\r\n" for one in ITEMS]) | st.binary(max_size=6), max_size=12).map(
    b"".join
)


@given(PROTOCOL, st.sampled_from(KEYS))
@settings(max_examples=15, deadline=None)
def test_any_server_is_a_redis_or_is_gone_on_without(answers: bytes, key: RecordKey[Any]) -> None:
    """The real client over a real socket: whatever comes, nothing is raised and the store can be left."""

    async def converse() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while await reader.read(4096):
                    writer.write(answers)
                    await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, family=socket.AF_INET)
        port = server.sockets[0].getsockname()[1]
        config = CacheConfig(redis_url=f"redis://127.0.0.1:{port}/0", redis_timeout=0.05)
        async with server, RedisStore.connect(config) as store:
            found = await store.get(key)
            assert found is None or found.weight >= 0
            assert await store.put({key: RECORDS[key]}) in (True, False)

    asyncio.run(converse())
