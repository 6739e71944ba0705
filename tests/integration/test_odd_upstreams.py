"""Registries that answer differently from Debian's, badly, or with a no."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from proxy.metrics.catalogue import IN_FLIGHT
from tests.lab.documents import OCI, FieldStyle
from tests.lab.fake_registry import Answer, FakeRegistry, proxied, served, serving, until
from tests.lab.images import build_image
from tests.lab.partition_requests import CELLS, IMAGE, TAG, get, message, with_field
from twodfs.oci.digest import digest_of


@pytest.fixture
async def registry() -> AsyncIterator[FakeRegistry]:
    async with serving(FakeRegistry(IMAGE)) as started:
        yield started


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


def refusing(status: int, method: str, ending: str, **headers: str) -> Answer:
    async def refuse(request: web.Request) -> web.StreamResponse | None:
        if request.method != method or not request.path.endswith(ending):
            return None
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.json_response({"errors": [{"code": "NO", "message": "said no"}]}, status=status, headers=named)

    return refuse


async def test_a_registry_whose_head_lacks_the_digest_is_asked_by_get(
    registry: FakeRegistry, client: aiohttp.ClientSession
) -> None:
    async def forgetful(request: web.Request) -> web.StreamResponse | None:
        answer = registry.content(request)
        if answer is not None:
            answer.headers.pop("Docker-Content-Digest")
        return answer

    async with proxied(registry.url) as url:
        status, usual, _ = await get(client, url + TAG)
        assert status == 200
    registry.interpose = forgetful
    async with proxied(registry.url) as url:
        status, headers, body = await get(client, url + TAG)
        assert status == 200
        assert headers["Docker-Content-Digest"] == usual["Docker-Content-Digest"]
        assert len(body["manifests"]) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 405, 500])
async def test_a_registry_that_answers_head_badly_is_asked_by_get(
    registry: FakeRegistry, client: aiohttp.ClientSession, status: int
) -> None:
    registry.interpose = refusing(status, "HEAD", "/manifests/v1")
    async with proxied(registry.url) as url:
        assert (await get(client, url + TAG))[0] == 200


@pytest.mark.parametrize("manners", ["no length", "unauthorized", "whole blob"])
async def test_sizes_are_found_where_head_does_not_tell_them(
    registry: FakeRegistry, client: aiohttp.ClientSession, manners: str
) -> None:
    allotments = {layer.blob.digest: layer.blob.content for layer in IMAGE.allotments.values()}

    async def shy(request: web.Request) -> web.StreamResponse | None:
        content = allotments.get(request.path.rpartition("/")[2])
        if content is None:
            return None
        if request.method == "HEAD":
            if manners != "no length":
                return web.Response(status=401)
            response = web.StreamResponse()
            response.enable_chunked_encoding()
            return response
        if manners == "whole blob":
            return web.Response(body=content)
        assert request.headers["Range"] == "bytes=0-0"
        return web.Response(status=206, body=content[:1], headers={"Content-Range": f"bytes 0-0/{len(content)}"})

    registry.interpose = shy
    async with proxied(registry.url) as url:
        status, _, index = await get(client, url + TAG)
        assert status == 200
        target = f"{url}/v2/team/model/manifests/{index['manifests'][0]['digest']}"
        _, _, manifest = await get(client, target)
    sizes = {layer["digest"]: layer["size"] for layer in manifest["layers"][1:]}
    assert sizes == {digest: len(allotments[digest]) for digest in sizes}
    assert len(sizes) == 4


async def test_sizes_are_asked_once_and_remembered(registry: FakeRegistry, client: aiohttp.ClientSession) -> None:
    async with proxied(registry.url) as url:
        await get(client, url + "/v2/team/model/manifests/v1--0.0.1.1")
        await get(client, url + "/v2/team/model/manifests/v1--0.0.2.2")
    heads = [one.path for one in registry.requests if one.method == "HEAD" and "/blobs/" in one.path]
    assert len(heads) == len(set(heads)) == 9


async def test_no_size_is_asked_that_the_field_records(client: aiohttp.ClientSession) -> None:
    image = build_image(CELLS, field_style=FieldStyle(sizes=True))
    async with serving(FakeRegistry(image)) as registry, proxied(registry.url) as url:
        assert (await get(client, url + TAG))[0] == 200
        assert not [one for one in registry.requests if one.method == "HEAD" and "/blobs/" in one.path]


async def test_redirected_documents_are_followed_without_the_clients_credentials(
    registry: FakeRegistry, client: aiohttp.ClientSession
) -> None:
    seen: list[web.Request] = []

    async def storage(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        return registry.content(request) or web.Response(status=404)

    async with served(storage) as storage_url:

        async def elsewhere(request: web.Request) -> web.StreamResponse | None:
            if "/blobs/" not in request.path:
                return None
            return web.Response(status=307, headers={"Location": storage_url + request.path_qs})

        registry.interpose = elsewhere
        async with proxied(registry.url, blobs__allowed_networks="127.0.0.0/8") as url:
            assert (await get(client, url + TAG, Authorization="Bearer secret", Cookie="a=b"))[0] == 200
            blob = f"/v2/team/model/blobs/{IMAGE.blobs[0].digest}"
            status, headers, _ = await get(client, url + blob)
            assert (status, headers["Location"]) == (307, storage_url + blob)
    assert seen
    assert not [one for one in seen if "Authorization" in one.headers or "Cookie" in one.headers]
    asked = [one for one in registry.requests if "/blobs/" in one.path and one.path != blob]
    assert all(one.headers["Authorization"] == "Bearer secret" for one in asked)


async def test_a_redirect_that_goes_round_ends_in_an_error(
    registry: FakeRegistry, client: aiohttp.ClientSession
) -> None:
    async def round_and_round(request: web.Request) -> web.StreamResponse | None:
        location = {"Location": request.path_qs}
        return web.Response(status=307, headers=location) if "/blobs/" in request.path else None

    registry.interpose = round_and_round
    async with proxied(registry.url) as url:
        status, code, said = await message(client, url + TAG)
    assert (status, code) == (502, "UNAVAILABLE")
    assert "redirects more than 5 times" in said


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", [401, 403, 429])
async def test_the_registrys_no_comes_through_as_it_is(
    registry: FakeRegistry, client: aiohttp.ClientSession, status: int, method: str
) -> None:
    challenge = 'Bearer realm="https://auth.example/token",service="example"'

    async def refuse(_: web.Request) -> web.StreamResponse | None:
        headers = {"WWW-Authenticate": challenge, "Retry-After": "7"}
        return web.json_response({"errors": [{"code": "NO"}]}, status=status, headers=headers)

    registry.interpose = refuse
    async with proxied(registry.url) as url:
        answered, headers, body = await get(client, url + TAG, method)
    assert answered == status
    assert (headers["WWW-Authenticate"], headers["Retry-After"]) == (challenge, "7")
    assert body == ({"errors": [{"code": "NO"}]} if method == "GET" else b"")


async def test_nothing_made_is_served_without_the_registrys_yes_for_this_client(
    registry: FakeRegistry, client: aiohttp.ClientSession
) -> None:
    async def guarded(request: web.Request) -> web.StreamResponse | None:
        allowed = request.headers.get("Authorization") == "Bearer alice"
        return None if allowed else web.json_response({"errors": [{"code": "DENIED"}]}, status=403)

    registry.interpose = guarded
    async with proxied(registry.url, cache__tag_ttl="60") as url:
        _, headers, index = await get(client, url + TAG, Authorization="Bearer alice")
        child = f"/v2/team/model/manifests/{index['manifests'][0]['digest']}"
        _, _, manifest = await get(client, url + child, Authorization="Bearer alice")
        config = f"/v2/team/model/blobs/{manifest['config']['digest']}"
        pinned = f"/v2/team/model/manifests/{headers['Docker-Content-Digest']}"
        for target in (TAG, pinned, child, config):
            for method in ("GET", "HEAD"):
                assert (await get(client, url + target, method, Authorization="Bearer alice"))[0] == 200
                assert (await get(client, url + target, method, Authorization="Bearer mallory"))[0] == 403
                assert (await get(client, url + target, method))[0] == 403


async def test_what_was_read_in_one_repository_is_not_served_through_another(
    registry: FakeRegistry, client: aiohttp.ClientSession
) -> None:
    """A registry may take a manifest that names blobs which its repository does not have."""

    async def careless(request: web.Request) -> web.StreamResponse | None:
        is_foreign = request.path.startswith("/v2/mallory/") and "/blobs/" in request.path
        return web.Response(status=404) if is_foreign else None

    registry.interpose = careless
    async with proxied(registry.url) as url:
        assert (await get(client, url + TAG))[0] == 200
        stolen = TAG.replace("/v2/team/", "/v2/mallory/")
        for _ in range(2):
            status, code, _said = await message(client, url + stolen)
            assert (status, code) == (404, "MANIFEST_UNKNOWN")


async def test_what_is_asked_for_stays_known_by_digest_when_memory_is_short(
    registry: FakeRegistry, client: aiohttp.ClientSession
) -> None:
    async with proxied(registry.url, cache__memory="1MiB") as url:
        for row in range(3):
            for col in range(3):
                for last in range(3):
                    selection = f"{row}.{col}.{max(row, last)}.{max(col, last)}"
                    await get(client, f"{url}/v2/team/model/manifests/v1--{selection}", "HEAD")
                    _, _, index = await get(client, url + TAG)
                    child = f"{url}/v2/team/model/manifests/{index['manifests'][0]['digest']}"
                    assert (await get(client, child))[0] == 200


async def test_content_that_does_not_hash_is_an_error(registry: FakeRegistry, client: aiohttp.ClientSession) -> None:
    assert IMAGE.field_blob is not None
    wrong = IMAGE.field_blob.digest

    async def lying(request: web.Request) -> web.StreamResponse | None:
        return web.Response(body=b'{"rows":[]}') if request.path.endswith(wrong) else None

    registry.interpose = lying
    async with proxied(registry.url) as url:
        status, code, said = await message(client, url + TAG)
    assert (status, code) == (502, "UNAVAILABLE")
    assert "other content" in said
    assert wrong in said


async def test_a_tag_that_was_seen_is_asked_for_by_its_etag(
    registry: FakeRegistry, client: aiohttp.ClientSession
) -> None:
    etag = f'"{IMAGE.digest}"'

    async def conditional(request: web.Request) -> web.StreamResponse | None:
        if request.method != "HEAD" or not request.path.endswith("/v1"):
            return None
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304)
        answer = registry.content(request)
        assert answer is not None
        answer.headers["ETag"] = etag
        return answer

    registry.interpose = conditional
    async with proxied(registry.url) as url:
        _, _, first = await get(client, url + TAG)
        status, _, second = await get(client, url + TAG, Authorization="Basic somebody-else")
        assert (status, second) == (200, first)
        asked = registry.asked("HEAD", "/v1")
        assert [one.headers.get("If-None-Match") for one in asked] == [None, etag]
        assert asked[1].headers["Authorization"] == "Basic somebody-else"
        registry.interpose = refusing_both
        status, _, _ = await get(client, url + TAG)
        assert status == 403


async def refusing_both(request: web.Request) -> web.StreamResponse | None:
    return web.Response(status=403) if request.path.endswith("/v1") else None


@pytest.mark.parametrize("etag", ['"another"', f'W/"{IMAGE.digest}"'])
async def test_an_etag_that_is_not_the_digest_is_not_asked_for(
    registry: FakeRegistry, client: aiohttp.ClientSession, etag: str
) -> None:
    async def tagging(request: web.Request) -> web.StreamResponse | None:
        answer = registry.content(request)
        if answer is not None:
            answer.headers["ETag"] = etag
        return answer

    registry.interpose = tagging
    async with proxied(registry.url) as url:
        for _ in range(2):
            assert (await get(client, url + TAG))[0] == 200
    assert [one.headers.get("If-None-Match") for one in registry.asked("HEAD", "/v1")] == [None, None]


async def test_an_incomplete_image_is_named(registry: FakeRegistry, client: aiohttp.ClientSession) -> None:
    missing = IMAGE.platforms[1].manifest.digest
    registry.interpose = refusing(404, "GET", missing)
    async with proxied(registry.url) as url:
        status, code, said = await message(client, url + TAG)
    assert (status, code) == (404, "MANIFEST_UNKNOWN")
    assert said == f"the image is incomplete: the registry does not have {missing} of it"


async def test_a_field_that_is_too_large_is_refused(registry: FakeRegistry, client: aiohttp.ClientSession) -> None:
    async with proxied(registry.url, partition__max_field="1024") as url:
        status, _, said = await message(client, url + TAG)
    assert status == 502
    assert "longer than 1024 bytes" in said


@pytest.mark.parametrize(
    ("field", "said"),
    [
        (b"not json", "not JSON"),
        (b'{"rows":[{"allotments":[{"row":0,"col":"x","digest":"a"}]}]}', "rows[0].allotments[0]"),
        (b"[" * 10_000, "not JSON"),
    ],
)
async def test_a_malformed_field_is_named_by_its_path(client: aiohttp.ClientSession, field: bytes, said: str) -> None:
    async with (
        serving(FakeRegistry(with_field(field))) as registry,
        proxied(registry.url) as url,
    ):
        status, code, text = await message(client, url + TAG)
    assert (status, code) == (400, "MANIFEST_INVALID")
    assert text.startswith("the image in the registry is malformed")
    assert said in text


def held_until_in_flight(requests: int) -> Answer:
    """Return what keeps the registry from answering until the proxy has so many requests."""

    async def hold(_: web.Request) -> web.StreamResponse | None:
        await until(lambda: [[[], float(requests)]] == IN_FLIGHT.series() or held.is_set())
        held.set()
        return None

    held = asyncio.Event()
    return hold


async def test_identical_look_ups_at_the_same_time_are_one(
    registry: FakeRegistry, client: aiohttp.ClientSession
) -> None:
    registry.interpose = held_until_in_flight(40)
    async with proxied(registry.url) as url:
        answers = await asyncio.gather(*(get(client, url + TAG) for _ in range(40)))
    assert {status for status, _, _ in answers} == {200}
    assert len({headers["Docker-Content-Digest"] for _, headers, _ in answers}) == 1
    assert len(registry.asked("HEAD", "/manifests/v1")) == 1
    assert len([one for one in registry.requests if "/blobs/" in one.path]) == 1 + 2 + 4


async def test_different_credentials_never_share_a_look_up(
    registry: FakeRegistry, client: aiohttp.ClientSession
) -> None:
    registry.interpose = held_until_in_flight(5)
    async with proxied(registry.url) as url:
        await asyncio.gather(*(get(client, url + TAG, Authorization=f"Bearer {n}") for n in range(5)))
    asked = registry.asked("HEAD", "/manifests/v1")
    assert {one.headers["Authorization"] for one in asked} == {f"Bearer {n}" for n in range(5)}


async def test_a_client_refused_in_anothers_flight_is_served_on_its_own(
    registry: FakeRegistry, client: aiohttp.ClientSession
) -> None:
    """Alice's token runs out while the partition is cut; Bob, who waited for her flight, is still served."""

    async def expiring(request: web.Request) -> web.StreamResponse | None:
        is_alice = request.headers.get("Authorization") == "Bearer alice"
        if is_alice and "/blobs/" in request.path:
            cutting.set()
            await waiting.wait()
            await asyncio.sleep(0.1)  # Bob's answer is on its way, and then he joins her flight
            return web.Response(status=401)
        if not is_alice:
            await cutting.wait()
            waiting.set()
        return None

    cutting, waiting = asyncio.Event(), asyncio.Event()
    registry.interpose = expiring
    async with proxied(registry.url) as url:
        alice = asyncio.ensure_future(get(client, url + TAG, Authorization="Bearer alice"))
        await until(lambda: bool(registry.requests))
        bob = asyncio.ensure_future(get(client, url + TAG, Authorization="Bearer bob"))
        assert (await alice)[0] == 401
        assert (await bob)[0] == 200


