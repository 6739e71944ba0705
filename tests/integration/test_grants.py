"""How long the registry's yes is good for, and for whom."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp import web

from tests.lab.fake_registry import FakeRegistry, proxied, serving, until
from tests.lab.partition_requests import IMAGE, TAG, get

ALICE = {"Authorization": "Bearer alice"}


class Clock:
    """Stands in for the module `time` where grants are counted."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    started = Clock()
    monkeypatch.setattr("proxy.auth.grants.time", started)
    monkeypatch.setattr("proxy.partitions.source.time", started)
    return started


@pytest.fixture
async def registry() -> AsyncIterator[FakeRegistry]:
    async with serving(FakeRegistry(IMAGE)) as started:
        yield started


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


@pytest.fixture
def allowed(registry: FakeRegistry) -> set[str]:
    """Whom the registry lets in; everyone else hears 403."""
    names = {"Bearer alice"}

    async def guarded(request: web.Request) -> web.StreamResponse | None:
        is_allowed = request.headers.get("Authorization") in names
        return None if is_allowed else web.json_response({"errors": [{"code": "DENIED"}]}, status=403)

    registry.interpose = guarded
    return names


async def addresses(client: aiohttp.ClientSession, url: str) -> tuple[str, str, str]:
    """Pull a partition and return where its index, a child and a config are by digest."""
    _, headers, index = await get(client, url + TAG, **ALICE)
    child = f"/v2/team/model/manifests/{index['manifests'][0]['digest']}"
    _, _, manifest = await get(client, url + child, **ALICE)
    config = f"/v2/team/model/blobs/{manifest['config']['digest']}"
    return f"/v2/team/model/manifests/{headers['Docker-Content-Digest']}", child, config


@pytest.mark.parametrize("tag_ttl", ["0", "3600"])
async def test_a_right_that_was_taken_away_is_refused_after_the_ttl(
    registry: FakeRegistry, client: aiohttp.ClientSession, allowed: set[str], clock: Clock, tag_ttl: str
) -> None:
    async with proxied(registry.url, cache__tag_ttl=tag_ttl, auth__ttl="10") as url:
        by_digest = await addresses(client, url)
        asked = len(registry.requests)
        allowed.clear()
        clock.now += 9.9
        for target in by_digest:
            assert (await get(client, url + target, **ALICE))[0] == 200
        assert len(registry.requests) == asked
        clock.now += 0.2
        for target in (TAG, *by_digest):
            for method in ("GET", "HEAD"):
                assert (await get(client, url + target, method, **ALICE))[0] == 403


async def test_after_the_tag_nothing_is_asked_again(
    registry: FakeRegistry, client: aiohttp.ClientSession, allowed: set[str]
) -> None:
    assert allowed
    async with proxied(registry.url) as url:
        by_digest = await addresses(client, url)
        registry.requests.clear()
        await get(client, url + TAG, "HEAD", **ALICE)
        for target in by_digest:
            assert (await get(client, url + target, **ALICE))[0] == 200
    assert [(one.method, one.path) for one in registry.requests] == [("HEAD", "/v2/team/model/manifests/v1")]


async def test_a_grant_is_not_renewed_by_being_used(
    registry: FakeRegistry, client: aiohttp.ClientSession, allowed: set[str], clock: Clock
) -> None:
    async with proxied(registry.url) as url:
        _, child, _ = await addresses(client, url)
        allowed.clear()
        for _ in range(3):
            clock.now += 3
            assert (await get(client, url + child, **ALICE))[0] == 200
        clock.now += 3
        assert (await get(client, url + child, **ALICE))[0] == 403


@pytest.mark.parametrize("tag_ttl", ["0", "3600"])
async def test_a_ttl_of_0_asks_every_time(
    registry: FakeRegistry, client: aiohttp.ClientSession, allowed: set[str], tag_ttl: str
) -> None:
    async with proxied(registry.url, auth__ttl="0", cache__tag_ttl=tag_ttl) as url:
        by_digest = await addresses(client, url)
        allowed.clear()
        for target in (TAG, *by_digest):
            assert (await get(client, url + target, **ALICE))[0] == 403


async def test_one_clients_grant_is_no_other_clients(
    registry: FakeRegistry, client: aiohttp.ClientSession, allowed: set[str]
) -> None:
    assert allowed
    async with proxied(registry.url, cache__tag_ttl="3600", auth__ttl="3600") as url:
        for target in (TAG, *await addresses(client, url)):
            for others in (
                {},
                {"Authorization": "Bearer bob"},
                {"Authorization": "bearer alice"},
                ALICE | {"Cookie": "a=b"},
            ):
                expected = 200 if others.get("Authorization") == "Bearer alice" else 403
                assert (await get(client, url + target, **others))[0] == expected


