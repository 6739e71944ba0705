"""Which content makes room for other, and when there is none to be had."""

import asyncio
import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.edge.disk import space
from proxy.edge.disk.directory import EdgeDirectory
from proxy.edge.disk.store import EdgeStore
from proxy.edge.disk.unfinished import Unfinished, unfinished
from proxy.metrics.catalogue import EDGE_EVICTED_BYTES, EDGE_EVICTIONS
from proxy.repository import DEFAULT_UPSTREAM, Repository
from tests.lab.edge import is_there, new_content, opened_store, unkept_store
from twodfs.oci.digest import Digest, digest_of

MEGABYTE = 2**20
REPOSITORY = Repository(DEFAULT_UPSTREAM, "library/model")
NEW = digest_of(b"new")


async def filled(store: EdgeStore, *, count: int, size: int) -> list[Digest]:
    """Return the digests of so much content, that used longest ago first."""
    digests = []
    for at in range(count):
        digest, content = new_content(size)
        assert await store.blobs.put(digest, content)
        await store.state.run(
            lambda c, at=at, digest=digest: c.execute(  # type: ignore[misc]
                "UPDATE blobs SET used = ? WHERE digest = ?", (at, digest)
            )
        )
        digests.append(digest)
    return digests


async def left(store: EdgeStore, digests: list[Digest]) -> list[bool]:
    return [store.blobs.has(digest) for digest in digests]


async def test_what_was_used_least_recently_makes_room_down_to_the_low_mark(tmp_path: Path) -> None:
    async with unkept_store(tmp_path, max_size=MEGABYTE) as store:
        digests = await filled(store, count=10, size=100_000)
        assert await store.space.reserve(NEW, 20_000)
        assert all(await left(store, digests))
        store.blobs.used([digests[0]])
        evictions, evicted = EDGE_EVICTIONS.of().value, EDGE_EVICTED_BYTES.of().value
        assert await store.space.reserve(digest_of(b"more"), 100_000)
        # 1,120,000 bytes are wanted, nine tenths of a megabyte are 943,718: two go.
        assert await left(store, digests) == [True, False, False, *[True] * 7]
        assert EDGE_EVICTIONS.of().value - evictions == 2
        assert EDGE_EVICTED_BYTES.of().value - evicted == 200_000
        assert not await is_there(store, digests[1])
        room = await store.space.measure()
        assert room is not None
        assert (room.blobs, room.content, room.claims) == (8, 800_000, 120_000)


async def test_what_can_never_fit_removes_nothing(tmp_path: Path) -> None:
    async with unkept_store(tmp_path, max_size=MEGABYTE) as store:
        digests = await filled(store, count=5, size=100_000)
        assert not await store.space.reserve(NEW, MEGABYTE + 1)
        assert all(await left(store, digests))
        assert await store.space.reserve(digest_of(b"more"), MEGABYTE)
        assert not any(await left(store, digests))


async def test_nothing_is_removed_where_it_would_not_be_enough(tmp_path: Path) -> None:
    async with unkept_store(tmp_path, max_size=MEGABYTE) as store:
        digests = await filled(store, count=5, size=100_000)
        assert await store.space.reserve(NEW, 500_000)
        assert not await store.space.reserve(digest_of(b"more"), 600_000)
        assert all(await left(store, digests))


async def test_promises_count_until_they_are_released_in_all_processes(tmp_path: Path) -> None:
    async with (
        unkept_store(tmp_path, max_size=MEGABYTE) as store,
        opened_store(tmp_path, max_size=MEGABYTE) as other,
    ):
        assert await store.space.reserve(NEW, 600_000)
        assert not await other.space.reserve(digest_of(b"more"), 600_000)
        assert await store.space.reserve(NEW, 700_000)  # of the same content: in the place of the first
        assert not await other.space.reserve(digest_of(b"more"), 400_000)
        store.space.release(NEW)
        assert await store.space.measure()
        assert await other.space.reserve(digest_of(b"more"), 600_000)