async def test_a_tag_is_asked_on_every_request_by_default(
    registry: FakeRegistry, client: aiohttp.ClientSession
) -> None:
    async with proxied(registry.url) as url:
        for _ in range(3):
            await get(client, url + TAG)
    assert len(registry.asked("HEAD", "/manifests/v1")) == 3


async def test_a_tag_ttl_saves_questions_until_someone_pushes(
    registry: FakeRegistry, client: aiohttp.ClientSession
) -> None:
    async with proxied(registry.url, cache__tag_ttl="60") as url:
        for _ in range(3):
            await get(client, url + TAG)
        assert len(registry.asked("HEAD", "/manifests/v1")) == 1
        await client.put(f"{url}/v2/team/model/manifests/v1", data=b"{}")
        await get(client, url + TAG)
        assert len(registry.asked("HEAD", "/manifests/v1")) == 2


async def test_a_moved_tag_is_seen_at_once(registry: FakeRegistry, client: aiohttp.ClientSession) -> None:
    async with proxied(registry.url) as url:
        _, before, _ = await get(client, url + TAG)
        registry.image = build_image(CELLS, platforms=("linux/s390x",))
        status, after, body = await get(client, url + TAG)
    assert status == 200
    assert before["Docker-Content-Digest"] != after["Docker-Content-Digest"]
    assert [one["platform"]["architecture"] for one in body["manifests"]] == ["s390x"]


