"""What the one process that keeps a directory cleans up, and that there is one."""

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.edge.disk.files import beside, remove_leftovers
from proxy.edge.disk.keeper import Keeper
from proxy.edge.disk.store import EdgeStore
from tests.lab.edge import is_there, new_content, opened_store, stored, unkept_store
from tests.lab.fake_registry import until
from tests.lab.records import RECORDS, SIZE_KEY
from twodfs.oci.digest import digest_of

NEW = digest_of(b"new")
DAY = 86_400


@contextlib.asynccontextmanager
async def kept(directory: Path) -> AsyncIterator[tuple[EdgeStore, Keeper]]:
    """Yield a store whose keeper does what the test tells it, and no other does."""
    async with unkept_store(directory) as store:
        yield store, Keeper(store.directory, store.state, store.blobs, store.space, store.listing)


def unfinished(store: EdgeStore, *, age: float) -> Path:
    path = store.directory.ingest / f"{NEW[7:]}.part"
    for one in (path, path.with_suffix(".json")):
        one.write_bytes(b"{}")
        os.utime(one, (time.time() - age,) * 2)
    return path


async def test_what_was_left_half_fetched_goes_after_a_day(tmp_path: Path) -> None:
    async with kept(tmp_path) as (store, keeper):
        path = unfinished(store, age=DAY - 100)
        await keeper.scan()
        assert path.exists()
        path = unfinished(store, age=DAY + 100)
        with path.open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            await keeper.scan()
            assert path.exists()
        await keeper.scan()
        assert list(store.directory.ingest.iterdir()) == []


async def test_a_length_without_its_content_goes_after_a_minute(tmp_path: Path) -> None:
    async with kept(tmp_path) as (store, keeper):
        about = unfinished(store, age=10).with_suffix(".json")
        about.with_suffix(".part").unlink()
        await keeper.scan()
        assert about.exists()
        os.utime(about, (time.time() - 100,) * 2)
        await keeper.scan()
        assert not about.exists()


async def test_files_beside_their_place_go_unless_they_are_being_written(tmp_path: Path) -> None:
    async with kept(tmp_path) as (store, keeper):
        token = ".0123456789abcdef"
        places = (tmp_path / "index.json", store.directory.blob(NEW), store.directory.ingest / "x.json")
        left = [place.with_name(f".{place.name}{token}") for place in places]
        for path in left:
            path.touch()
        (store.directory.blob(NEW).with_name(f".aside{token}") / "inner").mkdir(parents=True)
        (tmp_path / ".hidden").touch()
        with beside(store.directory.blob(NEW)) as (_, written):
            await keeper.scan()
            assert written.exists()
        assert not any(path.exists() for path in left)
        assert list(store.directory.contents("sha256").iterdir()) == []
        assert (tmp_path / ".hidden").exists()  # not ours


async def test_rows_and_files_agree_after_a_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.edge.disk.keeper._PIECE", 3)
    async with kept(tmp_path) as (store, keeper):
        digests = [await stored(store, b"%d" % number) for number in range(10)]
        for digest in digests[:5]:
            store.directory.blob(digest).unlink()
        copied = [new_content(100 + number) for number in range(7)]
        for digest, content in copied:
            store.directory.blob(digest).write_bytes(content)
        store.directory.blob(NEW).mkdir()
        (store.directory.contents("sha256") / "README").touch()
        await keeper.scan()
        sizes = dict(await store.state.read(lambda c: c.execute("SELECT digest, size FROM blobs").fetchall()))
        assert sizes == {**dict.fromkeys(digests[5:], 1), **{digest: len(content) for digest, content in copied}}
        room = await store.space.measure()
        assert room is not None
        assert (room.blobs, room.content) == (12, 5 + sum(len(content) for _, content in copied))
        for digest in sizes:
            assert await is_there(store, digest)


