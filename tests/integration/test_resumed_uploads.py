"""Uploads that were interrupted, and go on where the registry says: the stock one, and one that others are like."""

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web

from tests.lab.fake_registry import served
from tests.lab.line import Line
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient
from tests.lab.waiting import wait_until
from tests.lab.workshop import SOURCE
from twodfs.errors import DigestError
from twodfs.oci.digest import Digest
from twodfs.oci.documents import OCI_LAYER, Descriptor
from twodfs.progress import Advance, silent
from twodfs.registry.relayed import RelayedBlob
from twodfs.registry.session import Retries, open_registry
from twodfs.registry.upload.blobs import IN_PARTS
from twodfs.storage.uploads import BegunUploads

SIZE = 24 * 1024 * 1024
AT_ONCE = Retries(attempts=4, first_delay=0, longest_delay=0)


@dataclass(frozen=True, slots=True)
class Site:
    """A directory with an image in a store, and a registry at the end of a slow line."""

    directory: Path
    registry: Registry
    line: Line

    @property
    def target(self) -> str:
        return f"{self.registry.address}/slow/model:v1"

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        own = {"TWODFS_STORE": str(self.directory / "store"), "PYTHONPATH": str(SOURCE)}
        argv = [sys.executable, "-W", "error", "-m", "twodfs", *arguments]
        with (self.directory / "said").open("wb") as said:
            return subprocess.Popen(argv, cwd=self.directory, env=os.environ | own, stdout=said, stderr=said)

    def run(self, *arguments: str) -> None:
        assert self.start(*arguments).wait(120) == 0, (self.directory / "said").read_text()

    @property
    def push(self) -> tuple[str, ...]:
        return "push", self.target, "--plain-http"

    def uploading(self) -> int:
        """Return the bytes of unfinished uploads that the registry has."""
        uploads = self.directory.glob("registry/storage/**/_uploads/*/data")
        return sum(one.stat().st_size for one in uploads)

    def patches(self) -> int:
        return sum(one.method == "PATCH" for one in self.registry.requests())


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "registry").mkdir()
    with ExitStack() as stack:
        line = stack.enter_context(Line.start(tmp_path))
        registry = stack.enter_context(
            Registry.start(
                tmp_path / "registry",
                host=line.far,
                within=line.argv(),
                extra_config={"http": {"secret": "of the lab"}},
            )
        )
        made = Site(tmp_path, registry, line)
        (tmp_path / "weights.bin").write_bytes(os.urandom(SIZE))
        (tmp_path / "2dfs.json").write_text(
            '{"allotments": [{"src": "weights.bin", "dst": "/weights.bin", "row": 0, "col": 0}]}'
        )
        made.run("build", "scratch", made.target)
        line.throttle(40)
        yield made