async def test_configs_with_several_sources_are_found_for_whom_may_read_one(
    client: aiohttp.ClientSession,
) -> None:
    """Two images that differ only in an annotation give the same config after the cut."""
    first, second = (build_image(CELLS, index_more={"annotations": {"build": n}}) for n in ("1", "2"))
    registry = FakeRegistry(first)
    async with serving(registry), proxied(registry.url) as url:
        configs = []
        for image in (first, second):
            registry.image = image
            _, _, index = await get(client, url + TAG)
            child = f"{url}/v2/team/model/manifests/{index['manifests'][0]['digest']}"
            _, _, manifest = await get(client, child)
            configs.append(manifest["config"]["digest"])
        assert configs[0] == configs[1]
        for image in (first, second):
            registry.image = image
            assert (await get(client, f"{url}/v2/team/model/blobs/{configs[0]}"))[0] == 200


async def test_a_made_config_can_be_read_in_ranges_and_is_not_sent_twice(
    registry: FakeRegistry, client: aiohttp.ClientSession
) -> None:
    async with proxied(registry.url) as url:
        _, headers, index = await get(client, url + TAG)
        etag = headers["Etag"]
        assert (await get(client, url + TAG, If_None_Match=etag))[0] == 304
        child = f"{url}/v2/team/model/manifests/{index['manifests'][0]['digest']}"
        _, _, manifest = await get(client, child)
        digest, size = manifest["config"]["digest"], manifest["config"]["size"]
        config = f"{url}/v2/team/model/blobs/{digest}"
        status, headers, body = await get(client, config)
        assert (status, headers["Content-Type"]) == (200, "application/octet-stream")
        assert digest_of(body) == digest
        status, headers, part = await get(client, config, Range="bytes=5-9")
        assert (status, part, headers["Content-Range"]) == (206, body[5:10], f"bytes 5-9/{size}")
        assert (await get(client, config, Range="bytes=-7"))[2] == body[-7:]
        assert (await get(client, config, Range=f"bytes={size - 3}-"))[2] == body[-3:]
        assert (await get(client, config, Range=f"bytes={size}-"))[0] == 416
        status, headers, _ = await get(client, config, "HEAD")
        assert (status, headers["Content-Length"]) == (200, str(size))