class Gate:
    """Holds every HEAD of a registry that answers with ETags, and refuses whom it is told to."""

    def __init__(self, registry: FakeRegistry) -> None:
        self._registry = registry
        self.arrived, self.open = asyncio.Event(), asyncio.Event()
        self.denied: set[str] = set()
        self.open.set()
        registry.interpose = self.answer

    def close(self, *denied: str) -> None:
        self.arrived.clear()
        self.open.clear()
        self.denied.update(denied)
        self._registry.requests.clear()

    async def answer(self, request: web.Request) -> web.StreamResponse | None:
        if request.method == "HEAD":
            self.arrived.set()
            await self.open.wait()
        if request.headers["Authorization"] in self.denied:
            return web.json_response({"errors": [{"code": "DENIED"}]}, status=403)
        answer = self._registry.content(request)
        if answer is not None:
            answer.headers["ETag"] = f'"{answer.headers.get("Docker-Content-Digest")}"'
        return answer


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}"}


async def test_clients_that_may_read_an_image_share_the_question_what_its_tag_names_now(
    registry: FakeRegistry, client: aiohttp.ClientSession
) -> None:
    gate = Gate(registry)
    async with proxied(registry.url) as url:
        for name in ("ann", "bob"):
            assert (await get(client, url + TAG, **bearer(name)))[0] == 200
        gate.close("Bearer cid")
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(get(client, url + TAG, **bearer("ann")))
            await asyncio.wait_for(gate.arrived.wait(), 30)
            others = [tasks.create_task(get(client, url + TAG, **bearer(name))) for name in ("bob", "cid")]
            await until(lambda: any(one.headers["Authorization"] == "Bearer cid" for one in registry.requests))
            gate.open.set()
        assert [one.result()[0] for one in (first, *others)] == [200, 200, 403]
    asked = [one.headers["Authorization"] for one in registry.requests if one.method == "HEAD"]
    assert sorted(asked) == ["Bearer ann", "Bearer cid"]


async def test_who_lost_the_right_does_not_take_it_from_those_who_asked_along(
    registry: FakeRegistry, client: aiohttp.ClientSession
) -> None:
    gate = Gate(registry)
    async with proxied(registry.url) as url:
        for name in ("ann", "bob"):
            assert (await get(client, url + TAG, **bearer(name)))[0] == 200
        gate.close("Bearer ann")
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(get(client, url + TAG, **bearer("ann")))
            await asyncio.wait_for(gate.arrived.wait(), 30)
            second = tasks.create_task(get(client, url + TAG, **bearer("bob")))
            await asyncio.sleep(0.1)
            gate.open.set()
        assert (first.result()[0], second.result()[0]) == (403, 200)


async def test_a_grant_is_for_one_repository(registry: FakeRegistry, client: aiohttp.ClientSession) -> None:
    async def only_team(request: web.Request) -> web.StreamResponse | None:
        is_team = request.path.startswith("/v2/team/")
        return None if is_team else web.json_response({"errors": [{"code": "DENIED"}]}, status=403)

    registry.interpose = only_team
    async with proxied(registry.url) as url:
        for target in await addresses(client, url):
            assert (await get(client, url + target.replace("/team/", "/other/"), **ALICE))[0] == 403


async def test_a_write_through_the_proxy_ends_the_grants_of_its_repository(
    registry: FakeRegistry, client: aiohttp.ClientSession, allowed: set[str]
) -> None:
    async with proxied(registry.url) as url:
        _, child, _ = await addresses(client, url)
        allowed.clear()
        await get(client, f"{url}/v2/team/model/manifests/v1", "DELETE", **ALICE)
        assert (await get(client, url + child, **ALICE))[0] == 403


async def test_the_time_counts_from_the_question_and_not_from_the_answer(
    registry: FakeRegistry, client: aiohttp.ClientSession, clock: Clock
) -> None:
    state = SimpleNamespace(slow=True)

    async def slow(request: web.Request) -> web.StreamResponse | None:
        if request.method == "HEAD" and state.slow:
            clock.now += 9
        return None

    registry.interpose = slow
    async with proxied(registry.url) as url:
        _, child, _ = await addresses(client, url)
        state.slow = False
        clock.now += 2
        registry.requests.clear()
        assert (await get(client, url + child, **ALICE))[0] == 200
    assert registry.requests
