"""An edge node in front of a registry that fails in every way: what was there before is still pulled, and marked."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.lab.certificates import Authority
from tests.lab.device import Device, PullError
from tests.lab.documents import FieldStyle
from tests.lab.fake_registry import FakeRegistry, proxied, served
from tests.lab.images import build_image
from tests.lab.partition_requests import CELLS, IMAGE, get, message
from tests.lab.signing import KeyPair
from twodfs.oci.digest import digest_of

MODEL = "team/model"
TAG = f"/v2/{MODEL}/manifests/v1"
PULLED, NEVER_CUT, PARTLY_HERE = "v1--0.0.1.1", "v1--0.0.0.1--1.0.1.0", "v1--1.1.2.2"
NEWER = build_image(CELLS | {(0, 0): {"0/0": b"newer"}}, platforms=("linux/amd64", "linux/arm64"))
STALE = '110 - "Response is Stale"'
Outage = Callable[[web.Request], web.StreamResponse]


@dataclass
class Line:
    """A registry and what stands between it and the node; `address` is the same through all of it."""

    registry: FakeRegistry = field(default_factory=lambda: FakeRegistry(IMAGE))
    outage: Outage | None = None
    is_silent: bool = False
    released: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        if self.is_silent:
            await self.released.wait()
        if self.outage is not None:
            return self.outage(request)
        return await self.registry.answer(request)


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


@contextlib.asynccontextmanager
async def node(upstream: str, directory: Path, **settings: str) -> AsyncIterator[str]:
    """Run an edge node whose grants count for no time, so each document by digest is a question, too."""
    given = {"edge__directory": str(directory), "edge__offline_after": "0.5", "auth__ttl": "0", **settings}
    async with proxied(upstream, **given) as url:
        yield url


async def pulled(url: str, tag: str, *, warned: bool = True, who: str = "") -> str:
    async with Device.of(url, **({"Authorization": f"Bearer {who}"} if who else {})) as device:
        found = await device.pull(MODEL, tag)
    assert found.warned is warned
    return found.digest


def page(status: int) -> Outage:
    return lambda _: web.Response(status=status, text="<html>Be right back</html>", content_type="text/html")


def cut_off(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


OUTAGES: dict[str, Outage] = {
    "500": page(500),
    "503 of a registry": lambda _: web.json_response({"errors": [{"code": "UNAVAILABLE"}]}, status=503),
    "429": lambda _: web.Response(status=429, headers={"Retry-After": "60"}),
    "404 page": page(404),
    "broken off": cut_off,
    "redirected to a portal": lambda _: web.Response(status=302, headers={"Location": "https://portal.invalid/"}),
}


@pytest.mark.parametrize("outage", OUTAGES.values(), ids=OUTAGES)
async def test_pulls_go_on_through_every_outage_and_are_fresh_after_it(
    tmp_path: Path, client: aiohttp.ClientSession, outage: Outage
) -> None:
    line = Line()
    async with served(line.answer) as upstream, node(upstream, tmp_path) as url:
        before = await pulled(url, PULLED, warned=False)
        plain = await pulled(url, "v1", warned=False)
        line.outage = outage
        assert await pulled(url, PULLED) == before
        assert await pulled(url, "v1") == plain == IMAGE.digest
        never = await pulled(url, NEVER_CUT)
        status, _, said = await get(client, f"{url}/v2/{MODEL}/manifests/v7")
        if status != 404:  # the page of an outage, of which nobody knows that it is none of the registry's
            assert status == 503
            assert f"v7 of {MODEL} is not on this node" in said["errors"][0]["message"]
        line.outage = None
        assert await pulled(url, PULLED, warned=False) == before
        assert await pulled(url, NEVER_CUT, warned=False) == never
        line.registry.image = NEWER
        assert await pulled(url, "v1", warned=False) == NEWER.digest


async def test_a_portal_that_answers_200_gives_no_wrong_byte(tmp_path: Path, client: aiohttp.ClientSession) -> None:
    line = Line()
    async with served(line.answer) as upstream, node(upstream, tmp_path) as url:
        before = await pulled(url, PULLED, warned=False)
        line.outage = page(200)
        for target in (f"/v2/{MODEL}/manifests/{PULLED}", TAG):
            status, headers, _ = await get(client, url + target)
            assert (status, headers["Warning"]) == (200, STALE)
        assert await pulled(url, PULLED) == before


async def test_a_portal_that_answers_200_with_any_content_lets_nobody_in(
    tmp_path: Path, client: aiohttp.ClientSession
) -> None:
    line, mallory = Line(), {"Authorization": "Bearer mallory"}
    async with served(line.answer) as upstream, node(upstream, tmp_path) as url:
        await pulled(url, PULLED, warned=False, who="alice")
        line.outage = lambda _: web.Response(text="log in, please")
        with pytest.raises(aiohttp.ClientPayloadError):
            await get(client, f"{url}/v2/{MODEL}/blobs/{digest_of(b'not on the node')}", **mallory)
        line.outage = page(502)
        assert (await get(client, url + TAG, **mallory))[0] == 503


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_portal_that_answers_200_for_a_blob_is_no_yes_of_the_registry(
    tmp_path: Path, client: aiohttp.ClientSession, *, is_known: bool
) -> None:
    line, mallory = Line(), {"Authorization": "Bearer mallory"}
    async with served(line.answer) as upstream, node(upstream, tmp_path) as url:
        await pulled(url, PULLED, warned=False, who="alice")
        line.outage = page(200)
        if is_known:
            assert (await get(client, url + TAG, **mallory))[0] == 503
        nothing = f"{url}/v2/{MODEL}/blobs/{digest_of(b'not on the node')}"
        assert (await get(client, nothing, **mallory))[0] == 503
        assert (await get(client, url + TAG, **mallory))[0] == 503
        status, _, said = await message(client, nothing, Authorization="Bearer alice")
        assert (status, "something else answers in the place of the registry" in said) == (503, True)


async def test_who_shows_nothing_offline_learns_not_what_is_here(tmp_path: Path, client: aiohttp.ClientSession) -> None:
    challenge = {"WWW-Authenticate": 'Bearer realm="https://registry.invalid/token",service="registry"'}

    async def guarded(request: web.Request) -> web.StreamResponse | None:
        is_shown = "Authorization" in request.headers
        return None if is_shown else web.json_response({"errors": []}, status=401, headers=challenge)

    line = Line(FakeRegistry(IMAGE, guarded))
    async with served(line.answer) as upstream, node(upstream, tmp_path) as url:
        assert (await get(client, url + TAG))[0] == 401
        await pulled(url, PULLED, warned=False, who="alice")
        here = (tmp_path / "blobs/sha256").iterdir()
        line.outage = page(502)
        answers = set()
        for encoded in (next(here).name, "0" * 64):
            for method in ("GET", "HEAD"):
                async with client.request(method, f"{url}/v2/{MODEL}/blobs/sha256:{encoded}") as answer:
                    answers.add((method, answer.status, frozenset(answer.headers), await answer.read()))
        assert {method for method, *_ in answers} == {"GET", "HEAD"}
        assert len(answers) == len(("GET", "HEAD")), answers


async def test_a_lasting_no_to_the_proxys_own_credentials_is_told_for_a_blob_that_is_not_here(
    tmp_path: Path, client: aiohttp.ClientSession
) -> None:
    own = {f"upstream__credentials__{name}": name for name in ("username", "password")}
    own |= {"upstream__credentials__kind": "static", "auth__clients__allow_anonymous": "true"}
    line = Line(outage=lambda _: web.json_response({"errors": [{"code": "UNAUTHORIZED"}]}, status=401))
    async with served(line.answer) as upstream, node(upstream, tmp_path, **own) as url:
        status, _, said = await message(client, f"{url}/v2/{MODEL}/blobs/{digest_of(b'not on the node')}")
        assert (status, "check upstream.credentials" in said) == (403, True), said


async def test_a_cell_that_is_not_here_is_named(tmp_path: Path, client: aiohttp.ClientSession) -> None:
    image = build_image(CELLS, platforms=("linux/amd64",), field_style=FieldStyle(sizes=True))
    line = Line(FakeRegistry(image))
    async with served(line.answer) as upstream, node(upstream, tmp_path) as url:
        await pulled(url, PULLED, warned=False)
        line.outage = page(502)
        _, _, index = await get(client, f"{url}/v2/{MODEL}/manifests/{PARTLY_HERE}")
        _, _, manifest = await get(client, f"{url}/v2/{MODEL}/manifests/{index['manifests'][0]['digest']}")
        answers = [await get(client, f"{url}/v2/{MODEL}/blobs/{layer['digest']}") for layer in manifest["layers"]]
        assert sorted(status for status, _, _ in answers) == [200] * (len(answers) - 3) + [503] * 3
        for layer, (status, _, body) in zip(manifest["layers"], answers, strict=True):
            if status == 503:
                assert f"blob {layer['digest']} of {MODEL} is not on this node" in body["errors"][0]["message"]


async def test_a_cell_of_unknown_size_that_is_not_here_is_named_for_the_tag(
    tmp_path: Path, client: aiohttp.ClientSession
) -> None:
    line = Line()
    async with served(line.answer) as upstream, node(upstream, tmp_path) as url:
        await pulled(url, PULLED, warned=False)
        line.outage = page(502)
        status, _, said = await message(client, f"{url}/v2/{MODEL}/manifests/{PARTLY_HERE}")
    assert status == 503
    assert any(f"the blob {IMAGE.allotments[cell].blob.digest} of" in said for cell in ((1, 2), (2, 1), (2, 2)))


async def test_a_refused_connection_costs_nothing_and_the_first_pull_after_it_is_fresh(tmp_path: Path) -> None:
    line = Line()
    async with served(line.answer) as upstream, node(upstream, tmp_path) as url:
        before = await pulled(url, PULLED, warned=False)
    async with node(upstream, tmp_path) as url:  # which starts while its upstream is down
        started = time.monotonic()
        assert await pulled(url, PULLED) == before
        await pulled(url, NEVER_CUT)
        assert time.monotonic() - started < 1
        line.registry.image = NEWER
        async with served(line.answer, port=int(upstream.rpartition(":")[2])):
            assert await pulled(url, "v1", warned=False) == NEWER.digest


async def test_a_registry_whose_name_is_not_known_any_more_is_down(tmp_path: Path) -> None:
    line = Line()
    async with served(line.answer) as upstream, node(upstream, tmp_path) as url:
        before = await pulled(url, PULLED, warned=False)
    async with node("http://registry.invalid:5000", tmp_path) as url:
        assert await pulled(url, PULLED) == before


async def test_a_registry_with_a_certificate_of_another_is_down(tmp_path: Path) -> None:
    line, authority, other = Line(), Authority(tmp_path), Authority(tmp_path, "other")
    good, bad = (one.issue(name, "127.0.0.1") for one, name in ((authority, "good"), (other, "bad")))
    trusted = {"upstream__ca_file": str(authority.bundle)}
    async with (
        served(line.answer, good.server_context()) as upstream,
        node(upstream, tmp_path / "edge", **trusted) as url,
    ):
        before = await pulled(url, PULLED, warned=False)
    async with (
        served(line.answer, bad.server_context(), int(upstream.rpartition(":")[2])),
        node(upstream, tmp_path / "edge", **trusted) as url,
    ):
        assert await pulled(url, PULLED) == before


async def test_a_registry_that_hangs_costs_one_short_time_out_for_all_devices(
    tmp_path: Path, client: aiohttp.ClientSession
) -> None:
    line = Line()
    async with served(line.answer) as upstream, node(upstream, tmp_path) as url:
        before = await pulled(url, PULLED, warned=False)
        line.is_silent = True
        started = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            devices = [tasks.create_task(pulled(url, PULLED)) for _ in range(20)]
        assert {device.result() for device in devices} == {before}
        assert time.monotonic() - started < 2
        started = time.monotonic()
        await pulled(url, NEVER_CUT)
        assert time.monotonic() - started < 0.4  # nobody waits any more
        line.is_silent = False
        line.released.set()

        async def is_fresh() -> bool:
            return "Warning" not in (await get(client, url + TAG, "HEAD"))[1]


async def test_a_registry_that_goes_away_in_the_middle_of_a_pull_is_not_missed(
    tmp_path: Path, client: aiohttp.ClientSession
) -> None:
    line = Line()
    async with served(line.answer) as upstream, node(upstream, tmp_path) as url:
        await pulled(url, PULLED, warned=False)
        _, headers, index = await get(client, f"{url}/v2/{MODEL}/manifests/{PULLED}")
        line.outage = cut_off
        for target in (headers["Docker-Content-Digest"], *(one["digest"] for one in index["manifests"])):
            assert (await get(client, f"{url}/v2/{MODEL}/manifests/{target}"))[0] == 200


async def test_the_greeting_of_a_registry_is_given_again(tmp_path: Path, client: aiohttp.ClientSession) -> None:
    line = Line()
    async with served(line.answer) as upstream, node(upstream, tmp_path) as url:
        assert (await get(client, f"{url}/v2/"))[0] == 200
        line.outage = page(503)
        status, headers, _ = await get(client, f"{url}/v2/")
        assert (status, headers["Warning"]) == (200, STALE)


async def test_a_client_that_has_the_document_is_told_so(tmp_path: Path, client: aiohttp.ClientSession) -> None:
    line = Line()
    async with served(line.answer) as upstream, node(upstream, tmp_path) as url:
        for outage in (None, None, page(500)):
            line.outage = outage
            for method in ("GET", "HEAD"):
                status, headers, body = await get(client, url + TAG, method)
                assert (status, headers["Docker-Content-Digest"]) == (200, IMAGE.digest)
                given = {"If-None-Match": f'W/"x", "{IMAGE.digest}"'} if "ETag" in headers else {}
                if given:
                    status, _, body = await get(client, url + TAG, method, **given)
                    assert (status, body) == (304, b"")


async def test_signatures_and_referrers_are_there_as_they_were(tmp_path: Path, client: aiohttp.ClientSession) -> None:
    listed: dict[str, Any] = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json"}

    async def referring(request: web.Request) -> web.StreamResponse | None:
        if "/referrers/" not in request.path:
            return None
        return web.json_response(
            listed | {"manifests": []},
            content_type=listed["mediaType"],
            headers={"OCI-Filters-Applied": "artifactType"},
        )

    line = Line(FakeRegistry(IMAGE, referring))
    signature = f"/v2/{MODEL}/manifests/{IMAGE.digest.replace(':', '-')}.sig"
    referrers = f"/v2/{MODEL}/referrers/{IMAGE.digest}?artifactType=a%2Fb"
    async with served(line.answer) as upstream, node(upstream, tmp_path) as url:
        await pulled(url, "v1", warned=False)
        before = [await get(client, url + target) for target in (signature, referrers)]
        line.outage = page(500)
        after = [await get(client, url + target) for target in (signature, referrers)]
    for (status, headers, body), (status_later, later, body_later) in zip(before, after, strict=True):
        assert (status, body) == (status_later, body_later)
        assert ("Warning" in headers, later["Warning"]) == (False, STALE)
    assert [status for status, _, _ in before] == [404, 200]
    assert after[1][1]["OCI-Filters-Applied"] == "artifactType"


async def test_who_was_refused_before_is_refused_offline_in_the_same_words_for_all_there_is(
    tmp_path: Path, client: aiohttp.ClientSession
) -> None:
    async def guarded(request: web.Request) -> web.StreamResponse | None:
        is_allowed = request.headers.get("Authorization") == "Bearer alice"
        return None if is_allowed else web.json_response({"errors": [{"code": "DENIED"}]}, status=403)

    line = Line(FakeRegistry(IMAGE, guarded))
    bob = {"Authorization": "Bearer bob"}
    async with served(line.answer) as upstream, node(upstream, tmp_path) as url:
        before = await pulled(url, PULLED, warned=False, who="alice")
        with pytest.raises(PullError, match="403"):
            await pulled(url, PULLED, who="bob")
    async with node(upstream, tmp_path) as url:
        assert await pulled(url, PULLED, who="alice") == before
        said = set()
        for reference in (PULLED, "v1", before, "v7--0.0.1.1", "v7"):
            status, _, words = await message(client, f"{url}/v2/{MODEL}/manifests/{reference}", **bob)
            assert status == 503
            said.add(words)
        for blob in (IMAGE.blobs[0].digest, "sha256:" + "0" * 64):
            status, _, words = await message(client, f"{url}/v2/{MODEL}/blobs/{blob}", **bob)
            assert status == 503
            said.add(words)
        assert len(said) == 1, said
        assert "your credentials were not accepted here" in said.pop()


async def test_a_deleted_tag_is_gone_and_stays_gone(tmp_path: Path, client: aiohttp.ClientSession) -> None:
    line = Line()
    async with served(line.answer) as upstream, node(upstream, tmp_path) as url:
        await pulled(url, PULLED, warned=False)
        line.outage = lambda _: web.json_response({"errors": [{"code": "MANIFEST_UNKNOWN"}]}, status=404)
        assert (await get(client, url + f"/v2/{MODEL}/manifests/{PULLED}"))[0] == 404
        line.outage = page(500)
        assert (await get(client, url + f"/v2/{MODEL}/manifests/{PULLED}"))[0] == 404


async def test_partitions_are_signed_offline_as_they_are_online(tmp_path: Path, client: aiohttp.ClientSession) -> None:
    """The never cut one, too: its signature manifest, the payload behind it, and the list of referrers."""
    line, keys = Line(), KeyPair.generate(tmp_path, "signer")
    signing = {"signing__key": str(keys.private), "signing__registry": "registry.example.org"}

    async def signed(url: str, tag: str) -> list[Any]:
        _, headers, _ = await get(client, f"{url}/v2/{MODEL}/manifests/{tag}")
        digest = headers["Docker-Content-Digest"]
        signature = await get(client, f"{url}/v2/{MODEL}/manifests/{digest.replace(':', '-')}.sig")
        referrers = await get(client, f"{url}/v2/{MODEL}/referrers/{digest}")
        assert signature[0] == referrers[0] == 200
        blobs = [await get(client, f"{url}/v2/{MODEL}/blobs/{one['digest']}") for one in signature[2]["layers"]]
        return [signature[2], referrers[2], *(content for _, _, content in blobs)]

    async with served(line.answer) as upstream, node(upstream, tmp_path / "edge", **signing) as url:
        await pulled(url, PULLED, warned=False)
        online = await signed(url, PULLED)
        line.outage = page(500)
        assert await signed(url, PULLED) == online
        never = await signed(url, NEVER_CUT)
        assert never[0]["layers"]
    async with node(upstream, tmp_path / "edge", **signing) as url:
        assert await signed(url, PULLED) == online
        assert await signed(url, NEVER_CUT) == never
