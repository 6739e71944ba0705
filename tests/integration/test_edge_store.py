"""The edge directory: killed processes, several processes, small and full disks, other tools."""

import asyncio
import gzip
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.edge.disk.directory import EdgeError
from proxy.edge.disk.keeper import Keeper
from proxy.edge.disk.store import EdgeStore
from proxy.repository import DEFAULT_UPSTREAM, Repository
from tests.lab import command
from tests.lab.edge import is_there, new_content, opened_store, stored
from tests.lab.edge_writer import adopted
from tests.lab.mounts import runtime_directory
from tests.lab.peers import require
from tests.lab.programs import environment, program
from twodfs.oci.digest import Digest, digest_of
from twodfs.oci.documents import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Document

ROOT = Path(__file__).parents[2]
MEGABYTE = 2**20
DAY = 86_400
MODEL = Repository(DEFAULT_UPSTREAM, "library/model")
ROUNDS = 60


def write_and_be_killed(directory: Path, *, rounds: int, writers: int) -> set[Digest]:
    """Return the digests of all content that was in its place, and was not to be removed."""
    subprocess.run(
        [sys.executable, "-m", "tests.lab.edge_writer", str(directory), str(rounds), str(writers)],
        check=True,
        cwd=ROOT,
        timeout=120,
    )
    lines = set(Path(f"{directory}.done").read_text(encoding="ascii").split())
    return {Digest(one) for one in lines if one[0] != "-" and f"-{one}" not in lines}


async def scanned(store: EdgeStore) -> None:
    await Keeper(store.directory, store.state, store.blobs, store.space, store.listing).scan()


def names_below(directory: Path) -> list[str]:
    return [path.name for path in directory.rglob("*")]


async def test_after_each_kill_content_is_whole_or_not_there_and_nothing_is_left_behind(tmp_path: Path) -> None:
    edge = tmp_path / "edge"
    done = await asyncio.to_thread(write_and_be_killed, edge, rounds=ROUNDS, writers=2)
    assert len(done) > ROUNDS
    files = [path for path in (edge / "blobs" / "sha256").iterdir() if path.name[0] != "."]
    for path in files:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    assert {f"sha256:{path.name}" for path in files} >= done
    for path in (edge / "ingest" / "sha256").iterdir():  # what could be gone on with, a day later
        os.utime(path, (path.stat().st_mtime - 2 * DAY,) * 2)
    async with opened_store(edge) as store:
        await scanned(store)
        assert [name for name in names_below(edge) if name[0] == "."] == []
        assert names_below(store.directory.ingest) == []
        for digest in done:
            assert await is_there(store, digest)
        rows = dict(await store.state.read(lambda c: c.execute("SELECT digest, size FROM blobs").fetchall()))
        assert rows == {f"sha256:{path.name}": path.stat().st_size for path in files}
        room = await store.space.measure()
        assert room is not None
        assert (room.blobs, room.content) == (len(rows), sum(rows.values()))


BUSY = """
import asyncio, sys
from pathlib import Path
from tests.lab.edge import new_content, opened_store
from tests.lab.edge_writer import adopted

async def main():
    async with opened_store(Path(sys.argv[1]), max_size=4 * 2**20) as store:
        came = 0
        for _ in range(60):
            digest, content = new_content(200_000)
            came += await adopted(store, digest, content)
            blob = await store.blobs.find(digest)
            if blob:
                blob.close()
        print(came)

asyncio.run(main())
"""


async def test_several_processes_make_room_together_and_stay_within_the_bound(tmp_path: Path) -> None:
    edge = tmp_path / "edge"
    async with opened_store(edge, max_size=4 * MEGABYTE) as store:
        writers = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", BUSY, str(edge), cwd=ROOT, stdout=asyncio.subprocess.PIPE
            )
            for _ in range(3)
        ]
        ended = asyncio.gather(*[writer.communicate() for writer in writers])
        most = 0
        while not ended.done():
            most = max(most, await asyncio.to_thread(bytes_of, edge))
            await asyncio.sleep(0.01)
        assert [int(out) for out, _ in ended.result()] == [60, 60, 60]
        assert 2 * MEGABYTE < most <= 4 * MEGABYTE
        room = await store.space.measure()
        assert room is not None
        assert room.content == bytes_of(edge)
        assert room.claims == 0


def bytes_of(edge: Path) -> int:
    """Return the bytes of the content that is whole."""
    total = 0
    for path in (edge / "blobs" / "sha256").iterdir():
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


@pytest.fixture
def small_disk() -> Iterator[Path]:
    with runtime_directory() as directory:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "lab", str(directory)], check=True)
        yield directory


async def test_a_disk_of_64_megabytes_is_a_store(small_disk: Path) -> None:
    async with opened_store(small_disk / "edge", min_free=None) as store:
        digests = []
        for _ in range(30):
            digest, content = new_content(5 * MEGABYTE)
            assert await adopted(store, digest, content)
            assert await is_there(store, digest)
            digests.append(digest)
        there = [digest for digest in digests if store.blobs.has(digest)]
        assert there == digests[-len(there) :]
        assert len(there) >= 10
        assert not await store.space.reserve(digest_of(b"large"), 64 * MEGABYTE)
        assert [digest for digest in digests if store.blobs.has(digest)] == there