async def test_a_client_that_takes_no_index_hears_what_the_registry_says_of_the_source(
    registry: FakeRegistry, client: aiohttp.ClientSession
) -> None:
    async def negotiating(request: web.Request) -> web.StreamResponse | None:
        takes_index = OCI.index in request.headers.get("Accept", "")
        if takes_index or not request.path.endswith("/manifests/v1"):
            return None
        return web.json_response({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "an index"}]}, status=404)

    registry.interpose = negotiating
    async with proxied(registry.url) as url:
        status, code, said = await message(client, url + TAG, Accept=OCI.manifest)
        assert (status, code, said) == (404, "MANIFEST_UNKNOWN", "an index")


async def test_the_manifest_that_a_registry_picks_for_a_client_is_what_is_cut(
    registry: FakeRegistry, client: aiohttp.ClientSession
) -> None:
    """Docker's registry gives the amd64 manifest of a list to a client that takes no lists."""

    async def picking(request: web.Request) -> web.StreamResponse | None:
        if OCI.index in request.headers.get("Accept", "") or not request.path.endswith("/manifests/v1"):
            return None
        picked = IMAGE.platforms[1].manifest
        headers = {"Docker-Content-Digest": picked.digest, "Content-Type": picked.media_type}
        return web.Response(body=picked.content, headers=headers)

    registry.interpose = picking
    async with proxied(registry.url) as url:
        status, headers, manifest = await get(client, url + TAG, Accept=OCI.manifest)
        assert (status, headers["Content-Type"]) == (200, OCI.manifest)
        assert len(manifest["layers"]) == 1 + 4
        assert manifest["annotations"]["2dfs.source.digest"] == IMAGE.platforms[1].manifest.digest


