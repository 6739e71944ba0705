"""Content by digest from the disk of an edge node: what crosses the line, how often it is asked for, and for whom."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from tests.lab.fake_registry import FakeRegistry, proxied, serving
from tests.lab.partition_requests import ALL, IMAGE, TAG
from twodfs.oci.digest import digest_of

ALICE, BOB, MALLORY = ({"Authorization": f"Bearer {name}"} for name in ("alice", "bob", "mallory"))
REPOSITORY = "/v2/team/model"


@pytest.fixture
async def registry() -> AsyncIterator[FakeRegistry]:
    """Lets in Alice and Bob; everyone else hears 403."""

    async def guarded(request: web.Request) -> web.StreamResponse | None:
        is_allowed = request.headers.get("Authorization") in (ALICE["Authorization"], BOB["Authorization"])
        return None if is_allowed else web.json_response({"errors": [{"code": "DENIED"}]}, status=403)

    async with serving(FakeRegistry(IMAGE, guarded)) as started:
        yield started


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


class Pull:
    """One client's pull of everything behind a reference, each document and blob checked against its digest."""

    def __init__(self, client: aiohttp.ClientSession, url: str, who: dict[str, str]) -> None:
        self._client = client
        self._url = url
        self._who = who
        self.blobs: set[str] = set()

    async def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        async with self._client.get(
            self._url + path, headers={"Accept": ALL, **self._who, **headers}, allow_redirects=False
        ) as response:
            return response.status, dict(response.headers), await response.read()

    async def everything(self, target: str = TAG) -> None:
        _, _, body = await self.checked(target)
        documents: list[dict[str, Any]] = [orjson.loads(body)]
        while documents:
            document = documents.pop()
            for entry in document.get("manifests", ()):
                _, _, child = await self.checked(f"{REPOSITORY}/manifests/{entry['digest']}", entry["digest"])
                documents.append(orjson.loads(child))
            for entry in (document.get("config"), *document.get("layers", ())):
                if entry is not None and entry["digest"] not in self.blobs:
                    self.blobs.add(entry["digest"])
                    await self.checked(f"{REPOSITORY}/blobs/{entry['digest']}", entry["digest"])

    async def checked(self, path: str, digest: str = "") -> tuple[int, dict[str, str], bytes]:
        status, headers, body = await self.get(path)
        assert status == 200, (path, status, body)
        assert headers["Docker-Content-Digest"] == digest_of(body)
        assert digest in ("", digest_of(body))
        return status, headers, body


def reads(registry: FakeRegistry, kind: str) -> list[str]:
    return [one.path for one in registry.requests if one.method == "GET" and f"/{kind}/" in one.path]


async def test_a_second_client_costs_the_line_one_question_and_no_blob(
    registry: FakeRegistry, client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with proxied(registry.url, edge__directory=str(tmp_path)) as url:
        first = Pull(client, url, ALICE)
        await first.everything()
        blobs = reads(registry, "blobs")
        assert len(blobs) == len(set(blobs))
        layers = {layer.blob.digest for layer in IMAGE.layers(IMAGE.select((0, 0, 1, 1)))}
        assert layers <= {path.rpartition("/")[2] for path in blobs}
        registry.requests.clear()
        await Pull(client, url, BOB).everything()
        assert [(one.method, one.path) for one in registry.requests] == [("HEAD", f"{REPOSITORY}/manifests/v1")]
        assert registry.requests[0].headers["Authorization"] == BOB["Authorization"]


async def test_nobody_reads_from_the_disk_whom_the_registry_refuses(
    registry: FakeRegistry, client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with proxied(registry.url, edge__directory=str(tmp_path)) as url:
        pulled = Pull(client, url, ALICE)
        await pulled.everything()
        stranger = Pull(client, url, MALLORY)
        index = (await pulled.checked(TAG))[1]["Docker-Content-Digest"]
        for path in (
            TAG,
            f"{REPOSITORY}/manifests/v1",
            f"{REPOSITORY}/manifests/{index}",
            f"{REPOSITORY}/manifests/{IMAGE.digest}",
            *(f"{REPOSITORY}/blobs/{digest}" for digest in pulled.blobs),
        ):
            for more in ({}, {"Range": "bytes=0-0"}):
                status, headers, body = await stranger.get(path, **more)
                assert status == 403, path
                assert b"DENIED" in body
                assert "Docker-Content-Digest" not in headers


async def test_what_one_repository_brought_is_not_read_through_another(
    registry: FakeRegistry, client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with proxied(registry.url, edge__directory=str(tmp_path)) as url:
        pulled = Pull(client, url, ALICE)
        await pulled.everything()
        before = len(registry.requests)
        digest = min(pulled.blobs)
        status, _, _ = await pulled.get(f"/v2/team/other/blobs/{digest}")
        assert status in (200, 404)  # as the registry says, which was asked
        assert any(one.path == f"/v2/team/other/blobs/{digest}" for one in registry.requests[before:])


async def test_a_restarted_node_serves_what_it_has_after_one_question(
    registry: FakeRegistry, client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with proxied(registry.url, edge__directory=str(tmp_path)) as url:
        await Pull(client, url, ALICE).everything()
    registry.requests.clear()
    async with proxied(registry.url, edge__directory=str(tmp_path)) as url:
        await Pull(client, url, ALICE).everything()
        assert not reads(registry, "blobs")
        assert not reads(registry, "manifests")


@pytest.mark.parametrize("is_warm", [False, True])
async def test_a_blob_has_a_head_ranges_and_conditions_cold_and_warm(
    registry: FakeRegistry, client: aiohttp.ClientSession, tmp_path: Path, *, is_warm: bool
) -> None:
    layer = IMAGE.layers(IMAGE.select((0, 0, 0, 0)))[-1].blob
    path = f"{REPOSITORY}/blobs/{layer.digest}"
    async with proxied(registry.url, edge__directory=str(tmp_path)) as url:
        pull = Pull(client, url, ALICE)
        if is_warm:
            await pull.checked(path)
        async with client.head(url + path, headers=ALICE) as head:
            assert head.status == 200
            assert head.content_length == layer.size
        status, headers, body = await pull.get(path, Range="bytes=5-9")
        assert (status, body) == (206, layer.content[5:10])
        assert headers["Content-Range"] == f"bytes 5-9/{layer.size}"
        assert (await pull.get(path, Range="bytes=-7"))[2] == layer.content[-7:]
        assert (await pull.get(path, Range="bytes=0-"))[2] == layer.content
        assert (await pull.get(path, Range=f"bytes={layer.size}-"))[0] == 416
        assert (await pull.get(path, **{"If-None-Match": f'"{layer.digest}"'}))[0] == 304
        assert len(reads(registry, "blobs")) == 1


async def test_a_blob_that_the_registry_lacks_is_unknown(
    registry: FakeRegistry, client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with proxied(registry.url, edge__directory=str(tmp_path)) as url:
        status, _, body = await Pull(client, url, ALICE).get(f"{REPOSITORY}/blobs/{digest_of(b'nothing')}")
        assert status == 404
        assert b"errors" in body


async def test_a_node_that_lost_its_directory_passes_on(
    registry: FakeRegistry, client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    directory = tmp_path / "edge"
    async with proxied(registry.url, edge__directory=str(directory)) as url:
        directory.rename(tmp_path / "taken")  # at one instant: the node is writing
        await Pull(client, url, ALICE).everything()
        status, _, _ = await Pull(client, url, MALLORY).get(TAG)
        assert status == 403
