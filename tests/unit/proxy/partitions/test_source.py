"""What a tag names, for whom, and how often the registry is asked."""

import asyncio

import pytest
from aiohttp import web

from proxy.auth.grants import Grants
from proxy.auth.identity import Identity
from proxy.partitions.source import SourceImage, Sources
from proxy.repository import DEFAULT_UPSTREAM, Repository
from proxy.upstream.registry import Upstreams
from proxy.upstream.replies import RefusedError
from tests.lab.fake_registry import FakeRegistry
from tests.lab.partition_requests import IMAGE
from twodfs.oci.digest import Digest, digest_of
from twodfs.oci.documents import ACCEPT_IMAGES

MODEL = Repository(DEFAULT_UPSTREAM, "team/model")
ALICE, BOB = (Identity.of({"Authorization": f"Bearer {name}"}) for name in ("alice", "bob"))
DIGEST = Digest(IMAGE.digest)


def sources(upstreams: Upstreams, *, grants: float = 3600, tag_ttl: float = 0) -> Sources:
    return Sources(upstreams, Grants(grants), tag_ttl=tag_ttl)


async def resolved(asking: Sources, reference: str = "v1", identity: Identity = ALICE) -> SourceImage:
    found = await asking.resolve(MODEL, reference, identity, ACCEPT_IMAGES)
    assert found is not None
    return found


async def test_one_question_tells_what_a_tag_names_and_that_this_client_may_read_it(
    registry: FakeRegistry, upstreams: Upstreams
) -> None:
    asking = sources(upstreams)
    assert not asking.may_read(ALICE, MODEL, DIGEST)
    assert await resolved(asking) == SourceImage(MODEL, "v1", DIGEST, IMAGE.top.media_type)
    assert [(one.method, one.path) for one in registry.requests] == [("HEAD", "/v2/team/model/manifests/v1")]
    assert registry.requests[0].headers["Authorization"] == "Bearer alice"
    assert asking.may_read(ALICE, MODEL, DIGEST)
    assert not asking.may_read(BOB, MODEL, DIGEST)
    assert not asking.may_read(ALICE, Repository(DEFAULT_UPSTREAM, "team/other"), DIGEST)


def test_people_call_an_image_by_tag_or_digest() -> None:
    assert SourceImage(MODEL, "v1", DIGEST, "").image == "team/model:v1"
    assert SourceImage(MODEL, DIGEST, DIGEST, "").image == f"team/model@{DIGEST}"


async def test_what_the_registry_does_not_know_is_nothing_and_grants_nothing(upstreams: Upstreams) -> None:
    asking = sources(upstreams, tag_ttl=3600)
    assert await asking.resolve(MODEL, "other", ALICE, ACCEPT_IMAGES) is None
    assert not asking.may_read(ALICE, MODEL, DIGEST)


@pytest.mark.parametrize("flaw", ["no digest", "bad digest", "HEAD refused"])
async def test_a_registry_that_answers_head_badly_is_asked_for_the_whole(
    registry: FakeRegistry, upstreams: Upstreams, flaw: str
) -> None:
    async def flawed(request: web.Request) -> web.StreamResponse | None:
        answer = registry.content(request)
        if answer is None or request.method != "HEAD":
            return answer
        if flaw == "HEAD refused":
            return web.Response(status=405)
        answer.headers["Docker-Content-Digest"] = "md5:1" if flaw == "bad digest" else ""
        return answer

    registry.interpose = flawed
    assert (await resolved(sources(upstreams))).digest == digest_of(IMAGE.top.content)
    assert [one.method for one in registry.requests] == ["HEAD", "GET"]


async def test_a_refusal_comes_in_the_registrys_own_words(registry: FakeRegistry, upstreams: Upstreams) -> None:
    async def refuse(_: web.Request) -> web.StreamResponse:
        return web.json_response({"errors": [{"code": "DENIED", "message": "not you"}]}, status=403)

    registry.interpose = refuse
    with pytest.raises(RefusedError) as refused:
        await resolved(sources(upstreams))
    assert refused.value.reply.status == 403
    assert b"not you" in refused.value.reply.body