async def test_many_that_ask_at_once_are_promised_no_more_than_there_is(tmp_path: Path) -> None:
    async with (
        unkept_store(tmp_path, max_size=MEGABYTE) as store,
        opened_store(tmp_path, max_size=MEGABYTE) as other,
    ):
        await filled(store, count=5, size=100_000)
        wanted = [digest_of(b"%d" % number) for number in range(20)]
        promised = await asyncio.gather(
            *[(store, other)[at % 2].space.reserve(digest, 100_000) for at, digest in enumerate(wanted)]
        )
        assert sum(promised) == 10
        room = await store.space.measure()
        assert room is not None
        assert room.content == 0


async def test_what_is_read_by_any_process_stays_and_the_next_goes(tmp_path: Path) -> None:
    async with (
        unkept_store(tmp_path, max_size=MEGABYTE) as store,
        opened_store(tmp_path, max_size=MEGABYTE) as other,
    ):
        digests = await filled(store, count=10, size=100_000)
        blob = await other.blobs.find(digests[0])
        assert blob is not None
        with blob:
            assert await store.space.reserve(NEW, 200_000)
            assert await left(store, digests) == [True, False, False, False, *[True] * 6]


async def test_what_a_pinned_image_names_stays(tmp_path: Path) -> None:
    async with unkept_store(tmp_path, max_size=MEGABYTE) as store:
        index, manifest, layer, config, beside, *others = digests = await filled(store, count=10, size=100_000)
        other = Repository(DEFAULT_UPSTREAM, "library/other")
        rows = [
            (str(REPOSITORY), index, manifest, 1),
            (str(REPOSITORY), manifest, layer, 1),
            (str(REPOSITORY), manifest, config, 1),
            (str(REPOSITORY), manifest, index, 1),  # a circle costs nothing
            (str(other), manifest, others[0], 1),
        ]
        await store.state.run(lambda c: c.executemany("INSERT INTO names VALUES (?, ?, ?, ?)", rows))
        await store.pins.pin(REPOSITORY, "v1", index, also=[beside])
        assert await store.pins.pinned() == {index, manifest, layer, config, beside}
        assert not await store.space.reserve(NEW, 600_000)
        assert await store.space.reserve(NEW, 500_000)
        assert await left(store, digests) == [*[True] * 5, *[False] * 5]
        store.space.release(NEW)
        assert await store.pins.unpin(REPOSITORY, "v1")
        assert await store.space.reserve(NEW, MEGABYTE)
        assert not any(await left(store, digests))


@contextlib.contextmanager
def half_fetched(store: EdgeStore, digest: Digest, *, size: int, there: int, age: float = 0) -> Iterator[Path]:
    """Yield content on its way whose filler holds its lock for the time of the context."""
    path = store.directory.ingest / f"{digest[7:]}.part"
    path.with_suffix(".json").write_text(json.dumps({"size": size}))
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(b"x" * there)
        file.flush()
        written_at = time.time() - age
        os.utime(path, (written_at, written_at))
        yield path


async def test_content_on_its_way_in_another_process_is_a_promise_and_stays(tmp_path: Path) -> None:
    async with unkept_store(tmp_path, max_size=MEGABYTE) as store:
        with half_fetched(store, NEW, size=600_000, there=1000, age=3600) as path:
            assert not await store.space.reserve(digest_of(b"more"), 600_000)
            assert path.exists()
        # Its filler died: what it left counts by what it has, and makes room.
        assert await store.space.reserve(digest_of(b"more"), MEGABYTE)
        assert not path.exists()
        assert not path.with_suffix(".json").exists()


async def test_what_was_left_half_fetched_stays_for_who_goes_on_with_it(tmp_path: Path) -> None:
    async with unkept_store(tmp_path, max_size=MEGABYTE) as store:
        with half_fetched(store, NEW, size=MEGABYTE, there=900_000, age=3600) as path:
            pass
        digests = await filled(store, count=3, size=30_000)
        assert await store.space.reserve(NEW, MEGABYTE)
        assert path.exists()
        assert not any(await left(store, digests))