async def test_a_state_that_was_lost_or_damaged_costs_no_content(tmp_path: Path) -> None:
    async with opened_store(tmp_path) as store:
        digests = [await stored(store, b"%d" % number) for number in range(5)]
    (tmp_path / "state.sqlite").write_bytes(b"no database" * 1000)
    async with opened_store(tmp_path) as store:
        await until(lambda: store.space.measured.blobs == 5)
        for digest in digests:
            assert await is_there(store, digest)


async def test_another_process_becomes_the_keeper_when_the_first_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.edge.disk.keeper._RETRY", 0.01)
    scans = []
    real = Keeper.scan

    async def counted(self: Keeper) -> None:
        scans.append(self)
        await real(self)

    monkeypatch.setattr(Keeper, "scan", counted)
    async with opened_store(tmp_path), contextlib.AsyncExitStack() as first:
        await until(lambda: len(scans) == 1)
        await first.enter_async_context(opened_store(tmp_path))
        await asyncio.sleep(0.1)
        assert len(scans) == 1
    scans.clear()
    async with contextlib.AsyncExitStack() as first, contextlib.AsyncExitStack() as second:
        await first.enter_async_context(opened_store(tmp_path))
        await until(lambda: len(scans) == 1)
        await second.enter_async_context(opened_store(tmp_path))
        await first.aclose()
        await until(lambda: len(scans) == 2)
        assert scans[0] is not scans[1]


async def test_a_document_without_room_makes_the_keeper_make_some(tmp_path: Path) -> None:
    async with opened_store(tmp_path, max_size=2**20) as store:
        await until(store.directory.index.exists)
        digest, content = new_content(2**20 + 1)
        assert await store.blobs.put(digest, content)
        assert store.blobs.has(digest)
        store.blobs.room_wanted.set()
        await until(lambda: not store.blobs.has(digest))


async def test_a_directory_that_is_emptied_while_nodes_run_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.edge.disk.keeper._ROUND", 0.01)
    root = tmp_path / "edge"
    async with opened_store(root) as store:
        digest = await stored(store, b"content")
        await store.space.measure()
        (gone := tmp_path / "gone").mkdir()
        for path in root.iterdir():
            path.rename(gone / path.name)
        assert not await is_there(store, digest)
        await until((root / "oci-layout").exists)
        assert await stored(store, b"content") == digest
        assert await store.space.reserve(NEW, 1)


async def test_a_directory_that_is_removed_while_nodes_run_raises_nothing(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "edge") as store:
        digest = await stored(store, b"content")
        (tmp_path / "edge").rename(tmp_path / "gone")
        assert not await is_there(store, digest)
        assert not await store.blobs.put(*new_content(10))
        assert not await store.space.reserve(NEW, 1)
        assert await store.records.get(SIZE_KEY) is None
        assert not await store.records.put({SIZE_KEY: RECORDS[SIZE_KEY]})
        with pytest.raises(sqlite3.Error):
            await store.pins.all()
        (tmp_path / "gone").rename(tmp_path / "edge")
        assert await is_there(store, digest)


async def test_a_directory_that_cannot_be_read_stops_no_keeper(tmp_path: Path) -> None:
    async with kept(tmp_path) as (store, keeper):
        store.directory.ingest.rmdir()
        await keeper.scan()
        assert not await store.space.reserve(NEW, 1)
        store.directory.ingest.mkdir()
        assert await store.space.reserve(NEW, 1)


def test_a_file_is_written_though_the_keeper_takes_each_new_one_for_a_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open
    made: list[Path] = []
    held: list[int] = []

    def taken_at_once(path: Path, flags: int, mode: int = 0) -> int:
        descriptor = real(path, flags, mode)
        if flags & os.O_CREAT:
            made.append(path)
            if len(made) == 1:  # removed before it is locked
                remove_leftovers(tmp_path)
            elif len(made) == 2:  # locked, to be removed
                held.append(real(path, os.O_RDONLY))
                fcntl.flock(held[0], fcntl.LOCK_EX)
        return descriptor

    monkeypatch.setattr("proxy.edge.disk.files.os.open", taken_at_once)
    with beside(tmp_path / "file") as (_, written):
        monkeypatch.undo()
        os.close(held[0])
        remove_leftovers(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [written.name]
