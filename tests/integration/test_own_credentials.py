"""The proxy's own credentials in front of registries that challenge, refuse, redirect and set cookies."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from tests.lab.fake_registry import FakeRegistry, proxied, served, serving
from tests.lab.partition_requests import IMAGE, TAG, get, message
from tests.lab.registry_client import basic

SERVANT = ("servant", "pass")
OWN = {
    "upstream__credentials__kind": "static",
    "upstream__credentials__username": SERVANT[0],
    "upstream__credentials__password": SERVANT[1],
    "auth__clients__allow_anonymous": "true",
}


class Lock:
    """Makes a registry ask for tokens, which it gives at its own `/token`."""

    def __init__(self, registry: FakeRegistry) -> None:
        self.registry = registry
        self.realm = f"{registry.url}/token"
        self.asked: list[tuple[str, str | None]] = []
        """Scope and Authorization of each request for a token."""
        self.good: set[str] = set()
        self.refusal = 401
        self.is_shut = False
        registry.interpose = self.answer

    async def answer(self, request: web.Request) -> web.StreamResponse | None:
        if request.path == "/token":
            self.asked.append((request.query.get("scope", ""), request.headers.get("Authorization")))
            token = f"token-{len(self.asked)}"
            self.good.add(token)
            return web.json_response({"token": token, "expires_in": 300})
        shown = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if shown in self.good and not self.is_shut:
            return None
        challenge = f'Bearer realm="{self.realm}",service="fake",scope="repository:wrong:pull"'
        body = {"errors": [{"code": "NO", "message": "said no"}]}
        return web.json_response(body, status=self.refusal, headers={"WWW-Authenticate": challenge})


@pytest.fixture
async def registry() -> AsyncIterator[FakeRegistry]:
    async with serving(FakeRegistry(IMAGE)) as started:
        yield started


@pytest.fixture
def lock(registry: FakeRegistry) -> Lock:
    return Lock(registry)


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


async def test_a_token_is_for_the_request_at_hand_and_is_kept(
    registry: FakeRegistry, client: aiohttp.ClientSession, lock: Lock
) -> None:
    async with proxied(registry.url, **OWN) as url:
        for _ in range(3):
            assert (await get(client, url + TAG))[0] == 200
    assert lock.asked == [("repository:team/model:pull", basic(*SERVANT))]


@pytest.mark.parametrize("refusal", [401, 403])
async def test_a_token_that_is_refused_is_fetched_anew_once(
    registry: FakeRegistry, client: aiohttp.ClientSession, lock: Lock, refusal: int
) -> None:
    async with proxied(registry.url, **OWN) as url:
        assert (await get(client, url + TAG))[0] == 200
        lock.refusal = refusal
        lock.good.clear()
        assert (await get(client, url + TAG))[0] == 200
        assert (await get(client, f"{url}/v2/team/model/manifests/v1"))[0] == 200
    assert len(lock.asked) == 2


@pytest.mark.parametrize("refusal", [401, 403])
async def test_a_registry_that_refuses_us_for_good_is_not_stormed(
    registry: FakeRegistry, client: aiohttp.ClientSession, lock: Lock, refusal: int
) -> None:
    lock.is_shut = True
    async with proxied(registry.url, **OWN) as url:
        lock.refusal = refusal
        for target in (TAG, "/v2/team/model/manifests/v1") * 5:
            status, headers, body = await get(client, url + target)
            assert status == 403
            assert "WWW-Authenticate" not in headers
            said = body["errors"][0]["message"]
            assert said == "said no" if refusal == 403 else "check upstream.credentials" in said
    assert len(lock.asked) <= 2


async def test_an_upload_is_not_sent_twice_but_may_be_tried_again(
    registry: FakeRegistry, client: aiohttp.ClientSession, lock: Lock
) -> None:
    rules = '[{"users":["anonymous"],"repositories":["**"],"actions":["pull","push"]}]'
    guard = lock.answer

    async def uploads(request: web.Request) -> web.StreamResponse | None:
        body = await request.read()
        is_upload = request.method == "PUT"
        return await guard(request) or (web.Response(status=201, body=body) if is_upload else None)

    registry.interpose = uploads
    async with proxied(registry.url, auth__clients__rules=rules, **OWN) as url:
        statuses = []
        for _ in range(3):
            async with client.put(f"{url}/v2/team/model/manifests/v2", data=b"one") as answer:
                statuses.append(answer.status)
                if len(statuses) == 1:
                    lock.good.clear()
    assert statuses == [201, 503, 201]
    assert [scope for scope, _ in lock.asked] == ["repository:team/model:pull,push"] * 2


async def test_a_push_that_is_refused_for_good_hears_the_registrys_own_words(
    registry: FakeRegistry, client: aiohttp.ClientSession, lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.upstream.authority._RENEWAL_INTERVAL", 0.0)  # clients wait before they try again
    rules = '[{"users":["anonymous"],"repositories":["**"],"actions":["pull","push"]}]'
    guard = lock.answer

    async def full(request: web.Request) -> web.StreamResponse | None:
        await request.read()
        if request.method != "PUT":
            return await guard(request)
        body = {"errors": [{"code": "DENIED", "message": "quota exceeded"}]}
        return web.json_response(body, status=403)

    registry.interpose = full
    async with proxied(registry.url, auth__clients__rules=rules, **OWN) as url:
        answers = []
        for _ in range(3):
            async with client.put(f"{url}/v2/team/model/manifests/v2", data=b"one") as answer:
                answers.append((answer.status, "quota exceeded" in await answer.text()))
    assert answers == [(503, False), (403, True), (403, True)]


@pytest.mark.parametrize("odd", ["Negotiate", 'Bearer realm="https://elsewhere.invalid/t",service="x"'])
async def test_what_one_refusal_asks_for_is_not_asked_of_other_repositories(
    registry: FakeRegistry, client: aiohttp.ClientSession, lock: Lock, odd: str
) -> None:
    guard = lock.answer

    async def differs(request: web.Request) -> web.StreamResponse | None:
        if "/odd/" in request.path:
            return web.json_response({"errors": []}, status=401, headers={"WWW-Authenticate": odd})
        return await guard(request)

    registry.interpose = differs
    async with proxied(registry.url, **OWN) as url:
        for repository, status in (("team/model", 200), ("odd", 502), ("b", 200), ("c", 200)):
            assert (await get(client, f"{url}/v2/{repository}/manifests/v1"))[0] == status
    assert len(lock.asked) == 4


async def test_nothing_of_the_client_goes_up_and_no_session_of_ours_comes_down(
    registry: FakeRegistry, client: aiohttp.ClientSession, lock: Lock
) -> None:
    guard = lock.answer

    async def sets_cookies(request: web.Request) -> web.StreamResponse | None:
        answer = await guard(request) or registry.content(request)
        if answer is not None:
            answer.headers["Set-Cookie"] = "sid=of-the-servant"
        return answer

    registry.interpose = sets_cookies
    async with proxied(registry.url, **OWN) as url:
        for target in (
            TAG,
            "/v2/team/model/manifests/v1",
            f"/v2/team/model/blobs/{IMAGE.platforms[0].config.digest}",
        ):
            status, headers, _ = await get(client, url + target, Authorization="Bearer mine", Cookie="a=b")
            assert status == 200
            assert "Set-Cookie" not in headers
    shown = {one.headers.get("Authorization", "") for one in registry.requests}
    assert shown <= {"", basic(*SERVANT), "Bearer token-1"}
    assert not [one for one in registry.requests if "Cookie" in one.headers]


async def test_credentials_of_ours_go_to_the_registrys_own_realm_alone(
    registry: FakeRegistry, client: aiohttp.ClientSession, lock: Lock
) -> None:
    seen = []

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        return web.json_response({"token": "x"})

    async with served(elsewhere) as other:
        lock.realm = f"{other}/token"
        async with proxied(registry.url, **OWN) as url:
            status, code, said = await message(client, url + TAG)
            assert (status, code) == (502, "UNAVAILABLE")
            assert f'list "{other.removeprefix("http://")}" in auth.realm_hosts' in said
        assert not seen
        async with proxied(registry.url, auth__realm_hosts=other.removeprefix("http://"), **OWN) as url:
            lock.good.add("x")
            assert (await get(client, url + TAG))[0] == 200
        assert [one.headers["Authorization"] for one in seen] == [basic(*SERVANT)]


async def test_a_redirect_takes_no_credentials_of_ours_to_another_origin(
    registry: FakeRegistry, client: aiohttp.ClientSession, lock: Lock
) -> None:
    seen = []

    async def storage(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        return registry.content(request) or web.Response(status=404)

    guard = lock.answer
    async with served(storage) as other:

        async def redirecting(request: web.Request) -> web.StreamResponse | None:
            refused = await guard(request)
            if refused is None and "/blobs/" in request.path and request.method == "GET":
                return web.Response(status=307, headers={"Location": other + request.path})
            return refused

        registry.interpose = redirecting
        async with proxied(registry.url, **OWN, **{"blobs.allowed_networks": "127.0.0.0/8"}) as url:
            assert (await get(client, url + TAG))[0] == 200
    assert seen
    assert not [one for one in seen if "Authorization" in one.headers]


@pytest.mark.parametrize("is_ours", [True, False])
async def test_what_the_storage_refuses_is_no_challenge_to_anybody(
    registry: FakeRegistry, client: aiohttp.ClientSession, lock: Lock, *, is_ours: bool
) -> None:
    """Whoever stands where a redirect leads could ask for the credentials that are for the registry."""
    asked: list[web.Request] = []

    async def storage(request: web.Request) -> web.StreamResponse:
        asked.append(request)
        challenge = f'Bearer realm="http://{request.host}/token",service="evil"'
        return web.json_response({"errors": []}, status=401, headers={"WWW-Authenticate": challenge})

    guard = lock.answer
    async with served(storage) as other:

        async def redirecting(request: web.Request) -> web.StreamResponse | None:
            refused = await guard(request) if is_ours else None
            if refused is None and "/v2/team/" in request.path:
                return web.Response(status=307, headers={"Location": other + request.path})
            return refused

        registry.interpose = redirecting
        own = OWN if is_ours else {}
        host = other.removeprefix("http://")
        settings = {"blobs.allowed_networks": "127.0.0.0/8", "auth.realm_hosts": host}
        async with proxied(registry.url, **own, **settings) as url:
            for method in ("GET", "HEAD"):
                status, headers, _ = await get(client, url + TAG, method, Authorization="Bearer mine")
                assert status == 502
                assert "WWW-Authenticate" not in headers
            _, _, said = await message(client, url + TAG)
            assert said == "the registry redirects to 127.0.0.1 for this, which answers 401"
    assert asked
    assert {one.path for one in asked} == {"/v2/team/model/manifests/v1"}
    assert not [one for one in asked if "Authorization" in one.headers]
    assert len(lock.asked) == (1 if is_ours else 0)


async def token_of(client: aiohttp.ClientSession, url: str, **headers: str) -> tuple[int, str]:
    async with client.get(f"{url}/twodfs/token?service=x&realm=http://169.254.169.254/", headers=headers) as answer:
        return answer.status, await answer.text()


async def test_the_token_endpoint_follows_no_redirect_and_no_address_of_the_request(
    registry: FakeRegistry, client: aiohttp.ClientSession, lock: Lock
) -> None:
    guard = lock.answer
    seen = []

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        return web.json_response({"token": "stolen"})

    async with served(elsewhere) as other, proxied(registry.url, auth__realm="proxy") as url:
        lock.realm = f"{registry.url}/token?own=1"
        assert (await token_of(client, url, Host="169.254.169.254"))[0] == 200
        assert registry.requests[-1].query_string == "own=1&service=x&realm=http://169.254.169.254/"

        async def redirecting(request: web.Request) -> web.StreamResponse | None:
            if request.path == "/token":
                return web.Response(status=302, headers={"Location": f"{other}/token"})
            return await guard(request)

        registry.interpose = redirecting
        status, text = await token_of(client, url, Authorization=basic(*SERVANT))
        assert (status, "redirects" in text) == (502, True)
    assert not seen


async def test_a_token_server_that_sends_too_much_or_is_none_is_named(
    registry: FakeRegistry, client: aiohttp.ClientSession, lock: Lock
) -> None:
    guard = lock.answer

    async def endless(request: web.Request) -> web.StreamResponse | None:
        return web.Response(body=bytes(2**20 + 1)) if request.path == "/token" else await guard(request)

    registry.interpose = endless
    async with proxied(registry.url, auth__realm="proxy") as url:
        status, text = await token_of(client, url)
        assert (status, "longer than 1048576 bytes" in text) == (502, True)
    registry.interpose = None
    async with proxied(registry.url, auth__realm="proxy") as url:
        status, text = await token_of(client, url)
        assert (status, "names no token server" in text) == (404, True)


async def test_refusals_of_partitions_name_our_token_endpoint(
    registry: FakeRegistry, client: aiohttp.ClientSession, lock: Lock
) -> None:
    assert lock
    async with proxied(registry.url, auth__realm="proxy", public_url="https://public.example.org") as url:
        for target in (TAG, "/v2/", "/v2/team/model/manifests/v1"):
            for method in ("GET", "HEAD"):
                status, headers, _ = await get(client, url + target, method)
                assert status == 401
                assert headers["WWW-Authenticate"] == (
                    'Bearer realm="https://public.example.org/twodfs/token",service="fake",'
                    'scope="repository:wrong:pull"'
                )
