"""Named partitions in lists of tags: of the stock registry, which gives all at once, and of one that has pages."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urljoin

import aiohttp
import pytest
from aiohttp import web

from proxy.tags.look_ups import MOST_LOOKED_UP
from tests.lab.command import run
from tests.lab.documents import FieldStyle
from tests.lab.fake_registry import FakeRegistry, proxied, serving
from tests.lab.images import Image, build_image, push
from tests.lab.partition_requests import get
from tests.lab.peers import require
from tests.lab.programs import environment, program
from tests.lab.redis import Redis
from tests.lab.registry import Registry
from tests.lab.registry_client import basic

CELLS = {(row, column): {f"{row}/{column}": b"%d:%d" % (row, column)} for row in range(2) for column in range(2)}
ALICE = {"Authorization": "Bearer alice"}
BOB = {"Authorization": "Bearer bob"}
LIST = "/v2/team/model/tags/list"


def named(**partitions: str) -> Image:
    return build_image(CELLS, kind="oci-manifest", field_style=FieldStyle(more={"partitions": partitions}))


PLAIN = build_image(None, kind="oci-manifest")
ONE, TWO = named(edge="0.0.0.1", gpu="1.0.1.1"), named(edge="0.0.1.1")
IMAGES = {"v1": ONE, "v10": TWO, "base": PLAIN, "v1-rc": TWO, "v1--0.0.0.0": PLAIN, "v1--edge": PLAIN, "V2": ONE}
EVERYTHING = [
    *("V2", "V2--edge", "V2--gpu", "base", "v1", "v1--0.0.0.0", "v1--edge", "v1--gpu"),
    *("v1-rc", "v1-rc--edge", "v10", "v10--edge"),
]


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


@pytest.fixture(scope="module")
def repository(registry: Registry) -> str:
    """The images in the stock registry, beside a signature of one of them."""
    for tag, image in {**IMAGES, ONE.digest.replace(":", "-") + ".sig": PLAIN}.items():
        push(image, registry.url, "tags/list", tag)
    return "tags/list"


SIGNATURE = ONE.digest.replace(":", "-") + ".sig"
STOCK = sorted([*EVERYTHING, SIGNATURE])


async def listed(client: aiohttp.ClientSession, url: str, **headers: str) -> list[list[str]]:
    """Return the pages of a list for a client that goes where each says."""
    pages = []
    following: str | None = url
    while following is not None:
        status, answered, body = await get(client, following, **headers)
        assert status == 200, body
        pages.append(body["tags"] or [])
        link = re.fullmatch(r'<([^>]*)>; ?rel="?next"?', answered.get("Link", ""))
        following = urljoin(url, link[1]) if link else None
    return pages


async def test_named_partitions_stand_beside_their_tags_and_can_be_pulled(
    client: aiohttp.ClientSession, registry: Registry, repository: str
) -> None:
    async with proxied(registry.url, upstream__list_partitions="true") as url:
        assert await listed(client, f"{url}/v2/{repository}/tags/list") == [STOCK]
        for tag in EVERYTHING:
            assert (await get(client, f"{url}/v2/{repository}/manifests/{tag}"))[0] == 200


async def test_without_the_setting_the_list_is_the_registrys(
    client: aiohttp.ClientSession, registry: Registry, repository: str
) -> None:
    target = f"/v2/{repository}/tags/list?n=2"
    async with (
        proxied(registry.url) as url,
        client.get(registry.url + target) as own,
        client.get(url + target) as got,
    ):
        assert await got.read() == await own.read()


@pytest.mark.parametrize("most", [1, 2, 3, 7, 13, 14, 1000])
async def test_pages_of_a_registry_that_has_none(
    client: aiohttp.ClientSession, registry: Registry, repository: str, most: int
) -> None:
    async with proxied(registry.url, upstream__list_partitions="true") as url:
        pages = await listed(client, f"{url}/v2/{repository}/tags/list?n={most}")
    assert [entry for page in pages for entry in page] == STOCK
    assert all(len(page) == most for page in pages[:-1])
    assert len(pages[-1]) <= most


async def test_pages_of_a_client_that_counts_by_itself(
    client: aiohttp.ClientSession, registry: Registry, repository: str
) -> None:
    entries: list[str] = []
    async with proxied(registry.url, upstream__list_partitions="true") as url:
        while True:
            last = f"&last={entries[-1]}" if entries else ""
            _, _, body = await get(client, f"{url}/v2/{repository}/tags/list?n=3{last}")
            if not body["tags"]:
                break
            entries += body["tags"]
    assert entries == STOCK


@pytest.mark.parametrize(("path", "query"), [("/v2/hub/", ""), ("/v2/", "&ns=hub.example")])
async def test_the_next_page_leads_to_the_registry_that_was_chosen(
    client: aiohttp.ClientSession, registry: Registry, repository: str, path: str, query: str
) -> None:
    settings = {"upstream__prefix": "hub", "upstream__namespaces": "hub.example", "upstream__list_partitions": "true"}
    async with proxied(registry.url, **settings) as url:
        target = f"{path}{repository}/tags/list?n=5{query}"
        pages = await listed(client, url + target)
        assert [entry for page in pages for entry in page] == STOCK
        _, headers, _ = await get(client, url + target)
    assert headers["Link"] == f'<{path}{repository}/tags/list?last={SIGNATURE}&n=5{query}>; rel="next"'


@dataclass
class Paged(FakeRegistry):
    """Lists tags as the specification says; `denied` has the tags that a client may not read, by its header."""

    tagged: Mapping[str, Image] = field(default_factory=lambda: IMAGES)
    denied: dict[str, set[str]] = field(default_factory=dict)
    failing: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.interpose = self.paged

    async def paged(self, request: web.Request) -> web.Response | None:
        who = request.headers.get("Authorization", "")
        reference = request.path.rpartition("/")[2]
        if who not in ("Bearer alice", "Bearer bob"):
            return web.json_response({"errors": [{"code": "UNAUTHORIZED"}]}, status=401)
        if request.path.endswith("/tags/list"):
            return self.page(request)
        if reference in self.failing:
            return web.json_response({"errors": [{"code": "UNAVAILABLE"}]}, status=503)
        if reference in self.denied.get(who, ()):
            return web.json_response({"errors": [{"code": "DENIED"}]}, status=403)
        return next(filter(None, (FakeRegistry(one).content(request) for one in self.images(reference))), None)

    def images(self, reference: str) -> list[Image]:
        if reference == "v1":
            return [self.tagged["v1"]]
        return [*self.tagged.values()]

    def content(self, request: web.Request) -> web.Response | None:
        """Answer for another tag than `v1`."""
        tag = request.path.rpartition("/")[2]
        if tag not in self.tagged:
            return None
        top = self.tagged[tag].top
        etag = f'"{top.digest}"'
        headers = {"Docker-Content-Digest": top.digest, "Content-Type": top.media_type, "ETag": etag}
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers=headers)
        return web.Response(body=top.content, headers=headers)

    def page(self, request: web.Request) -> web.Response:
        last = request.query.get("last", "")
        tags = [tag for tag in sorted(self.tagged) if tag > last]
        most = int(request.query.get("n", len(tags)))
        link = {"Link": f'<{LIST}?last={tags[most - 1]}&n={most}>; rel="next"'} if len(tags) > most else {}
        return web.json_response({"name": "team/model", "tags": tags[:most]}, headers=link)


@pytest.fixture
async def paged() -> AsyncIterator[Paged]:
    registry = Paged(ONE)
    async with serving(registry):
        yield registry


@pytest.mark.parametrize("most", [1, 2, 5, 100])
async def test_pages_of_a_registry_that_has_them(client: aiohttp.ClientSession, paged: Paged, most: int) -> None:
    async with proxied(paged.url, upstream__list_partitions="true") as url:
        pages = await listed(client, f"{url}{LIST}?n={most}", **ALICE)
    assert [entry for page in pages for entry in page] == EVERYTHING
    assert all(len(page) <= most for page in pages)
    asked = {request.query["last"] for request in paged.asked("GET", "/tags/list") if "last" in request.query}
    assert asked <= set(IMAGES)  # a registry need not know a place behind a tag that it does not have


async def test_images_are_looked_into_once_and_each_client_is_asked_for(
    client: aiohttp.ClientSession, paged: Paged
) -> None:
    paged.denied["Bearer bob"] = {"v1", "v10"}
    async with proxied(paged.url, upstream__list_partitions="true", auth__ttl="3600") as url:
        assert await listed(client, url + LIST, **ALICE) == [EVERYTHING]
        paged.requests.clear()
        hidden = {"v1--gpu", "v10--edge"}
        assert await listed(client, url + LIST, **BOB) == [[one for one in EVERYTHING if one not in hidden]]
        assert await listed(client, url + LIST, **ALICE) == [EVERYTHING]
    read = [request for request in paged.requests if request.method == "GET" and not request.path.endswith("/list")]
    # The words of a refusal are read, and nothing else.
    assert {request.path.rpartition("/")[2] for request in read} <= {"v1", "v10"}
    assert all(request.headers["Authorization"] == "Bearer bob" for request in read)
    looked_at = [request.path.rpartition("/")[2] for request in paged.requests if request.method == "HEAD"]
    assert {"v1--edge", "v1--0.0.0.0"}.isdisjoint(looked_at)


async def test_another_replica_does_not_look_into_the_images_again(
    client: aiohttp.ClientSession, paged: Paged, redis_server: Redis
) -> None:
    settings = {"upstream__list_partitions": "true", "cache__redis_url": redis_server.url}
    async with proxied(paged.url, **settings) as one, proxied(paged.url, **settings) as other:
        assert await listed(client, one + LIST, **ALICE) == [EVERYTHING]
        paged.requests.clear()
        assert await listed(client, other + LIST, **ALICE) == [EVERYTHING]
    assert {request.method for request in paged.requests if "/tags/" not in request.path} == {"HEAD"}


async def test_who_may_not_list_hears_the_registry(client: aiohttp.ClientSession, tmp_path: Path) -> None:
    require("docker-registry")
    with Registry.start(tmp_path, htpasswd={"alice": "a", "bob": "b"}) as registry:
        push(ONE, registry.url, "team/model", "v1", ("alice", "a"))
        async with proxied(registry.url, upstream__list_partitions="true") as url:
            expected = [["v1", "v1--edge", "v1--gpu"]]
            for user in (("alice", "a"), ("bob", "b")):
                assert await listed(client, url + LIST, Authorization=basic(*user)) == expected
            for headers in ({}, {"Authorization": basic("alice", "wrong")}):
                for target in (LIST, f"{LIST}?n=1&last=v1", "/v2/nobody/knows/tags/list"):
                    async with (
                        client.get(registry.url + target, headers=headers) as own,
                        client.get(url + target, headers=headers) as got,
                    ):
                        assert (got.status, own.status) == (401, 401)
                        assert await got.read() == await own.read()
                        assert got.headers["WWW-Authenticate"] == own.headers["WWW-Authenticate"]
            unknown = await get(client, f"{url}/v2/nobody/knows/tags/list", Authorization=basic("bob", "b"))
            assert (unknown[0], unknown[2]["errors"][0]["code"]) == (404, "NAME_UNKNOWN")


async def test_a_list_that_cannot_be_whole_says_so(client: aiohttp.ClientSession, paged: Paged) -> None:
    """An updater that is given `v1--edge` in the place of `v10--edge` would go back to it."""
    paged.failing = {"v10"}
    async with proxied(paged.url, upstream__list_partitions="true") as url:
        status, headers, body = await get(client, url + LIST, **ALICE)
        assert (status, body["tags"]) == (200, EVERYTHING[: EVERYTHING.index("v10")])
        following = re.fullmatch(r'<([^>]*)>; rel="next"', headers["Link"])
        assert following is not None
        status, _, body = await get(client, url + following[1], **ALICE)
        assert (status, body["errors"][0]["code"]) == (503, "UNAVAILABLE")
        paged.failing = set()
        assert (await listed(client, url + following[1], **ALICE))[0] == ["v10", "v10--edge"]


async def test_the_work_for_a_page_is_bounded(
    client: aiohttp.ClientSession, paged: Paged, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MOST_LOOKED_UP == 500
    monkeypatch.setattr("proxy.tags.look_ups.MOST_LOOKED_UP", 40)
    paged.tagged = {f"v{number:03}": ONE for number in range(100)} | {"v1": ONE}
    async with proxied(paged.url, upstream__list_partitions="true") as url:
        _, headers, body = await get(client, url + LIST, **ALICE)
        assert len(paged.asked("HEAD", "")) == 40
        assert (len(body["tags"]), headers["Link"]) == (120, f'<{LIST}?last=v039--gpu>; rel="next"')
        paged.requests.clear()
        _, _, body = await get(client, f"{url}{LIST}?n=6&last=v039--gpu", **ALICE)
        assert body["tags"] == [f"v04{one}{name}" for one in range(2) for name in ("", "--edge", "--gpu")]
        assert len(paged.asked("HEAD", "")) <= 8
        entries = [one for page in await listed(client, url + LIST, **ALICE) for one in page]
    assert entries == sorted(f"{tag}{name}" for tag in paged.tagged for name in ("", "--edge", "--gpu"))


@pytest.mark.parametrize("query", ["?n=0", "?n=many", "?last=zzz", "?n=3&last=zzz"])
async def test_odd_questions(
    client: aiohttp.ClientSession, registry: Registry, repository: str, paged: Paged, query: str
) -> None:
    if "last" in query:  # beyond the end
        async with proxied(paged.url, upstream__list_partitions="true") as url:
            assert await listed(client, f"{url}{LIST}{query}", **ALICE) == [[]]
    async with proxied(registry.url, upstream__list_partitions="true") as url:
        target = f"/v2/{repository}/tags/list{query}"
        async with client.get(registry.url + target) as own, client.get(url + target) as got:
            assert (got.status, await got.read()) == (own.status, await own.read())


async def test_a_faulty_image_has_no_partitions_and_harms_no_other(client: aiohttp.ClientSession, paged: Paged) -> None:
    faulty = build_image(CELLS, kind="oci-manifest", field_style=FieldStyle(more={"partitions": {"Edge!": "0.0.0.1"}}))
    paged.tagged = {**IMAGES, "v0": faulty}
    async with proxied(paged.url, upstream__list_partitions="true") as url:
        for _ in range(2):
            assert await listed(client, url + LIST, **ALICE) == [sorted([*EVERYTHING, "v0"])]
    assert len(paged.asked("GET", faulty.top.digest)) == 1


async def test_an_edge_node_lists_online_and_has_the_registrys_error_offline(
    client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    require("docker-registry")
    with Registry.start(tmp_path) as registry:
        push(ONE, registry.url, "team/model", "v1")
        settings = {"upstream__list_partitions": "true", "edge__directory": str(tmp_path / "edge")}
        async with proxied(registry.url, **settings) as url:
            assert await listed(client, url + LIST) == [["v1", "v1--edge", "v1--gpu"]]
            registry.stop()
            status, _, body = await get(client, url + LIST)
            assert (status, body["errors"][0]["code"]) == (502, "UNAVAILABLE")


async def test_skopeo_lists_partitions(registry: Registry, repository: str) -> None:
    require("skopeo")
    async with proxied(registry.url, upstream__list_partitions="true") as url:
        image = f"docker://{url.removeprefix('http://')}/{repository}"
        argv = (program("skopeo"), "list-tags", "--tls-verify=false", image)
        told = await asyncio.to_thread(run, argv, environment())
    assert json.loads(told)["Tags"] == STOCK
