import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from proxy.prefetch.endpoint import LoginWanted, PrefetchEndpoint
from proxy.prefetch.jobs import MOST_JOBS, Jobs, Tell
from proxy.prefetch.order import Order
from proxy.repository import DEFAULT_UPSTREAM

TOKEN = "the-token"
ORDER = {"images": [{"reference": "a/b:v1", "pin": False}]}


@dataclass
class Work:
    """A job that tells what it is told to, and ends when it is let."""

    begun: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    orders: list[Order] = field(default_factory=list)
    fails: bool = False

    async def bring(self, order: Order, tell: Tell) -> None:
        self.orders.append(order)
        self.begun.set()
        try:
            await self.released.wait()
            if self.fails:
                raise RuntimeError("a defect")
            tell({"event": "end", "done": 1, "failed": 0})
        finally:
            self.ended.set()


@dataclass(frozen=True, slots=True)
class Node:
    url: str
    work: Work
    jobs: Jobs
    session: aiohttp.ClientSession

    def post(self, order: object = ORDER, token: str = TOKEN) -> "aiohttp.client._RequestContextManager":
        headers = {"Authorization": f"Bearer {token}"}
        return self.session.post(self.url, json=order, headers=headers)

    async def listed(self) -> list[str]:
        async with self.session.get(self.url, headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
            return [one["state"] for one in (await answer.json())["jobs"]]


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    work = Work()
    async with Jobs.open(work.bring) as jobs:
        application = web.Application()
        registries = {
            DEFAULT_UPSTREAM: LoginWanted("registry.example.org", wants_credentials=True),
            "hub": LoginWanted("registry-1.docker.io", wants_credentials=False),
        }
        PrefetchEndpoint(jobs, lambda: TOKEN, registries).add_to(application)
        async with TestServer(application) as server, aiohttp.ClientSession() as session:
            yield Node(str(server.make_url("/edge/prefetch")), work, jobs, session)


async def test_what_happens_is_told_line_by_line_until_the_job_ends(node: Node) -> None:
    async with node.post() as answer:
        assert answer.status == 200
        assert await answer.content.readline() == b'{"event":"begun","job":1}\n'
        node.work.released.set()
        assert await answer.content.readline() == b'{"event":"end","done":1,"failed":0}\n'
        assert await answer.content.readline() == b""
    assert await node.listed() == ["done"]


async def test_it_says_which_registries_want_credentials(node: Node) -> None:
    async with node.session.get(node.url, headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
        assert await answer.json() == {
            "registry": "registry.example.org",
            "wantsCredentials": True,
            "upstreams": {"hub": {"registry": "registry-1.docker.io", "wantsCredentials": False}},
            "jobs": [],
        }


async def test_a_follower_who_leaves_ends_the_job(node: Node) -> None:
    async with node.post() as answer:
        await answer.content.readline()
        answer.close()
    async with asyncio.timeout(10):
        await node.work.ended.wait()
    assert await node.listed() == ["cancelled"]


async def test_a_detached_job_goes_on_and_keeps_no_credentials_when_it_is_through(node: Node) -> None:
    async with node.post({**ORDER, "detach": True, "credentials": {"username": "a", "password": "secret"}}) as answer:
        assert (answer.status, await answer.json()) == (202, {"event": "detached", "job": 1})
    await node.work.begun.wait()
    assert await node.listed() == ["running"]
    (job,) = [job for number in (1,) if (job := node.jobs.find(number))]
    assert job.order.credentials is not None
    node.work.released.set()
    await node.work.ended.wait()
    await asyncio.sleep(0)
    assert job.order.credentials is None


async def test_jobs_are_few_at_a_time(node: Node) -> None:
    for _ in range(MOST_JOBS):
        async with node.post({**ORDER, "detach": True}) as answer:
            assert answer.status == 202
    async with node.post() as answer:
        assert answer.status == 429
        assert "wait for one" in (await answer.json())["error"]


async def test_a_defect_ends_one_job_and_is_told(node: Node) -> None:
    node.work.fails = True
    node.work.released.set()
    async with node.post() as answer:
        text = await answer.text()
    assert '"problem":"the job failed; the node\'s log has the reason"' in text
    assert "defect" not in text
    assert await node.listed() == ["failed"]


@pytest.mark.parametrize("token", ["", "the-toke", "the-token ", "the-tokem", "\xe9"])
async def test_nobody_else_gives_orders(node: Node, token: str) -> None:
    if token == "the-token ":
        async with node.session.post(node.url, json=ORDER, headers={"Authorization": "Basic the-token"}) as answer:
            assert answer.status == 401
        return
    async with node.post(token=token) as answer:
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert not node.work.orders


@pytest.mark.parametrize("body", [b"", b"[", b"{}", b'{"images":[],"images":[]}'])
async def test_an_order_that_is_none_is_refused(node: Node, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with node.session.post(node.url, data=body, headers=headers) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"].startswith("the order is refused: ")
    async with node.session.post(node.url, data=io.BytesIO(bytes(5 * 2**20)), headers=headers) as answer:
        assert answer.status in (400, 413)
