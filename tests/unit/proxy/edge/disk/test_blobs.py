"""Content by its digest: whole and right, or not there."""

import asyncio
import errno
import fcntl
import hashlib
import os
import socket
import stat
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from proxy.edge.disk import files
from proxy.edge.disk.files import Fingerprint, write_atomically
from proxy.edge.disk.store import EdgeStore
from proxy.metrics.catalogue import EDGE_ROTTEN
from tests.lab.edge import is_there, new_content, opened_store, stored, unkept_store
from tests.lab.fake_registry import until
from twodfs.oci.digest import Digest, digest_of

CONTENT = b"whole content"
DIGEST = digest_of(CONTENT)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EdgeStore]:
    (tmp_path / "edge").mkdir()
    async with unkept_store(tmp_path / "edge") as store:
        yield store


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that were hashed."""
    paths = []
    real = files.hashed

    def counted(path: str, algorithm: str, expected: Fingerprint) -> str | None:
        paths.append(path)
        return real(path, algorithm, expected)

    monkeypatch.setattr("proxy.edge.disk.blobs.hashed", counted)
    return paths


async def test_what_is_put_is_found_and_read(store: EdgeStore) -> None:
    assert await store.blobs.find(DIGEST) is None
    assert not store.blobs.has(DIGEST)
    assert await store.blobs.read(DIGEST, 100) is None
    assert await store.blobs.put(DIGEST, CONTENT)
    blob = await store.blobs.find(DIGEST)
    assert blob is not None
    with blob:
        assert (blob.digest, blob.size) == (DIGEST, len(CONTENT))
        assert os.pread(blob.descriptor, 100, 0) == CONTENT
    assert store.blobs.has(DIGEST)
    assert await store.blobs.read(DIGEST, len(CONTENT)) == CONTENT
    assert await store.blobs.read(DIGEST, len(CONTENT) - 1) is None


async def test_other_content_than_the_digest_says_is_not_kept(store: EdgeStore) -> None:
    assert not await store.blobs.put(DIGEST, CONTENT + b"!")
    assert not store.blobs.has(DIGEST)


async def test_a_digest_of_another_algorithm_has_its_own_directory(store: EdgeStore) -> None:
    digest = Digest("sha512:" + hashlib.sha512(CONTENT).hexdigest())
    assert await store.blobs.put(digest, CONTENT)
    assert await is_there(store, digest)
    assert (store.directory.root / "blobs" / "sha512" / digest[7:]).read_bytes() == CONTENT


async def test_a_whole_file_is_adopted_with_what_is_known_of_it(
    store: EdgeStore, tmp_path: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.edge.disk.blobs._LOCKED", 3600)
    path = store.directory.ingest / "growing"
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(CONTENT)
        file.flush()
        await store.blobs.adopt(DIGEST, path, file.fileno())
        assert not path.exists()
        # The filler's own lock lets readers in.
        async with asyncio.timeout(10):
            assert await is_there(store, DIGEST)
    async with opened_store(tmp_path / "edge") as other:
        assert await is_there(other, DIGEST)
    assert not hashed


async def test_content_is_on_the_disk_before_its_name_is_and_then_the_name(
    store: EdgeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    flush, rename = os.fsync, Path.replace

    def flushed(descriptor: int) -> None:
        done.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        flush(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        done.append("name")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", renamed)
    assert await store.blobs.put(DIGEST, CONTENT)
    path = store.directory.ingest / "growing"
    digest, content = new_content(10)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        await store.blobs.adopt(digest, path, file.fileno())
    assert done == ["file", "name", "directory"] * 2


async def test_a_file_that_another_took_the_place_of_is_not_adopted(store: EdgeStore) -> None:
    path = store.directory.ingest / "growing"
    with path.open("wb") as file:
        path.unlink()
        path.write_bytes(b"of somebody else")
        with pytest.raises(OSError, match="another file"):
            await store.blobs.adopt(DIGEST, path, file.fileno())
    assert not store.blobs.has(DIGEST)


def truncated(path: Path) -> None:
    os.truncate(path, 3)


def flipped(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"W")


def flipped_with_its_old_time(path: Path) -> None:
    before = path.stat()
    flipped(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(path: Path) -> None:
    write_atomically(path, CONTENT[::-1])


def deleted(path: Path) -> None:
    path.unlink()


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "file").touch()


def a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            listening.bind(f"/proc/self/fd/{directory}/{path.name}")
        finally:
            os.close(directory)


DAMAGES = [
    truncated,
    flipped,
    flipped_with_its_old_time,
    replaced,
    deleted,
    a_directory,
    a_link,
    a_fifo,
    a_socket,
]


@pytest.mark.parametrize("damage", DAMAGES)
async def test_damage_is_noticed_without_a_restart_and_made_good(
    store: EdgeStore, damage: Callable[[Path], None]
) -> None:
    await stored(store, CONTENT)
    path = store.directory.blob(DIGEST)
    await later_than(path)
    damage(path)
    rotten = EDGE_ROTTEN.of().value
    async with asyncio.timeout(5):  # a FIFO that is opened in the ordinary way waits for ever
        assert await store.blobs.find(DIGEST) is None
    assert not path.is_symlink()
    assert not path.exists()
    assert EDGE_ROTTEN.of().value == rotten + (damage is not deleted)
    assert await store.blobs.put(DIGEST, CONTENT)
    assert await is_there(store, DIGEST)
    assert [one.name for one in path.parent.iterdir() if one.name.startswith(".")] == []


@pytest.mark.parametrize("damage", DAMAGES)
async def test_damage_is_noticed_by_who_reads_documents(store: EdgeStore, damage: Callable[[Path], None]) -> None:
    await stored(store, CONTENT)
    await later_than(store.directory.blob(DIGEST))
    damage(store.directory.blob(DIGEST))
    async with asyncio.timeout(5):
        assert await store.blobs.read(DIGEST, 100) is None


async def test_documents_are_hashed_each_time_though_nothing_tells_of_the_damage(
    store: EdgeStore,
) -> None:
    await stored(store, CONTENT)
    await later_than(store.directory.blob(DIGEST))
    flipped(store.directory.blob(DIGEST))
    # As if the disk had flipped it.
    status = store.directory.blob(DIGEST).stat()
    await store.blobs._remember(DIGEST, status)
    assert await store.blobs.read(DIGEST, 100) is None
    assert not store.blobs.has(DIGEST)


async def later_than(path: Path) -> None:
    """Wait until the clock of the file system, which ticks every few milliseconds, shows another time."""
    probe = path.with_name("probe")

    def has_ticked() -> bool:
        probe.touch()
        return probe.stat().st_ctime_ns != path.stat().st_ctime_ns

    await until(has_ticked)
    probe.unlink()


async def test_content_without_a_word_is_hashed_once_and_then_believed(tmp_path: Path, hashed: list[str]) -> None:
    async with opened_store(tmp_path / "edge") as store:
        path = store.directory.blob(DIGEST)
        path.write_bytes(CONTENT)
        assert all(await asyncio.gather(*[is_there(store, DIGEST) for _ in range(20)]))
        assert await is_there(store, DIGEST)
    async with opened_store(tmp_path / "edge") as store:
        assert await is_there(store, DIGEST)
    assert hashed == [str(path)]


async def test_a_file_that_grows_while_it_is_hashed_is_neither_believed_nor_removed(
    store: EdgeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store.directory.blob(DIGEST)
    path.write_bytes(CONTENT[:5])
    await later_than(path)
    real = os.pread

    def growing(descriptor: int, size: int, at: int) -> bytes:
        if at == 0:
            path.write_bytes(CONTENT)
        return real(descriptor, size, at)

    with monkeypatch.context() as patched:
        patched.setattr(os, "pread", growing)
        assert await store.blobs.find(DIGEST) is None
    assert await is_there(store, DIGEST)


def is_open(path: Path) -> bool:
    """Say whether this process has the file open."""
    descriptors = [Path(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]  # noqa: PTH208 - not itself
    return any(one.readlink() == path for one in descriptors if one.is_symlink())


async def test_a_reader_that_goes_away_while_its_file_is_hashed_leaves_no_descriptor(
    store: EdgeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.directory.blob(DIGEST).write_bytes(CONTENT)
    hashing, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    real = files.hashed

    def slow(path: str, algorithm: str, expected: Fingerprint) -> str | None:
        loop.call_soon_threadsafe(hashing.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(5)
        return real(path, algorithm, expected)

    monkeypatch.setattr("proxy.edge.disk.blobs.hashed", slow)
    reader = asyncio.ensure_future(store.blobs.find(DIGEST))
    await hashing.wait()
    reader.cancel()
    await asyncio.wait([reader])
    go_on.set()
    assert reader.cancelled()
    monkeypatch.undo()
    assert await is_there(store, DIGEST)
    await until(lambda: not is_open(store.directory.blob(DIGEST)), 10)


async def test_what_is_read_is_not_removed_until_it_is_closed(store: EdgeStore, tmp_path: Path) -> None:
    await stored(store, CONTENT)
    async with opened_store(tmp_path / "edge") as other:
        blob = await other.blobs.find(DIGEST)
        assert blob is not None
        with blob:
            assert not await store.blobs.remove(DIGEST)
        assert await store.blobs.remove(DIGEST)
        assert not await is_there(other, DIGEST)
    assert await store.blobs.remove(DIGEST)


async def test_a_lock_of_another_is_waited_for_and_then_passed_by(store: EdgeStore) -> None:
    await stored(store, CONTENT)
    with store.directory.blob(DIGEST).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = asyncio.ensure_future(is_there(store, DIGEST))
        await asyncio.sleep(0)
        assert not waiting.done()
        assert await waiting  # a person's lock keeps nobody from reading
        evicted = asyncio.ensure_future(is_there(store, DIGEST))
        await asyncio.sleep(0)
        store.directory.blob(DIGEST).unlink()
    assert not await evicted


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES])
async def test_a_disk_that_fails_raises_nothing_into_a_pull(
    store: EdgeStore, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], code: int
) -> None:
    digest = await stored(store, CONTENT)

    def fails(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", fails)
    for _ in range(3):
        assert await store.blobs.find(digest) is None
        assert await store.blobs.read(digest, 100) is None
        assert not await store.blobs.put(*new_content(10))
        store.blobs.used([digest])
    monkeypatch.undo()
    # Once for each kind, not for each request.
    told = capfd.readouterr().out + capfd.readouterr().err
    assert told.count("opening content") == 1
    assert told.count("keeping a document") == 1
    assert store.blobs.room_wanted.is_set() == (code == errno.ENOSPC)
    assert await is_there(store, digest)


async def test_a_state_that_fails_costs_hashing_alone(store: EdgeStore, hashed: list[str]) -> None:
    digest = await stored(store, CONTENT)
    await store.state.run(lambda c: c.execute("ALTER TABLE blobs RENAME TO lost"))
    assert await is_there(store, digest)  # known here
    store.blobs._known.clear()
    assert await is_there(store, digest)
    assert len(hashed) == 1
    assert await store.blobs.put(*new_content(10))
    await store.blobs.write_uses()
    await store.state.run(lambda c: c.execute("ALTER TABLE lost RENAME TO blobs"))


async def test_uses_are_written_down_for_the_other_processes(store: EdgeStore) -> None:
    first, second = [await stored(store, content) for content in (b"first", b"second")]
    await store.state.run(lambda c: c.execute("UPDATE blobs SET used = 1"))
    before = time.time()
    store.blobs.used([first])
    await store.write_uses()
    used = dict(await store.state.read(lambda c: c.execute("SELECT digest, used FROM blobs").fetchall()))
    assert used[first] >= before
    assert used[second] == 1