def test_a_push_that_was_interrupted_goes_on_where_it_was(site: Site) -> None:
    first = site.start(*site.push)
    wait_until(lambda: site.uploading() > SIZE // 3, "a third to be there")
    first.send_signal(signal.SIGINT)
    assert first.wait(20) == 130
    kept = site.uploading()
    assert SIZE // 3 < kept < SIZE
    (begun,) = (site.directory / "store/uploads").iterdir()
    assert begun.stat().st_mode & 0o777 == 0o600

    site.run(*site.push)
    assert site.patches() == 2
    assert not list((site.directory / "store/uploads").iterdir())
    with RegistryClient(site.registry.url) as client:
        index = client.get_manifest("slow/model", "v1")
    assert index.status == 200


def test_a_push_that_was_killed_is_made_again(site: Site) -> None:
    """The stock registry forgets an upload whose part broke off."""
    first = site.start(*site.push)
    wait_until(lambda: site.uploading() > SIZE // 4, "a quarter to be there")
    first.kill()
    first.wait(20)
    site.line.throttle(1000)
    site.run(*site.push)
    assert not list((site.directory / "store/uploads").iterdir())


@dataclass
class Keeping:
    """A registry that keeps all bytes that came, also of a part that broke, as Zot does."""

    blob: bytes
    breaks_after: list[int]
    sessions: dict[str, bytearray] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    patch_status: int = 202

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.method)
        place = request.path
        if request.method == "POST":
            place = f"/v2/a/blobs/uploads/{len(self.asked)}"
            self.sessions[place] = bytearray()
            return self.status(place, 202)
        if place not in self.sessions:
            return web.Response(status=404)
        if request.method == "GET":
            return self.status(place, 204)
        if request.method == "PATCH" and self.patch_status != 202:
            return web.Response(status=self.patch_status)
        return await self.take(request, self.sessions[place])

    async def take(self, request: web.Request, data: bytearray) -> web.StreamResponse:
        most = self.breaks_after.pop(0) if request.method == "PATCH" and self.breaks_after else None
        async for piece in request.content.iter_any():
            data += piece
            if most is not None and len(data) >= most:
                del data[most:]
                assert request.transport is not None
                request.transport.abort()
                raise ConnectionResetError
        if request.method == "PATCH":
            return self.status(request.path, 202)
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if digest != request.query["digest"]:
            del self.sessions[request.path]
            return web.json_response({"errors": [{"code": "DIGEST_INVALID"}]}, status=400)
        self.stored[digest] = bytes(self.sessions.pop(request.path))
        return web.Response(status=201)

    def status(self, place: str, status: int) -> web.Response:
        size = len(self.sessions[place])
        return web.Response(status=status, headers={"Location": place, "Range": f"0-{max(size - 1, 0)}"})


@pytest.fixture(scope="module")
def content() -> bytes:
    return os.urandom(IN_PARTS + 12345)


def blob_of(content: bytes) -> Descriptor:
    return Descriptor(OCI_LAYER, Digest(f"sha256:{hashlib.sha256(content).hexdigest()}"), len(content), {})


async def uploaded(
    registry: Keeping,
    content: Path | bytes,
    store: Path,
    *,
    kept: str = "",
    verify: bool = False,
    advance: Advance = silent,
) -> BegunUploads:
    """Upload with a memory in `store`, which may have `kept` an upload; return it."""
    memory = BegunUploads(store, "r/a")
    blob = blob_of(registry.blob)
    async with served(registry.answer) as url:
        if kept:
            memory.keep(blob.digest, f"{url}{kept}")
        with open_registry(url.removeprefix("http://"), retries=AT_ONCE) as opened:
            repository = opened.repository("a", push=True)
            upload = partial(repository.upload, blob, content, memory=memory, advance=advance, verify=verify)
            await asyncio.to_thread(upload)
    return memory


@pytest.mark.parametrize("verify", [False, True])
async def test_a_connection_that_breaks_costs_no_byte_twice(
    tmp_path: Path,
    content: bytes,
    verify: bool,  # noqa: FBT001
) -> None:
    (tmp_path / "blob").write_bytes(content)
    registry = Keeping(content, [3_000_000, 9_000_001])
    told: list[int] = []
    await uploaded(registry, tmp_path / "blob", tmp_path, advance=told.append, verify=verify)
    assert list(registry.stored.values()) == [content]
    assert registry.asked == ["POST", "PATCH", "GET", "PATCH", "GET", "PATCH", "PUT"]
    assert sum(told) == len(content)


OLD = "/v2/a/blobs/uploads/old"


async def test_another_process_goes_on_with_what_the_registry_has(tmp_path: Path, content: bytes) -> None:
    registry = Keeping(content, [], {OLD: bytearray(content[:5_000_000])})
    memory = await uploaded(registry, content, tmp_path, kept=OLD)
    assert registry.asked == ["GET", "PATCH", "PUT"]
    assert list(registry.stored.values()) == [content]
    assert memory.recall(blob_of(content).digest) is None


async def test_an_upload_that_the_registry_forgot_begins_anew(tmp_path: Path, content: bytes) -> None:
    registry = Keeping(content, [])
    await uploaded(registry, content, tmp_path, kept=OLD)
    assert registry.asked == ["GET", "POST", "PATCH", "PUT"]
    assert list(registry.stored.values()) == [content]


async def test_what_the_registry_has_of_another_blob_is_found_out_at_the_end(tmp_path: Path, content: bytes) -> None:
    registry = Keeping(content, [], {OLD: bytearray(b"rubbish" * 10_000)})
    await uploaded(registry, content, tmp_path, kept=OLD)
    assert registry.asked == ["GET", "PATCH", "PUT", "POST", "PATCH", "PUT"]
    assert list(registry.stored.values()) == [content]


async def test_an_upload_that_has_more_than_the_blob_begins_anew(tmp_path: Path, content: bytes) -> None:
    registry = Keeping(content, [], {OLD: bytearray(len(content) + 1)})
    await uploaded(registry, content, tmp_path, kept=OLD)
    assert registry.asked == ["GET", "POST", "PATCH", "PUT"]


@pytest.mark.parametrize("status", [405, 411, 501])
async def test_a_registry_without_parts_gets_the_whole(tmp_path: Path, content: bytes, status: int) -> None:
    registry = Keeping(content, [], patch_status=status)
    await uploaded(registry, content, tmp_path)
    assert registry.asked == ["POST", "PATCH", "PUT"]
    assert list(registry.stored.values()) == [content]


@pytest.mark.parametrize("kept", ["", OLD])
async def test_the_end_of_a_damaged_blob_is_held_back(tmp_path: Path, content: bytes, kept: str) -> None:
    (tmp_path / "blob").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    registry = Keeping(content, [], {OLD: bytearray(content[:5_000_000])})
    with pytest.raises(DigestError):
        await uploaded(registry, tmp_path / "blob", tmp_path, kept=kept, verify=True)
    assert not registry.stored
    assert all(len(one) < len(content) for one in registry.sessions.values())
    assert not list((tmp_path / "uploads").iterdir())


@dataclass
class Giving:
    """A registry that gives a blob, as much of it as it is told to before it breaks off."""

    blob: bytes
    breaks_after: list[int]
    ranges: list[str] = field(default_factory=list)
    knows_ranges: bool = True

    async def answer(self, request: web.Request) -> web.StreamResponse:
        asked = request.headers.get("Range", "")
        self.ranges.append(asked)
        at = int(asked.removeprefix("bytes=").partition("-")[0]) if asked and self.knows_ranges else 0
        headers = {"Content-Length": str(len(self.blob) - at)}
        if at:
            headers["Content-Range"] = f"bytes {at}-{len(self.blob) - 1}/{len(self.blob)}"
        response = web.StreamResponse(status=206 if at else 200, headers=headers)
        await response.prepare(request)
        end = self.breaks_after.pop(0) if self.breaks_after else len(self.blob)
        await response.write(self.blob[at:end])
        if end < len(self.blob):
            assert request.transport is not None
            request.transport.abort()
        return response


async def relayed(source: Giving, target: Keeping, store: Path, blob: Descriptor) -> None:
    async with served(source.answer) as giver, served(target.answer) as taker:
        addresses = [url.removeprefix("http://") for url in (giver, taker)]
        with (
            open_registry(addresses[0], retries=AT_ONCE) as one,
            open_registry(addresses[1], retries=AT_ONCE) as other,
        ):
            content = RelayedBlob(one.repository("b"), blob)
            upload = other.repository("a", push=True).upload
            await asyncio.to_thread(partial(upload, blob, content, memory=BegunUploads(store, "r/a")))


@pytest.mark.parametrize("knows_ranges", [True, False])
async def test_a_source_that_breaks_is_asked_for_the_rest(
    tmp_path: Path,
    content: bytes,
    knows_ranges: bool,  # noqa: FBT001
) -> None:
    source, target = Giving(content, [4_000_000, 9_000_000], knows_ranges=knows_ranges), Keeping(content, [])
    await relayed(source, target, tmp_path, blob_of(content))
    assert list(target.stored.values()) == [content]
    assert len(source.ranges) == 3
    assert target.asked.count("POST") == 1


async def test_a_small_blob_of_a_source_that_breaks_comes_whole(tmp_path: Path) -> None:
    small = os.urandom(100_000)
    source, target = Giving(small, [50_000]), Keeping(small, [])
    await relayed(source, target, tmp_path, blob_of(small))
    assert (list(target.stored.values()), source.ranges) == ([small], ["", ""])


@pytest.mark.parametrize("size", [100_000, IN_PARTS + 1])
async def test_the_end_of_a_blob_that_is_another_is_held_back(tmp_path: Path, size: int) -> None:
    promised, given = os.urandom(size), os.urandom(size)
    target = Keeping(promised, [])
    with pytest.raises(DigestError, match="/b sent other content than sha256:"):
        await relayed(Giving(given, []), target, tmp_path, blob_of(promised))
    assert not target.stored
    assert all(len(one) < size for one in target.sessions.values())
