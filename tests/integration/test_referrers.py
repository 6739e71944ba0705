"""A registry that knows the referrers API: its list comes first, ours is added, and only to what is ours."""

import json
from collections.abc import AsyncIterator, Mapping

import aiohttp
import pytest
from aiohttp import web

from tests.lab.documents import OCI
from tests.lab.fake_registry import FakeRegistry, proxied, serving
from tests.lab.images import build_image
from tests.lab.peers import require
from tests.lab.signing import BUNDLE_TYPE, SIGNATURE_TYPE, KeyPair
from twodfs.oci.digest import digest_of

IMAGE = build_image({(0, 0): {"a": b"a"}, (0, 1): {"b": b"b"}})
ALL = {"Accept": f"{OCI.index}, {OCI.manifest}"}
SBOM = {"mediaType": OCI.manifest, "digest": f"sha256:{'5' * 64}", "size": 5, "artifactType": "text/sbom"}
LISTED = {"schemaVersion": 2, "mediaType": OCI.index, "manifests": [SBOM]}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    require("openssl")
    return KeyPair.generate(tmp_path_factory.mktemp("keys"), "signing")


@pytest.fixture
async def registry() -> AsyncIterator[FakeRegistry]:
    async with serving(FakeRegistry(IMAGE)) as started:
        yield started