async def test_foreign_files_that_fill_the_disk_push_content_out_and_raise_nothing(small_disk: Path) -> None:
    async with opened_store(small_disk / "edge", min_free=2 * MEGABYTE) as store:
        digests = []
        for _ in range(8):
            digest, content = new_content(5 * MEGABYTE)
            assert await adopted(store, digest, content)
            digests.append(digest)
        fill(small_disk / "foreign")
        wanted, content = new_content(50_000)
        assert not await store.blobs.put(wanted, content)
        assert await store.space.make_room(50_000)
        assert await store.blobs.put(wanted, content)
        assert not store.blobs.has(digests[0])
        assert store.blobs.has(digests[-1])
        fill(small_disk / "more")
        assert not await store.space.reserve(digest_of(b"large"), 60 * MEGABYTE)
        for digest in digests:
            await is_there(store, digest)
        await store.write_uses()
        for name in ("foreign", "more"):
            (small_disk / name).unlink()
        digest, content = new_content(5 * MEGABYTE)
        assert await adopted(store, digest, content)
        assert await is_there(store, digest)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (65_536, 4096):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    assert os.statvfs(path).f_bavail == 0


async def test_a_node_starts_on_a_disk_that_others_filled_and_keeps_what_is_pinned(small_disk: Path) -> None:
    settings = {"min_free": 4 * MEGABYTE}
    async with opened_store(small_disk / "edge", **settings) as store:
        pinned, *others = [await stored(store, os.urandom(MEGABYTE)) for _ in range(10)]
        await store.pins.pin(MODEL, "v1", pinned)
    fill(small_disk / "foreign")
    async with opened_store(small_disk / "edge", **settings) as store:
        assert not store.blobs.has(others[0])
        assert await is_there(store, pinned)
        assert await stored(store, b"content")
        await store.space.make_room()
        assert await is_there(store, pinned)


async def test_a_disk_that_is_read_only_is_told_at_the_start(small_disk: Path) -> None:
    command.run([program("mount"), "-o", "remount,ro", str(small_disk)], environment())
    with pytest.raises(EdgeError, match="Read-only file system; name a directory on a disk"):
        async with opened_store(small_disk / "edge"):
            pass


async def image(store: EdgeStore, repository: Repository, tag: str) -> Document:
    """Put an image of one empty layer into the store, and list it."""
    files = bytes(1024)
    layer = gzip.compress(files)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Labels": {"tag": tag}},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(files)]},
        }
    ).encode()
    manifest = Document.of(
        OCI_MANIFEST,
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": await stored(store, config), "size": len(config)},
            "layers": [{"mediaType": OCI_LAYER, "digest": await stored(store, layer), "size": len(layer)}],
        },
    )
    index = Document.of(
        OCI_INDEX,
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [{**manifest.descriptor, "platform": {"os": "linux", "architecture": "amd64"}}],
        },
    )
    for document in (manifest, index):
        await stored(store, document.body)
    await store.listing.named(repository, tag, index.digest, OCI_INDEX, len(index.body))
    return index


async def test_skopeo_reads_the_directory_and_adds_to_it(tmp_path: Path) -> None:
    require("skopeo")
    edge = tmp_path / "edge"

    async def skopeo(*arguments: str) -> str:
        argv = [program("skopeo"), "--override-os=linux", "--override-arch=amd64", *arguments]
        return await asyncio.to_thread(command.run, argv, environment())

    named = Repository("eu", "team/model")
    async with opened_store(edge) as store:
        await image(store, MODEL, "v1")
        partition = await image(store, MODEL, "v1--0.0.1.2")
        await image(store, named, "v1")
        await store.listing.write()
        for name, tag in (("library/model:v1--0.0.1.2", "v1--0.0.1.2"), ("eu@team/model:v1", "v1")):
            assert json.loads(await skopeo("inspect", "--config", f"oci:{edge}:{name}"))["config"]["Labels"] == {
                "tag": tag
            }
        raw = await skopeo("inspect", "--raw", f"oci:{edge}:library/model:v1--0.0.1.2")
        assert digest_of(raw.encode()) == partition.digest
        copy = tmp_path / "copy"
        await skopeo("copy", "--all", f"oci:{edge}:library/model:v1--0.0.1.2", f"oci:{copy}:mine")
        assert {path.name for path in (copy / "blobs" / "sha256").iterdir()} < {
            path.name for path in store.directory.contents("sha256").iterdir()
        }
        # What another tool puts there is content, too, and stays in the list.
        for path in (copy / "blobs" / "sha256").iterdir():
            assert await store.blobs.remove(Digest(f"sha256:{path.name}"))
        await skopeo("copy", "--all", f"oci:{copy}:mine", f"oci:{edge}:added")
        assert await is_there(store, partition.digest)
        await store.listing.named(MODEL, "v2", partition.digest, OCI_INDEX, len(partition.body))
        await store.listing.write()
        for name in ("added", "library/model:v2", "library/model:v1--0.0.1.2"):
            assert await skopeo("inspect", "--raw", f"oci:{edge}:{name}") == raw