async def test_a_filler_that_takes_it_up_meanwhile_keeps_what_was_left_half_fetched(tmp_path: Path) -> None:
    async with unkept_store(tmp_path) as store:
        with half_fetched(store, NEW, size=1000, there=500, age=3600) as path:
            assert next(unfinished(store.directory)).remove() is False
            assert path.exists()
        assert next(unfinished(store.directory)).remove() is True
        assert list(store.directory.ingest.iterdir()) == []


@pytest.mark.parametrize("about", [b"", b"{", b"[]", b'{"size": -1}', b'{"size": "7"}', b'{"size": null}'])
async def test_a_damaged_length_of_content_on_its_way_is_none(tmp_path: Path, about: bytes) -> None:
    async with unkept_store(tmp_path, max_size=MEGABYTE) as store:
        with half_fetched(store, NEW, size=1, there=5000) as path:
            path.with_suffix(".json").write_bytes(about)
            room = await store.space.measure()
            assert room is not None
            assert room.claims == room.on_its_way == 8192


class Disk:
    """A disk that others fill: what ``os.statvfs`` says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = 10**9
        self.size = 10**10
        monkeypatch.setattr(os, "statvfs", lambda _: self)

    @property
    def f_bavail(self) -> int:
        return self.free

    @property
    def f_blocks(self) -> int:
        return self.size

    f_frsize = 1


async def test_files_of_others_take_room_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with unkept_store(tmp_path, min_free=10**8) as store:
        digests = await filled(store, count=10, size=100_000)
        disk = Disk(monkeypatch)
        assert await store.space.make_room()
        assert all(await left(store, digests))
        disk.free = 10**8 - 450_000
        # Bound 550,000, low mark 495,000.
        assert await store.space.make_room()
        assert await left(store, digests) == [*[False] * 6, *[True] * 4]
        disk.free = 0
        assert not await store.space.make_room()
        assert not any(await left(store, digests))
        assert not await store.space.reserve(NEW, 1)


@pytest.mark.parametrize(("size", "kept_free"), [(10**9, 50_000_000), (10**12, 10**9)])
async def test_a_twentieth_of_the_disk_stays_free_but_a_gigabyte_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, kept_free: int
) -> None:
    async with unkept_store(tmp_path, min_free=None) as store:
        disk = Disk(monkeypatch)
        disk.size, disk.free = size, size
        assert not await store.space.reserve(NEW, size - kept_free + 1)
        assert await store.space.reserve(NEW, size - kept_free)


async def test_a_state_or_lock_that_fails_makes_fills_pass_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with unkept_store(tmp_path, max_size=MEGABYTE) as store:
        await store.state.run(lambda c: c.execute("ALTER TABLE reservations RENAME TO lost"))
        assert not await store.space.reserve(NEW, 1)
        assert await store.space.measure() is None
        await store.state.run(lambda c: c.execute("ALTER TABLE lost RENAME TO reservations"))
        assert await store.space.reserve(NEW, 1)
        monkeypatch.setattr("proxy.edge.disk.space._PATIENCE", 0.1)
        with store.directory.space_lock.open("wb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            assert not await store.space.reserve(NEW, 1)


async def test_what_cannot_be_looked_at_does_not_end_all_keeping(tmp_path: Path) -> None:
    async with unkept_store(tmp_path, max_size=MEGABYTE) as store:
        link = store.directory.ingest / f"{'0' * 64}.part"
        link.symlink_to("/dev/null")
        os.utime(link, (1, 1), follow_symlinks=False)
        assert await store.space.reserve(NEW, 100_000)
        assert link.is_symlink()


async def test_many_promises_at_once_look_at_content_on_its_way_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    def counted(directory: EdgeDirectory) -> Iterator[Unfinished]:
        nonlocal looks
        looks += 1
        return unfinished(directory)

    monkeypatch.setattr(space, "unfinished", counted)
    async with unkept_store(tmp_path, max_size=MEGABYTE) as store:
        wanted = [digest_of(b"%d" % number) for number in range(20)]
        assert all(await asyncio.gather(*(store.space.reserve(digest, 50_000) for digest in wanted)))
        assert looks <= 2
        assert not await store.space.reserve(NEW, 50_000)
