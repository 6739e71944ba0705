"""Blobs on their way to an edge's disk: fetched once, read by many, each at its own pace."""

import asyncio
import contextlib
import functools
import hashlib
import os
import random
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.auth.identity import Identity
from proxy.edge.filling.growth import HELD_BACK
from proxy.edge.filling.partial import claim
from proxy.edge.pace import Pace
from proxy.metrics.catalogue import EDGE_FILLED, EDGE_FILLS, EDGE_SERVED_DISK, EDGE_SERVED_FILLING
from proxy.repository import Repository
from proxy.upstream.replies import RefusedError, UpstreamError
from tests.lab.blob_wire import End
from tests.lab.certificates import Authority
from tests.lab.fake_registry import until
from tests.lab.filling import Asked, Blob, Node, filling, holding
from tests.lab.raw_peer import connected, head_of

MIB = 2**20
LIB = Repository("", "lib/blob")


def outcome(name: str) -> float:
    return EDGE_FILLS.of(name).value


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


async def get(client: aiohttp.ClientSession, url: str, **headers: str) -> bytes:
    async with client.get(url, headers=headers) as answer:
        assert answer.ok, answer.status
        return await answer.read()


def has_come(node: Node, size: int) -> bool:
    return node.part.stat().st_size == size


class Valve:
    """A registry that gives a blob only as far as a test opens it."""

    def __init__(self, blob: Blob) -> None:
        self._blob = blob
        self._stop = 0
        self._opened = asyncio.Event()
        blob.say = self._say

    def open(self, stop: int) -> None:
        self._stop = stop
        self._opened.set()

    async def _say(self, end: End, asked: Asked) -> None:
        await self._blob.give(end, asked.first, asked.first)
        at = asked.first
        while at < len(self._blob.content):
            await self._opened.wait()
            self._opened.clear()
            await self._blob.go_on(end, at, self._stop)
            at = self._stop


@contextlib.asynccontextmanager
async def valve(directory: Path, size: int = 2 * MIB, **settings: Any) -> AsyncIterator[tuple[Blob, Valve, Node]]:
    async with holding(Blob(os.urandom(size))) as blob, filling(directory, blob.url, **settings) as node:
        yield blob, Valve(blob), node


@pytest.mark.parametrize("borrows", [True, False])
async def test_a_blob_is_fetched_once_and_then_comes_from_the_disk(
    tmp_path: Path, client: aiohttp.ClientSession, *, borrows: bool
) -> None:
    before = outcome("complete"), EDGE_FILLED.value, EDGE_SERVED_DISK.value + EDGE_SERVED_FILLING.value
    async with holding(Blob(os.urandom(3 * MIB + 17))) as blob, filling(tmp_path, blob.url, borrows=borrows) as node:
        for _ in range(3):
            assert await get(client, node.url + blob.path) == blob.content
        assert await get(client, node.url + blob.path, Range="bytes=5-9") == blob.content[5:10]
        assert len(blob.requests) == 1
        assert node.content(blob.digest) == blob.content
        await until(lambda: node.left() == [])
        size = len(blob.content)
    after = outcome("complete"), EDGE_FILLED.value, EDGE_SERVED_DISK.value + EDGE_SERVED_FILLING.value
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, size, 3 * size + 5]


@pytest.mark.parametrize("size", [0, 1, HELD_BACK - 1, HELD_BACK, HELD_BACK + 1])
async def test_blobs_of_any_size_come_whole(tmp_path: Path, client: aiohttp.ClientSession, size: int) -> None:
    async with holding(Blob(os.urandom(size))) as blob, filling(tmp_path, blob.url) as node:
        for _ in range(2):
            assert await get(client, node.url + blob.path) == blob.content
            await until(lambda: node.content(blob.digest) == blob.content)
        assert len(blob.requests) == 1


@pytest.mark.parametrize("borrows", [True, False])
async def test_tls_on_both_sides(tmp_path: Path, *, borrows: bool) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("registry", "127.0.0.1")
    trusting = ssl.create_default_context(cafile=str(authority.bundle))
    async with (
        holding(Blob(os.urandom(5 * MIB + 3)), pair.server_context()) as blob,
        filling(
            tmp_path / "edge",
            blob.url,
            tls=pair.server_context(),
            borrows=borrows,
            upstream__ca_file=str(authority.bundle),
        ) as node,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)) as client,
    ):
        assert await get(client, node.url + blob.path) == blob.content
        assert await get(client, node.url + blob.path) == blob.content
        assert await get(client, node.url + blob.path, Range="bytes=1048570-1048580") == blob.content[1048570:1048581]
        assert len(blob.requests) == 1


