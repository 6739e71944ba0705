"""Registries that break off, stall, lie and change their minds while an edge fetches a blob.

A client gets the blob, or a connection that ends too early: never other bytes with a clean end.
"""

import asyncio
import contextlib
import errno
import os
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.auth.identity import Identity
from proxy.edge.filling import written
from proxy.edge.filling.growth import HELD_BACK
from proxy.metrics.catalogue import EDGE_FILLS
from proxy.repository import DEFAULT_UPSTREAM, Repository
from tests.lab.blob_wire import End
from tests.lab.fake_registry import until
from tests.lab.filling import Asked, Blob, Node, filling, holding

MIB = 2**20
SIZE = 3 * MIB + 5
HALF = SIZE // 2

Say = Callable[[Blob, End, Asked], Awaitable[None]]


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written, "_LONGEST_PAUSE", 0.01)


class Outcomes:
    """How fills ended since the test began."""

    def __init__(self) -> None:
        self._before = {labels[0]: value for labels, value in EDGE_FILLS.series()}

    def all(self) -> dict[str, float]:
        now = {labels[0]: value - self._before[labels[0]] for labels, value in EDGE_FILLS.series()}
        return {name: count for name, count in now.items() if count}


@contextlib.asynccontextmanager
async def lying(directory: Path, say: Say, **settings: Any) -> AsyncIterator[tuple[Blob, Node, Outcomes]]:
    blob = Blob(os.urandom(SIZE))
    blob.say = lambda end, asked: say(blob, end, asked)
    async with holding(blob), filling(directory, blob.url, **settings) as node:
        yield blob, node, Outcomes()


async def fetch(client: aiohttp.ClientSession, url: str, **headers: str) -> bytes | None:
    """Return a body with a clean end; None where it was cut."""
    try:
        async with client.get(url, headers=headers) as answer:
            assert answer.ok, answer.status
            return await answer.read()
    except aiohttp.ClientError:
        return None


def hang_up(end: End) -> None:
    end.writer.close()


def reset(end: End) -> None:
    end.writer.transport.abort()


async def truncated(blob: Blob, end: End, asked: Asked) -> None:
    await blob.give(end, asked.first, asked.first + HALF if asked.number == 0 else None)
    hang_up(end)


async def broken_often(blob: Blob, end: End, asked: Asked) -> None:
    await blob.give(end, asked.first, asked.first + 200_000)
    hang_up(end)


async def torn(blob: Blob, end: End, asked: Asked) -> None:
    await blob.give(end, asked.first, asked.first + HALF if asked.number == 0 else None)
    if asked.number == 0:
        reset(end)