async def test_what_a_tag_names_is_told_again_without_a_question_while_both_are_known(
    registry: FakeRegistry, upstreams: Upstreams
) -> None:
    asking = sources(upstreams, tag_ttl=3600)
    first = await resolved(asking)
    assert await resolved(asking) == first
    assert len(registry.requests) == 1
    await resolved(asking, identity=BOB)
    assert len(registry.requests) == 2
    await asking.forget(MODEL)
    assert not asking.may_read(ALICE, MODEL, DIGEST)
    await resolved(asking)
    assert len(registry.requests) == 3


async def test_without_a_grant_what_is_known_of_a_tag_is_told_nobody(
    registry: FakeRegistry, upstreams: Upstreams
) -> None:
    asking = sources(upstreams, grants=0, tag_ttl=3600)
    for count in (1, 2):
        await resolved(asking)
        assert len(registry.requests) == count


@pytest.mark.parametrize(("length", "asked"), [(1024, 1), (1025, 2)])
async def test_the_answer_to_an_endless_accept_is_not_kept(
    registry: FakeRegistry, upstreams: Upstreams, length: int, asked: int
) -> None:
    asking = sources(upstreams, tag_ttl=3600)
    accept = IMAGE.top.media_type.ljust(length, "x")
    for _ in range(2):
        await asking.resolve(MODEL, "v1", ALICE, accept)
    assert len(registry.requests) == asked


async def test_a_registry_with_validators_is_asked_whether_it_is_still_so(
    registry: FakeRegistry, upstreams: Upstreams
) -> None:
    conditions: list[str | None] = []

    async def validating(request: web.Request) -> web.StreamResponse | None:
        conditions.append(request.headers.get("If-None-Match"))
        if conditions[-1] == f'"{DIGEST}"':
            return web.Response(status=304)
        answer = registry.content(request)
        if answer is not None:
            answer.headers["ETag"] = f'"{DIGEST}"'
        return answer

    registry.interpose = validating
    asking = sources(upstreams)
    assert await resolved(asking) == await resolved(asking) == await resolved(asking, identity=BOB)
    assert conditions == [None, f'"{DIGEST}"', f'"{DIGEST}"']


class Gate:
    """Lets a registry's answers through when it is told to."""

    def __init__(self, registry: FakeRegistry) -> None:
        self.registry = registry
        self.reached = asyncio.Semaphore(0)
        self.opened = asyncio.Event()
        registry.interpose = self.wait

    async def wait(self, request: web.Request) -> web.StreamResponse | None:
        self.reached.release()
        await self.opened.wait()
        return self.registry.content(request)


async def test_who_asks_the_same_at_the_same_time_with_the_same_rights_waits_for_one_answer(
    registry: FakeRegistry, upstreams: Upstreams
) -> None:
    gate, asking = Gate(registry), sources(upstreams)
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for identity in (ALICE, ALICE, BOB, ALICE):
            tasks.create_task(resolved(asking, identity=identity))
        await gate.reached.acquire()
        await gate.reached.acquire()
        gate.opened.set()
    assert sorted(one.headers["Authorization"] for one in registry.requests) == ["Bearer alice", "Bearer bob"]


async def test_an_answer_that_was_on_its_way_while_a_tag_was_written_is_not_kept(
    registry: FakeRegistry, upstreams: Upstreams
) -> None:
    gate, asking = Gate(registry), sources(upstreams, tag_ttl=3600)
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        old = tasks.create_task(resolved(asking))
        await gate.reached.acquire()
        await asking.forget(MODEL)
        new = tasks.create_task(resolved(asking))  # does not wait for the old answer
        await gate.reached.acquire()
        assert not asking.may_read(ALICE, MODEL, DIGEST)
        gate.opened.set()
    assert old.result() == new.result()
    assert len(registry.requests) == 2
    await resolved(asking)
    assert len(registry.requests) == 2