async def test_the_first_byte_comes_when_the_line_delivers_it_and_the_last_when_the_digest_is_right(
    tmp_path: Path,
) -> None:
    async with valve(tmp_path) as (blob, line, node):
        host, _, port = node.url.removeprefix("http://").rpartition(":")
        size = len(blob.content)
        async with connected(host, int(port)) as (reader, writer):
            writer.write(f"GET {blob.path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            assert b" 200 " in await head_of(reader)
            line.open(1)
            assert await reader.readexactly(1) == blob.content[:1]
            line.open(size - 1)
            held = size - HELD_BACK
            assert await reader.readexactly(held - 1) == blob.content[1:held]
            await until(lambda: node.part.stat().st_size == size - 1)
            more = asyncio.ensure_future(reader.readexactly(1))
            assert not (await asyncio.wait((more,), timeout=0.1))[0]
            line.open(size)
            assert await more + await reader.readexactly(HELD_BACK - 1) == blob.content[held:]


async def test_twenty_clients_with_ranges_of_their_own_share_one_fetch(
    tmp_path: Path, client: aiohttp.ClientSession
) -> None:
    chance = random.Random(7)
    async with valve(tmp_path) as (blob, line, node):
        size = len(blob.content)
        ranges = [sorted(chance.sample(range(size), 2)) for _ in range(18)] + [[0, size - 1], [size - 1, size - 1]]
        asked = [
            asyncio.ensure_future(get(client, node.url + blob.path, Range=f"bytes={first}-{last}"))
            for first, last in ranges
        ]
        for stop in range(MIB // 4, size, MIB // 4):
            await until(lambda: len(node.asked) == len(asked))
            line.open(stop)
            await until(functools.partial(has_come, node, stop))
        line.open(size)
        for one, (first, last) in zip(asked, ranges, strict=True):
            assert await one == blob.content[first : last + 1]
        assert len(blob.requests) == 1


async def test_a_slow_reader_holds_up_nobody(tmp_path: Path, client: aiohttp.ClientSession) -> None:
    async with holding(Blob(os.urandom(24 * MIB))) as blob, filling(tmp_path, blob.url) as node:
        host, _, port = node.url.removeprefix("http://").rpartition(":")
        async with connected(host, int(port)) as (reader, writer):
            writer.write(f"GET {blob.path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            await head_of(reader)
            assert await get(client, node.url + blob.path) == blob.content
            assert await reader.readexactly(len(blob.content)) == blob.content
        assert len(blob.requests) == 1


async def test_a_client_that_is_killed_half_way_does_not_end_the_fill(
    tmp_path: Path, client: aiohttp.ClientSession
) -> None:
    async with valve(tmp_path) as (blob, line, node):
        host, _, port = node.url.removeprefix("http://").rpartition(":")
        async with connected(host, int(port)) as (reader, writer):
            writer.write(f"GET {blob.path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            await head_of(reader)
            other = asyncio.ensure_future(get(client, node.url + blob.path))
            line.open(MIB)
            await reader.readexactly(MIB // 2)
            writer.transport.abort()
        line.open(len(blob.content))
        assert await other == blob.content
        assert len(blob.requests) == 1


@pytest.mark.parametrize("is_background", [True, False])
async def test_the_last_reader_leaves(tmp_path: Path, client: aiohttp.ClientSession, *, is_background: bool) -> None:
    before = outcome("abandoned")
    setting = str(is_background).lower()
    async with valve(tmp_path, edge__background_fill=setting) as (blob, line, node):
        async with client.get(node.url + blob.path) as answer:
            line.open(MIB)
            await answer.content.readexactly(MIB)
            answer.close()
        if is_background:
            line.open(len(blob.content))
            await until(lambda: node.content(blob.digest) == blob.content)
            return
        await until(lambda: outcome("abandoned") == before + 1)
        assert not node.fills.is_under_way(blob.digest)
        assert node.part.stat().st_size == MIB  # to go on from
        again = asyncio.ensure_future(get(client, node.url + blob.path))
        await until(lambda: len(blob.requests) == 2)
        line.open(len(blob.content))
        assert await again == blob.content
    assert [asked.first for asked in blob.requests] == [0, MIB]


async def test_a_ranged_reader_that_leaves_early_costs_the_line_nothing_twice(
    tmp_path: Path, client: aiohttp.ClientSession
) -> None:
    async with holding(Blob(os.urandom(4 * MIB))) as blob, filling(tmp_path, blob.url) as node:
        for first in (0, MIB, 2 * MIB):
            async with client.get(node.url + blob.path, headers={"Range": f"bytes={first}-"}) as answer:
                assert answer.status == 206
                assert await answer.content.readexactly(1000) == blob.content[first : first + 1000]
                answer.close()
        assert await get(client, node.url + blob.path) == blob.content
        assert blob.sent == len(blob.content)


async def test_head_is_answered_with_the_length_and_no_body(tmp_path: Path, client: aiohttp.ClientSession) -> None:
    async with holding(Blob(os.urandom(MIB))) as blob, filling(tmp_path, blob.url) as node:
        async with client.head(node.url + blob.path) as answer:
            assert (answer.status, answer.content_length) == (200, MIB)
        assert await get(client, node.url + blob.path) == blob.content


async def test_the_registrys_no_is_for_the_one_who_asked(tmp_path: Path, client: aiohttp.ClientSession) -> None:
    blob = Blob(os.urandom(MIB))
    gate = asyncio.Event()

    async def say(end: End, asked: Asked) -> None:
        await gate.wait()
        if asked.headers.get("Authorization") != "Bearer good":
            await end.answer(b"no", status="403 Forbidden")
        else:
            await blob.give(end, asked.first)

    blob.say = say
    async with holding(blob), filling(tmp_path, blob.url) as node:
        bad, good = (Identity.of({"Authorization": f"Bearer {word}"}) for word in ("bad", "good"))
        first = asyncio.ensure_future(node.fills.begin(LIB, blob.digest, bad))
        await until(lambda: len(blob.requests) == 1)
        second = asyncio.ensure_future(node.fills.begin(LIB, blob.digest, good))
        await asyncio.sleep(0)
        gate.set()
        # The fill goes on with the second's credentials; the first was refused, and is to be asked about.
        refused, given = await first, await second
        assert refused is not None
        assert given is not None
        assert refused.is_joined
        assert given.is_joined
        refused.close()
        given.close()
        assert await get(client, node.url + blob.path, Authorization="Bearer good") == blob.content
    assert [asked.headers["Authorization"] for asked in blob.requests] == ["Bearer bad", "Bearer good"]


async def test_each_reader_hears_the_registrys_no_to_itself(tmp_path: Path) -> None:
    blob = Blob(b"x" * MIB)
    gate = asyncio.Event()

    async def say(end: End, asked: Asked) -> None:
        await gate.wait()
        is_first = asked.headers["Authorization"] == "Bearer first"
        await end.answer(b"log in" if is_first else b"secret", status="401 No" if is_first else "404 Not Found")

    blob.say = say
    async with holding(blob), filling(tmp_path, blob.url) as node:
        readers = []
        for word in ("first", "second"):
            identity = Identity.of({"Authorization": f"Bearer {word}"})
            readers.append(asyncio.ensure_future(node.fills.begin(LIB, blob.digest, identity)))
            await until(lambda: len(blob.requests) == 1)
        gate.set()
        ended = await asyncio.gather(*readers, return_exceptions=True)
    assert [one.reply.body for one in ended if isinstance(one, RefusedError)] == [b"log in", b"secret"]


async def test_a_lone_reader_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    blob = Blob(b"x" * MIB)

    async def say(end: End, _: Asked) -> None:
        await end.answer(b"gone", status="404 Not Found")

    blob.say = say
    async with holding(blob), filling(tmp_path, blob.url) as node:
        with pytest.raises(RefusedError) as caught:
            await node.fills.begin(LIB, blob.digest, Identity.of({}))
        assert (caught.value.reply.status, caught.value.reply.body) == (404, b"gone")
        assert node.left() == []
        assert not node.fills.is_under_way(blob.digest)
        assert await node.fills.join(blob.digest) is None


@pytest.mark.loop_may_stand(reason="the log's traceback is drawn for a terminal here")
async def test_a_fault_of_ours_ends_one_fill_and_no_other(tmp_path: Path, client: aiohttp.ClientSession) -> None:
    async with valve(tmp_path) as (blob, line, node):
        asked = asyncio.ensure_future(get(client, node.url + blob.path))
        await until(lambda: len(node.asked) == 1)
        with pytest.raises(UpstreamError, match="its log has the reason"):
            await node.fills.begin(Repository("nowhere", "lib"), Blob(b"x").digest, Identity.of({}))
        line.open(len(blob.content))
        assert await asked == blob.content


async def test_a_registry_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    async with filling(tmp_path, "http://127.0.0.1:1") as node:
        with pytest.raises(UpstreamError, match="cannot be reached"):
            await node.fills.begin(LIB, Blob(b"x").digest, Identity.of({}))
        assert node.left() == []


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_blob_of_unknown_length_is_filled_only_where_someone_says(tmp_path: Path, *, is_known: bool) -> None:
    blob = Blob(os.urandom(200_000))

    async def say(end: End, _: Asked) -> None:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        await end.say(head, b"%x\r\n" % len(blob.content), blob.content, b"\r\n0\r\n\r\n")

    blob.say = say
    async with holding(blob), filling(tmp_path, blob.url) as node:
        size = len(blob.content) if is_known else None
        growing = await node.fills.begin(LIB, blob.digest, Identity.of({}), size=size)
        assert (growing is None) is not is_known
        if growing is not None:
            growing.close()
            await until(lambda: node.content(blob.digest) == blob.content)
        assert node.left() == [] or is_known


async def test_what_the_store_has_no_room_for_is_left_to_the_relay(tmp_path: Path) -> None:
    async with (
        holding(Blob(os.urandom(3 * MIB))) as blob,
        filling(tmp_path, blob.url, edge__max_size=str(2 * MIB)) as node,
    ):
        assert await node.fills.begin(LIB, blob.digest, Identity.of({})) is None
        assert node.left() == []


async def test_a_fill_has_the_pace_of_its_reader_until_one_comes_without(
    tmp_path: Path, client: aiohttp.ClientSession
) -> None:
    async with holding(Blob(os.urandom(8 * MIB))) as blob, filling(tmp_path, blob.url) as node:
        slow = await node.fills.begin(LIB, blob.digest, Identity.of({}), pace=Pace(200_000))
        assert slow is not None
        assert not slow.is_joined
        async with asyncio.timeout(20):  # 40 seconds at that pace
            assert await get(client, node.url + blob.path) == blob.content
        slow.close()


async def test_what_was_whole_meanwhile_is_given(tmp_path: Path) -> None:
    async with holding(Blob(os.urandom(MIB))) as blob, filling(tmp_path, blob.url) as node:
        assert await node.store.blobs.put(blob.digest, blob.content)
        growing = await node.fills.begin(LIB, blob.digest, Identity.of({}))
        assert growing is not None
        assert (growing.size, growing.is_joined) == (MIB, True)
        growing.close()
        assert blob.requests == []
        assert node.left() == []


async def test_the_end_of_a_node_leaves_what_has_come(tmp_path: Path, client: aiohttp.ClientSession) -> None:
    async with valve(tmp_path) as (blob, line, node):
        asked = asyncio.ensure_future(get(client, node.url + blob.path))
        await until(lambda: len(node.asked) == 1)
        line.open(MIB)
        await until(lambda: node.part.stat().st_size == MIB)
        part = node.part
    with pytest.raises(aiohttp.ClientError):
        await asked
    assert part.read_bytes() == blob.content[:MIB]


# Two nodes on one directory are to each other as two worker processes: locks belong to opened files.


@contextlib.asynccontextmanager
async def two(directory: Path, size: int = 2 * MIB, **settings: Any) -> AsyncIterator[tuple[Blob, Valve, Node, Node]]:
    async with (
        valve(directory, size, **settings) as (blob, line, first),
        filling(directory, blob.url, **settings) as second,
    ):
        yield blob, line, first, second


async def test_workers_follow_one_fill(tmp_path: Path, client: aiohttp.ClientSession) -> None:
    before = outcome("complete")
    async with two(tmp_path) as (blob, line, first, second):
        asked = [asyncio.ensure_future(get(client, first.url + blob.path))]
        await until(lambda: len(blob.requests) == 1)
        assert second.fills.is_under_way(blob.digest)
        asked.append(asyncio.ensure_future(get(client, second.url + blob.path)))
        async with client.get(second.url + blob.path, headers={"Range": "bytes=1000-"}) as answer:
            line.open(MIB)
            assert await answer.content.readexactly(MIB - 1000) == blob.content[1000:MIB]
            line.open(len(blob.content))
            assert await answer.read() == blob.content[MIB:]
        for one in asked:
            assert await one == blob.content
        await until(lambda: outcome("complete") == before + 1)
        assert not second.fills.is_under_way(blob.digest)
        assert first.left() == []
        assert await get(client, second.url + blob.path) == blob.content
    assert len(blob.requests) == 1


async def test_a_worker_goes_on_with_what_another_one_left(tmp_path: Path, client: aiohttp.ClientSession) -> None:
    """The follower has a reader in the middle of the blob, who notices nothing."""
    async with two(tmp_path, edge__background_fill="false") as (blob, line, first, second):
        async with client.get(first.url + blob.path, headers={"Authorization": "Bearer 1"}) as leaving:
            line.open(MIB)
            await leaving.content.readexactly(1)
            staying = asyncio.ensure_future(get(client, second.url + blob.path, Authorization="Bearer 2"))
            await until(lambda: len(second.asked) == 1)
            leaving.close()
        await until(lambda: len(blob.requests) == 2)
        line.open(len(blob.content))
        assert await staying == blob.content
    assert [(asked.first, asked.headers["Authorization"]) for asked in blob.requests] == [
        (0, "Bearer 1"),
        (MIB, "Bearer 2"),
    ]


async def test_a_reader_who_joins_another_workers_fill_waits_for_its_length(
    tmp_path: Path, client: aiohttp.ClientSession
) -> None:
    gate = asyncio.Event()
    blob = Blob(os.urandom(MIB))

    async def say(end: End, asked: Asked) -> None:
        await gate.wait()
        await blob.give(end, asked.first)

    blob.say = say
    async with holding(blob), filling(tmp_path, blob.url) as first, filling(tmp_path, blob.url) as second:
        asked = asyncio.ensure_future(get(client, first.url + blob.path))
        await until(lambda: len(blob.requests) == 1)
        joined = asyncio.ensure_future(second.fills.join(blob.digest))
        await asyncio.sleep(0.1)
        assert not joined.done()
        gate.set()
        growing = await joined
        assert growing is not None
        assert (growing.size, growing.is_joined) == (MIB, True)
        growing.close()
        assert await asked == blob.content
    assert len(blob.requests) == 1


async def test_a_reader_is_not_told_of_another_workers_refusal(tmp_path: Path) -> None:
    gate = asyncio.Event()
    blob = Blob(os.urandom(MIB))

    async def say(end: End, asked: Asked) -> None:
        if asked.headers["Authorization"] == "Bearer good":
            await blob.give(end, asked.first)
        else:
            await gate.wait()
            await end.answer(b"no", status="403 Forbidden")

    blob.say = say
    bad, good = (Identity.of({"Authorization": f"Bearer {word}"}) for word in ("bad", "good"))
    async with holding(blob), filling(tmp_path, blob.url) as first, filling(tmp_path, blob.url) as second:
        refused = asyncio.ensure_future(first.fills.begin(LIB, blob.digest, bad))
        await until(lambda: len(blob.requests) == 1)
        given = asyncio.ensure_future(second.fills.begin(LIB, blob.digest, good))
        await asyncio.sleep(0.05)
        gate.set()
        with pytest.raises(RefusedError):
            await refused
        growing = await given
        assert growing is not None
        growing.close()
        await until(lambda: second.content(blob.digest) == blob.content)


@pytest.mark.parametrize("is_right", [True, False])
async def test_readers_of_a_file_that_goes_away_go_on_by_themselves(
    tmp_path: Path, client: aiohttp.ClientSession, *, is_right: bool
) -> None:
    """Another worker gave the fill up: its disk was full, or the content wrong. The digest says which."""
    async with two(tmp_path) as (blob, line, first, second):
        wrong = blob.content if is_right else b"!" + blob.content[1:]
        real, blob.content = blob.content, wrong
        path = f"/v2/lib/blob/blobs/sha256:{hashlib.sha256(real).hexdigest()}"
        asyncio.ensure_future(get(client, first.url + path)).add_done_callback(lambda done: done.exception())
        await until(lambda: len(first.asked) == 1)
        asked = asyncio.ensure_future(get(client, second.url + path))
        await until(lambda: len(second.asked) == 1)
        line.open(MIB)
        await until(functools.partial(has_come, first, MIB))
        first.part.unlink()
        await until(lambda: len(blob.requests) == 2)
        line.open(len(real))
        if is_right:
            assert await asked == real
        else:
            with pytest.raises(aiohttp.ClientPayloadError):
                await asked
    assert [one.first for one in blob.requests] == [0, MIB]


async def test_a_worker_that_does_nothing_holds_up_nobody_for_ever(
    tmp_path: Path, client: aiohttp.ClientSession
) -> None:
    """It is stopped, or hangs: who waits for it goes on by itself, or has the blob passed on."""
    async with (
        holding(Blob(os.urandom(2 * MIB))) as blob,
        filling(tmp_path, blob.url, upstream__read_timeout="1") as node,
    ):
        stopped = claim(node.store.directory, blob.digest)
        assert stopped is not None
        partial, is_its = stopped
        assert is_its
        assert await node.fills.begin(LIB, blob.digest, Identity.of({})) is None
        partial.announce(len(blob.content), LIB)
        os.pwrite(partial.descriptor, blob.content[:MIB], 0)
        assert await get(client, node.url + blob.path) == blob.content
        assert [asked.first for asked in blob.requests] == [MIB]
        partial.close()