async def test_a_base_tag_may_itself_look_like_a_partition(
    registry: FakeRegistry, client: aiohttp.ClientSession
) -> None:
    async def odd_tag(request: web.Request) -> web.StreamResponse | None:
        reference = request.path.rpartition("/")[2]
        if reference == "v1":
            return web.json_response({"errors": [{"code": "UNKNOWN"}]}, status=404)
        if reference != "v1--1.2.3.4":
            return None
        headers = {"Docker-Content-Digest": IMAGE.digest, "Content-Type": IMAGE.top.media_type}
        return web.Response(body=IMAGE.top.content, headers=headers)

    registry.interpose = odd_tag
    async with proxied(registry.url) as url:
        status, _, index = await get(client, f"{url}/v2/team/model/manifests/v1--1.2.3.4--0.0.0.1")
        assert status == 200
        assert index["annotations"]["2dfs.selection"] == "0.0.0.1"


async def test_a_registry_that_cannot_be_reached_is_named(client: aiohttp.ClientSession) -> None:
    async with serving(FakeRegistry(IMAGE)) as stopped:
        gone = stopped.url
    async with proxied(gone) as url:
        for target in (TAG, "/v2/", "/v2/team/model/tags/list"):
            status, code, said = await message(client, url + target)
            assert (status, code) == (502, "UNAVAILABLE")
            assert f"the registry at {gone} cannot be reached" in said