def lists(registry: FakeRegistry, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
    async def interpose(request: web.Request) -> web.StreamResponse | None:
        if "/referrers/" not in request.path:
            return None
        return web.Response(status=status, body=body, headers={"Content-Type": OCI.index, **(headers or {})})

    registry.interpose = interpose


async def ask(
    registry: FakeRegistry, keys: KeyPair, query: str = "", digest: str | None = None
) -> tuple[int, Mapping[str, str], bytes]:
    """Pull a partition through a proxy that signs, and ask what refers to it, or to `digest`."""
    async with (
        proxied(registry.url, signing__key=str(keys.private)) as proxy,
        aiohttp.ClientSession(headers=ALL) as session,
    ):
        async with session.get(f"{proxy}/v2/team/model/manifests/v1--0.0.0.0") as pulled:
            ours = digest_of(await pulled.read())
        async with session.get(f"{proxy}/v2/team/model/referrers/{digest or ours}{query}") as answer:
            return answer.status, dict(answer.headers), await answer.read()


async def test_the_registrys_own_referrers_stay_and_ours_follows(registry: FakeRegistry, keys: KeyPair) -> None:
    lists(registry, json.dumps(LISTED).encode())
    status, headers, body = await ask(registry, keys)
    first, *ours = json.loads(body)["manifests"]
    assert (status, headers["Content-Type"], first) == (200, OCI.index, SBOM)
    assert [one["artifactType"] for one in ours] == [SIGNATURE_TYPE, BUNDLE_TYPE]
    assert "OCI-Filters-Applied" not in headers


@pytest.mark.parametrize(("wanted", "found"), [(SIGNATURE_TYPE, 1), ("text/sbom", 1), ("other", 0)])
async def test_a_filter_is_applied_where_the_registry_does_not(
    registry: FakeRegistry, keys: KeyPair, wanted: str, found: int
) -> None:
    lists(registry, json.dumps(LISTED).encode())
    status, headers, body = await ask(registry, keys, f"?artifactType={wanted}")
    listed = json.loads(body)["manifests"]
    assert (status, headers["OCI-Filters-Applied"]) == (200, "artifactType")
    assert [one["artifactType"] for one in listed] == [wanted] * found
    (asked,) = [one for one in registry.requests if "/referrers/" in one.path]
    assert asked.query == {"artifactType": wanted}


async def test_the_link_to_the_next_page_comes_back_to_us(registry: FakeRegistry, keys: KeyPair) -> None:
    link = f'<{registry.url}/v2/team/model/referrers/x?last=5>; rel="next"'
    lists(registry, json.dumps(LISTED).encode(), headers={"Link": link})
    _, headers, _ = await ask(registry, keys)
    assert registry.url not in headers["Link"]
    assert "/v2/team/model/referrers/x?last=5" in headers["Link"]


@pytest.mark.parametrize("status", [400, 404, 405, 406, 501])
async def test_a_registry_without_the_api_leaves_the_list_to_us(
    registry: FakeRegistry, keys: KeyPair, status: int
) -> None:
    lists(registry, b"no such page", status)
    answered, _, body = await ask(registry, keys)
    assert (answered, len(json.loads(body)["manifests"])) == (200, 2)


@pytest.mark.parametrize(
    ("status", "body"),
    [(401, b"who are you"), (403, b"no"), (500, b"oh"), (200, b"no JSON"), (200, b'{"manifests": 7}')],
)
async def test_any_other_answer_comes_through_as_it_is(
    registry: FakeRegistry, keys: KeyPair, status: int, body: bytes
) -> None:
    lists(registry, body, status)
    answered, _, came = await ask(registry, keys)
    assert (answered, came) == (status, body)


async def test_what_is_not_ours_is_not_touched(registry: FakeRegistry, keys: KeyPair) -> None:
    untidy = b'{ "manifests" : [ ] , "mediaType":"x" }'
    lists(registry, untidy)
    answered, _, came = await ask(registry, keys, digest=IMAGE.top.digest)
    assert (answered, came) == (200, untidy)


async def test_a_further_page_is_the_registrys(registry: FakeRegistry, keys: KeyPair) -> None:
    lists(registry, b"page two")
    answered, _, came = await ask(registry, keys, "?last=5")
    assert (answered, came) == (200, b"page two")


def pages(registry: FakeRegistry, count: int) -> None:
    """Have lists of `count` pages with an entry each."""

    async def interpose(request: web.Request) -> web.StreamResponse | None:
        if "/referrers/" not in request.path:
            return None
        at = int(request.query.get("page", "0"))
        entry = SBOM | {"digest": f"sha256:{at:064}"}
        link = {"Link": f'<{registry.url}{request.path}?page={at + 1}>; rel="next"'} if at + 1 < count else {}
        body = json.dumps(LISTED | {"manifests": [entry]})
        return web.Response(text=body, headers={"Content-Type": OCI.index, **link})

    registry.interpose = interpose


async def test_the_pages_of_a_list_come_as_one(registry: FakeRegistry, keys: KeyPair) -> None:
    """cosign reads the first page alone, and would find nobody's signatures behind it."""
    pages(registry, 5)
    _, headers, body = await ask(registry, keys)
    found = [one["digest"] for one in json.loads(body)["manifests"]]
    assert (found[:-2], "Link" in headers) == ([f"sha256:{at:064}" for at in range(5)], False)


async def test_of_a_list_without_end_16_pages_are_read_and_the_rest_is_left_to_the_client(
    registry: FakeRegistry, keys: KeyPair
) -> None:
    pages(registry, 1_000_000)
    _, headers, body = await ask(registry, keys)
    assert len(json.loads(body)["manifests"]) == 16 + 2
    assert headers["Link"].endswith('?page=16>; rel="next"')
    assert registry.url not in headers["Link"]
    assert len([one for one in registry.requests if "/referrers/" in one.path]) == 16


@pytest.mark.parametrize(
    "target", ["http://127.0.0.2:9/v2/team/model/tags/list?n=1", "/v2/team/other/referrers/x?n=1", "", "?"]
)
async def test_a_link_to_anything_else_is_not_followed(registry: FakeRegistry, keys: KeyPair, target: str) -> None:
    lists(registry, json.dumps(LISTED).encode(), headers={"Link": f'<{target}>; rel="next"'})
    status, headers, _ = await ask(registry, keys)
    assert (status, headers["Link"]) == (200, f'<{target}>; rel="next"')
    assert len([one for one in registry.requests if "/referrers/" in one.path]) == 1


@pytest.mark.parametrize(("body", "times"), [(b"404 page not found", 1), (b'{"errors":[{"code":"NAME_UNKNOWN"}]}', 3)])
async def test_that_a_registry_has_no_api_is_remembered_but_not_what_it_says_of_a_repository(
    registry: FakeRegistry, keys: KeyPair, body: bytes, times: int
) -> None:
    lists(registry, body, 404)
    async with (
        proxied(registry.url, signing__key=str(keys.private)) as proxy,
        aiohttp.ClientSession() as session,
    ):
        for _ in range(3):
            async with session.get(f"{proxy}/v2/team/model/referrers/{IMAGE.top.digest}") as answer:
                assert (answer.status, (await answer.json(content_type=None))["manifests"]) == (200, [])
    assert len([one for one in registry.requests if "/referrers/" in one.path]) == times


async def test_what_is_no_index_is_no_api(registry: FakeRegistry, keys: KeyPair) -> None:
    async def interpose(request: web.Request) -> web.StreamResponse | None:
        is_asked = "/referrers/" in request.path
        return web.Response(text="<html>", content_type="text/html") if is_asked else None

    registry.interpose = interpose
    status, _, body = await ask(registry, keys)
    assert (status, len(json.loads(body)["manifests"])) == (200, 2)


@pytest.mark.parametrize("status", [401, 403, 500])
async def test_without_the_api_what_is_said_of_the_tag_comes_through(
    registry: FakeRegistry, keys: KeyPair, status: int
) -> None:
    async def interpose(request: web.Request) -> web.StreamResponse | None:
        if "/referrers/" in request.path:
            return web.Response(status=404, text="no such page")
        if "/manifests/sha256-" in request.path:
            return web.Response(status=status, text="not for you", headers={"WWW-Authenticate": "Basic"})
        return None

    registry.interpose = interpose
    for digest in (None, IMAGE.top.digest, f"sha256:{'0' * 64}"):
        answered, headers, body = await ask(registry, keys, digest=digest)
        assert (answered, headers["WWW-Authenticate"], body) == (status, "Basic", b"not for you")


async def test_the_signature_names_the_upstream_where_nothing_else_is_configured(
    registry: FakeRegistry, keys: KeyPair
) -> None:
    named = []
    for more in (
        {},
        {"public_url": "https://proxy.example.org:8443"},
        {"signing__registry": "r.example.org"},
    ):
        settings = {"signing__key": str(keys.private), **more}
        async with (
            proxied(registry.url, **settings) as proxy,
            aiohttp.ClientSession(headers=ALL) as session,
        ):
            base = f"{proxy}/v2/team/model"
            async with session.get(f"{base}/manifests/v1--0.0.0.0") as pulled:
                digest = digest_of(await pulled.read())
            async with session.get(f"{base}/manifests/{digest.replace(':', '-')}.sig") as answer:
                layer = json.loads(await answer.read())["layers"][0]["digest"]
            async with session.get(f"{base}/blobs/{layer}") as answer:
                named.append(json.loads(await answer.read())["critical"]["identity"]["docker-reference"])
    upstream = registry.url.removeprefix("http://")
    hosts = (upstream, "proxy.example.org:8443", "r.example.org")
    assert named == [f"{host}/team/model" for host in hosts]