async def busy(blob: Blob, end: End, asked: Asked) -> None:
    if asked.number in (1, 2):
        await end.say(b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n")
    elif asked.number == 3:
        await end.answer(b"oops", status="503 Service Unavailable")
    else:
        await truncated(blob, end, asked)


async def without_ranges(blob: Blob, end: End, asked: Asked) -> None:
    await blob.give(end, 0, HALF if asked.number == 0 else None)
    if asked.number == 0:
        hang_up(end)


async def chunked_again(blob: Blob, end: End, asked: Asked) -> None:
    if asked.number == 0:
        await truncated(blob, end, asked)
    else:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        await end.say(head, b"%x\r\n" % SIZE, blob.content, b"\r\n0\r\n\r\n")


async def with_another_part(blob: Blob, end: End, asked: Asked) -> None:
    """Gives as many bytes as are missing, but others, and says so."""
    if asked.first:
        size = SIZE - asked.first
        says = f"bytes {asked.first - 10}-{SIZE - 11}/{SIZE}"
        await end.say(
            f"HTTP/1.1 206 Partial\r\nContent-Range: {says}\r\nContent-Length: {size}\r\n\r\n".encode(),
            blob.content[asked.first - 10 : SIZE - 10],
        )
    else:
        await without_ranges(blob, end, asked)


async def without_a_content_range(blob: Blob, end: End, asked: Asked) -> None:
    """Gives as many bytes as are missing, from the beginning."""
    if asked.first:
        await end.answer(blob.content[: SIZE - asked.first], status="206 Partial Content")
    else:
        await without_ranges(blob, end, asked)


async def with_more_behind(blob: Blob, end: End, asked: Asked) -> None:
    await blob.give(end, asked.first)
    await end.say(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad")


@pytest.mark.parametrize("borrows", [True, False])
@pytest.mark.parametrize(
    ("say", "outcome"),
    [
        (truncated, "resumed"),
        (broken_often, "resumed"),
        (torn, "resumed"),
        (busy, "resumed"),
        (without_ranges, "resumed"),
        (chunked_again, "resumed"),
        (with_another_part, "resumed"),
        (without_a_content_range, "resumed"),
        (with_more_behind, "complete"),
    ],
)
async def test_a_fill_goes_on_without_a_seam(
    tmp_path: Path, client: aiohttp.ClientSession, say: Say, outcome: str, *, borrows: bool
) -> None:
    blob = Blob(os.urandom(SIZE))
    blob.say = lambda end, asked: say(blob, end, asked)
    async with holding(blob), filling(tmp_path, blob.url, borrows=borrows) as node:
        outcomes = Outcomes()
        assert await fetch(client, node.url + blob.path) == blob.content
        await until(lambda: node.content(blob.digest) == blob.content)
        await until(lambda: outcomes.all() == {outcome: 1})
        assert node.left() == []


async def test_a_pause_that_the_registry_asks_for_is_made(tmp_path: Path, client: aiohttp.ClientSession) -> None:
    at: list[float] = []

    async def later(blob: Blob, end: End, asked: Asked) -> None:
        at.append(time.monotonic())
        if asked.number == 1:
            await end.say(b"HTTP/1.1 429 Too Many\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")
        else:
            await truncated(blob, end, asked)

    async with lying(tmp_path, later) as (blob, node, _):
        assert await fetch(client, node.url + blob.path) == blob.content
    assert at[2] - at[1] >= 1


async def test_a_silent_registry_is_left_and_asked_again(tmp_path: Path, client: aiohttp.ClientSession) -> None:
    async def stalls(blob: Blob, end: End, asked: Asked) -> None:
        if asked.number == 0:
            await blob.give(end, 0, HALF)
            await end.reader.read()
        elif asked.number == 1:
            await end.reader.read()  # not even a head
        else:
            await blob.give(end, asked.first)

    async with lying(tmp_path, stalls, upstream__read_timeout="1") as (blob, node, outcomes):
        # One silence after another is longer than a client waits for a registry, but not for one that is asked again.
        assert await fetch(client, node.url + blob.path) == blob.content
        await until(lambda: outcomes.all() == {"resumed": 1})
    assert [asked.first for asked in blob.requests] == [0, HALF, HALF]


async def flipped(blob: Blob, end: End, asked: Asked) -> None:
    wrong = bytearray(blob.content)
    wrong[HALF] ^= 1
    await blob.give(end, asked.first, content=bytes(wrong))


async def flipped_at_the_end(blob: Blob, end: End, asked: Asked) -> None:
    await blob.give(end, asked.first, content=blob.content[:-1] + bytes([blob.content[-1] ^ 1]))


async def flipped_in_the_rest(blob: Blob, end: End, asked: Asked) -> None:
    if asked.first:
        await flipped_at_the_end(blob, end, asked)
    else:
        await truncated(blob, end, asked)


async def longer(blob: Blob, end: End, _: Asked) -> None:
    await blob.give(end, 0, content=blob.content + b"more")


@pytest.mark.parametrize("say", [flipped, flipped_at_the_end, flipped_in_the_rest, longer])
async def test_other_content_is_cut_off_and_not_kept(tmp_path: Path, client: aiohttp.ClientSession, say: Say) -> None:
    async with lying(tmp_path, say) as (blob, node, outcomes):
        got = bytearray()
        with contextlib.suppress(aiohttp.ClientPayloadError):
            async with client.get(node.url + blob.path) as answer:
                while chunk := await answer.content.readany():
                    got += chunk
                pytest.fail("the answer has a clean end")
        assert len(got) <= SIZE + 4 - HELD_BACK
        await until(lambda: outcomes.all() == {"digest": 1})
        assert node.content(blob.digest) is None
        assert node.left() == []


async def test_every_reader_of_other_content_is_cut(tmp_path: Path, client: aiohttp.ClientSession) -> None:
    go_on = asyncio.Event()

    async def late(blob: Blob, end: End, _: Asked) -> None:
        await blob.give(end, 0, HALF)
        await go_on.wait()
        wrong = blob.content[:-1] + bytes([blob.content[-1] ^ 1])
        await blob.go_on(end, HALF, content=wrong)

    async with lying(tmp_path, late) as (blob, node, _):
        asked = [
            asyncio.ensure_future(fetch(client, node.url + blob.path, **({"Range": one} if one else {})))
            for one in ("", "", "bytes=100-", f"bytes={SIZE - 1}-", "bytes=10-999")
        ]
        await until(lambda: len(node.asked) == len(asked))
        go_on.set()
        results = [await one for one in asked]
        assert results == [None, None, None, None, blob.content[10:1000]]  # a part that ends before may end


async def changed_bytes(blob: Blob, end: End, asked: Asked) -> None:
    """Breaks off, has no ranges, and gives other bytes the second time; decent from the third on."""
    if asked.number == 0:
        await blob.give(end, 0, HALF)
        hang_up(end)
    elif asked.number == 1:
        await blob.give(end, 0, content=b"!" + blob.content[1:])
    else:
        await blob.give(end, asked.first)


async def changed_length(blob: Blob, end: End, asked: Asked) -> None:
    if asked.number == 0:
        await blob.give(end, 0, HALF)
        hang_up(end)
    elif asked.number == 1:
        await blob.give(end, asked.first, content=blob.content + b"x")
    else:
        await blob.give(end, asked.first)


async def changed_length_of_all(blob: Blob, end: End, asked: Asked) -> None:
    if asked.number == 1:
        await blob.give(end, 0, content=blob.content + b"x")
    else:
        await changed_length(blob, end, asked)


async def not_satisfiable(blob: Blob, end: End, asked: Asked) -> None:
    if asked.number == 1:
        await end.say(f"HTTP/1.1 416 No\r\nContent-Range: bytes */{HALF}\r\nContent-Length: 0\r\n\r\n".encode())
    else:
        await changed_length(blob, end, asked)


@pytest.mark.parametrize("say", [changed_bytes, changed_length, changed_length_of_all, not_satisfiable])
async def test_what_does_not_fit_starts_over(tmp_path: Path, client: aiohttp.ClientSession, say: Say) -> None:
    async with lying(tmp_path, say) as (blob, node, outcomes):
        assert await fetch(client, node.url + blob.path) is None
        # It goes on in the background, for the next reader.
        assert await fetch(client, node.url + blob.path) == blob.content
        await until(lambda: outcomes.all() == {"changed": 1, "complete": 1})
        assert [asked.first for asked in blob.requests][0::2] == [0, 0]
        assert len(blob.requests) == 3
        assert node.left() == []


async def test_a_blob_that_never_fits_is_given_up(tmp_path: Path, client: aiohttp.ClientSession) -> None:
    async def shrinking(blob: Blob, end: End, asked: Asked) -> None:
        await blob.give(end, 0, HALF, content=blob.content[: SIZE - asked.number])
        hang_up(end)

    async with lying(tmp_path, shrinking) as (blob, node, outcomes):
        assert await fetch(client, node.url + blob.path) is None
        await until(lambda: not node.fills.is_under_way(blob.digest))
        assert outcomes.all() == {"changed": 2}
        assert len(blob.requests) == 4
        assert node.left() == []


async def test_a_registry_that_gives_no_more_is_given_up_and_the_part_stays(
    tmp_path: Path, client: aiohttp.ClientSession
) -> None:
    is_back = False

    async def gone(blob: Blob, end: End, asked: Asked) -> None:
        if is_back:
            await blob.give(end, asked.first)
        else:
            await blob.give(end, asked.first, HALF if asked.number == 0 else asked.first)
            hang_up(end)

    async with lying(tmp_path, gone) as (blob, node, outcomes):
        assert await fetch(client, node.url + blob.path) is None
        await until(lambda: outcomes.all() == {"broken": 1})
        assert len(blob.requests) == 7
        assert node.part.read_bytes() == blob.content[:HALF]
        is_back = True
        assert await fetch(client, node.url + blob.path) == blob.content
        await until(lambda: outcomes.all() == {"broken": 1, "resumed": 1})
        assert blob.sent == SIZE


async def test_a_part_that_was_spoilt_on_the_disk_is_not_kept(tmp_path: Path, client: aiohttp.ClientSession) -> None:
    async with lying(tmp_path, truncated, edge__background_fill="false") as (blob, node, outcomes):
        async with client.get(node.url + blob.path) as answer:
            await answer.content.readexactly(1)
            blob.say = lambda end, _: end.leave()
            answer.close()
        await until(lambda: not node.fills.is_under_way(blob.digest))
        kept = bytearray(node.part.read_bytes())
        kept[0] ^= 1
        node.part.write_bytes(kept)
        blob.say = None
        assert await fetch(client, node.url + blob.path) is None
        assert await fetch(client, node.url + blob.path) == blob.content
        await until(lambda: outcomes.all() == {"abandoned": 1, "digest": 1, "complete": 1})


async def test_fresh_credentials_go_on_where_old_ones_ran_out(tmp_path: Path, client: aiohttp.ClientSession) -> None:
    go_on = asyncio.Event()

    async def strict(blob: Blob, end: End, asked: Asked) -> None:
        token = asked.headers.get("Authorization")
        if asked.number == 0:
            await blob.give(end, 0, HALF)
            await go_on.wait()
            hang_up(end)
        elif token == "Bearer 3":
            await blob.give(end, asked.first)
        else:
            await end.answer(b"", status="401 Unauthorized")

    async with lying(tmp_path, strict) as (blob, node, outcomes):
        url = node.url + blob.path
        readers = []
        for word in ("1", "3", "2"):
            readers.append(asyncio.ensure_future(fetch(client, url, Authorization=f"Bearer {word}")))
            await until(lambda: len(node.asked) == len(readers))
        go_on.set()
        assert [await one for one in readers] == [blob.content] * 3
        await until(lambda: outcomes.all() == {"resumed": 1})
    assert [one.headers["Authorization"][-1] for one in blob.requests] == ["1", "2", "3"]


@pytest.mark.parametrize("no", ["401 Unauthorized", "400 Bad Request"])
async def test_strangers_who_ask_for_a_blob_on_its_way_do_not_end_its_fill(
    tmp_path: Path, client: aiohttp.ClientSession, no: str
) -> None:
    go_on = asyncio.Event()

    async def strict(blob: Blob, end: End, asked: Asked) -> None:
        if asked.headers.get("Authorization") != "Bearer good":
            await end.answer(b"", status=no)
        elif asked.first:
            await blob.give(end, asked.first)
        else:
            await blob.give(end, 0, HALF)
            await go_on.wait()
            hang_up(end)

    async with lying(tmp_path, strict) as (blob, node, outcomes):
        reader = asyncio.ensure_future(fetch(client, node.url + blob.path, Authorization="Bearer good"))
        await until(lambda: len(node.asked) == 1)
        for number in range(40):
            stranger = Identity.of({"Authorization": f"Bearer {number}"})
            growing = await node.fills.begin(Repository(DEFAULT_UPSTREAM, "lib"), blob.digest, stranger)
            assert growing is not None
            assert growing.is_joined
            growing.close()
        go_on.set()
        assert await reader == blob.content
        await until(lambda: outcomes.all() == {"resumed": 1})


async def test_a_fill_whose_credentials_all_ran_out_ends_and_the_part_stays(
    tmp_path: Path, client: aiohttp.ClientSession
) -> None:
    async def once(blob: Blob, end: End, asked: Asked) -> None:
        if asked.number == 0:
            await blob.give(end, 0, HALF)
            hang_up(end)
        else:
            await end.answer(b"", status="403 Forbidden")

    async with lying(tmp_path, once) as (blob, node, outcomes):
        assert await fetch(client, node.url + blob.path, Authorization="Bearer 1") is None
        await until(lambda: outcomes.all() == {"refused": 1})
        assert node.part.read_bytes() == blob.content[:HALF]


async def test_a_compressed_blob_is_left_to_the_relay(tmp_path: Path, client: aiohttp.ClientSession) -> None:
    async def packed(_: Blob, end: End, __: Asked) -> None:
        await end.say(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nxyz")

    async with lying(tmp_path, packed) as (blob, node, _):
        async with client.get(node.url + blob.path) as answer:
            assert answer.status == 507
        assert node.left() == []


async def test_a_redirect_to_another_host_is_followed_without_credentials(
    tmp_path: Path, client: aiohttp.ClientSession
) -> None:
    store = Blob(os.urandom(SIZE))
    store.say = lambda end, asked: truncated(store, end, asked)
    async with holding(store):

        async def elsewhere(_: Blob, end: End, __: Asked) -> None:
            await end.say(
                f"HTTP/1.1 307 Elsewhere\r\nLocation: {store.url}{store.path}\r\nContent-Length: 0\r\n\r\n".encode()
            )

        registry = Blob(store.content)
        registry.say = lambda end, asked: elsewhere(registry, end, asked)
        settings: dict[str, Any] = {"blobs__allowed_networks": "127.0.0.0/8"}
        async with holding(registry), filling(tmp_path, registry.url, **settings) as node:
            assert await fetch(client, node.url + store.path, Authorization="Bearer secret") == store.content
    assert [asked.first for asked in store.requests] == [0, HALF]
    assert not any("Authorization" in asked.headers for asked in store.requests)
    assert len(registry.requests) == 2  # each address is asked for anew: it may be signed, and run out


@pytest.mark.parametrize("first", ["", "bytes=1000-"])
async def test_a_disk_that_takes_no_byte_at_all_turns_a_fill_into_pass_through(
    tmp_path: Path, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    def full(_descriptor: int, _piece: memoryview, _at: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with lying(tmp_path, lambda blob, end, asked: blob.give(end, asked.first)) as (blob, node, outcomes):
        monkeypatch.setattr(os, "pwrite", full)
        headers = {"Range": first} if first else {}
        assert await fetch(client, node.url + blob.path, **headers) == blob.content[1000 if first else 0 :]
        assert outcomes.all() == {"full": 1}


@contextlib.contextmanager
def small_disk(directory: Path, mib: int) -> Iterator[Path]:
    """Mount a disk of so many MiB at `directory`."""
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


@pytest.mark.parametrize("spoil", [False, True])
async def test_a_disk_that_fills_up_turns_a_fill_into_pass_through(
    tmp_path: Path, client: aiohttp.ClientSession, *, spoil: bool
) -> None:
    """Foreign files fill it, so that no eviction helps; what goes past it is hashed all the same."""
    go_on = asyncio.Event()

    async def say(blob: Blob, end: End, asked: Asked) -> None:
        content = blob.content
        if spoil and asked.first:
            content = content[:-1] + bytes([content[-1] ^ 1])
        await blob.give(end, asked.first, HALF if asked.number == 0 else None, content=content)
        if asked.number == 0:
            await go_on.wait()
            await blob.go_on(end, HALF)

    with small_disk(tmp_path / "disk", 8) as disk:
        async with lying(disk / "edge", say) as (blob, node, outcomes):
            url = node.url + blob.path
            ranges = {"": (0, SIZE), "bytes=1000-": (1000, SIZE), f"bytes=10-{SIZE - 10}": (10, SIZE - 9)}
            asked = [
                asyncio.ensure_future(fetch(client, url, **({"Range": one} if one else {}))) for one in (*ranges, "")
            ]
            await until(lambda: len(node.asked) == len(asked))
            with contextlib.suppress(OSError), (disk / "foreign").open("wb", buffering=0) as foreign:
                while True:
                    foreign.write(bytes(4096))
            go_on.set()
            results = [await one for one in asked]
            await until(lambda: outcomes.all() == {"full": 1})
            assert node.left() == []
            for result, (first, stop) in zip(results, (*ranges.values(), (0, SIZE)), strict=True):
                cut = spoil and stop == SIZE
                assert result == (None if cut else blob.content[first:stop])