async def test_a_registry_that_never_answers_ends_in_a_504(
    registry: FakeRegistry, client: aiohttp.ClientSession
) -> None:
    async def silent(_: web.Request) -> web.StreamResponse | None:
        await asyncio.sleep(30)
        return None

    registry.interpose = silent
    limits = {"upstream__metadata_timeout": "0.2", "upstream__read_timeout": "0.2"}
    async with proxied(registry.url, **limits) as url:
        for target in (TAG, "/v2/"):
            status, code, said = await message(client, url + target)
            assert (status, code) == (504, "UNAVAILABLE")
            assert "does not answer in time" in said


async def test_a_response_that_is_no_http_ends_in_a_502(client: aiohttp.ClientSession) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x00\xffwhat is HTTP?\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with proxied(f"http://127.0.0.1:{port}") as url:
            for target in (TAG, "/v2/"):
                status, code, _ = await message(client, url + target)
                assert (status, code) == (502, "UNAVAILABLE")


@pytest.mark.parametrize("status", [201, 204, 205, 304])
@pytest.mark.parametrize("kind", ["manifests", "blobs"])
async def test_an_answer_that_gives_nothing_and_refuses_nothing_is_a_502(
    registry: FakeRegistry, client: aiohttp.ClientSession, kind: str, status: int
) -> None:
    async def empty(request: web.Request) -> web.StreamResponse | None:
        is_meant = request.method == "GET" and f"/{kind}/sha256:" in request.path
        return web.Response(status=status) if is_meant else None

    registry.interpose = empty
    async with proxied(registry.url) as url:
        answered, code, said = await message(client, url + TAG)
    assert (answered, code) == (502, "UNAVAILABLE")
    assert f"answers {status} for /v2/team/model/{kind}/sha256:" in said


async def test_not_modified_is_heard_where_the_proxy_asked_for_it_alone(
    registry: FakeRegistry, client: aiohttp.ClientSession
) -> None:
    conditions = []

    async def unmoved(request: web.Request) -> web.StreamResponse | None:
        conditions.append(request.headers.get("If-None-Match"))
        is_tag = request.path.endswith("/manifests/v1")
        return web.Response(status=304) if is_tag and len(conditions) < 3 else None

    registry.interpose = unmoved
    async with proxied(registry.url, auth__ttl="0.001") as url:
        status, _, said = await message(client, url + TAG)
    assert status == 502
    assert "answers 304" in said
    assert conditions == [None, None]
