import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from proxy.admin import ServiceHealth
from proxy.readiness import Readiness, When
from proxy.repository import DEFAULT_UPSTREAM
from tests.lab.fake_registry import served, until
from tests.lab.process import free_port
from tests.lab.upstreams import connected


class Registry:
    """Answers `/v2/` once it is let."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_answer = asyncio.Event()

    async def answer(self, _: web.Request) -> web.Response:
        self.asked += 1
        await self.may_answer.wait()
        return web.Response(status=401)


@contextlib.asynccontextmanager
async def readiness(states: dict[str, str], when: When) -> AsyncIterator[tuple[Readiness, dict[str, Registry]]]:
    """Yield what tells of registries that answer, hang or are gone, by their names."""
    registries, upstreams = {}, {}
    async with contextlib.AsyncExitStack() as stack:
        for name, state in states.items():
            registries[name] = Registry()
            if state == "answers":
                registries[name].may_answer.set()
            url = f"http://127.0.0.1:{free_port()}"
            if state != "is gone":
                url = await stack.enter_async_context(served(registries[name].answer))
            upstreams[name] = await stack.enter_async_context(connected(url))
        yield await stack.enter_async_context(Readiness.open(upstreams, when)), registries


@pytest.mark.parametrize(
    ("when", "default", "hub", "is_ready"),
    [
        ("default", "answers", "is gone", True),
        ("default", "answers", "hangs", True),
        ("default", "is gone", "answers", False),
        ("any", "is gone", "answers", True),
        ("any", "hangs", "answers", True),
        ("any", "is gone", "is gone", False),
        ("all", "answers", "answers", True),
        ("all", "answers", "is gone", False),
        ("all", "is gone", "hangs", False),
    ],
)
async def test_the_setting_says_which_registries_must_answer_and_those_that_hang_are_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, when: When, default: str, hub: str, *, is_ready: bool
) -> None:
    monkeypatch.setattr("proxy.readiness._TIMEOUT", 60)  # whoever waited for it would fail
    async with asyncio.timeout(30), readiness({DEFAULT_UPSTREAM: default, "hub": hub}, when) as (ready, _):
        assert await ready.is_given() == is_ready
        for name, state in ((DEFAULT_UPSTREAM, default), ("hub", hub)):
            problem = ready.problems[name]
            if state == "answers":
                assert problem is None
            else:
                assert problem is not None
                assert ("cannot be reached" if state == "is gone" else "has not answered yet") in problem


@pytest.mark.parametrize("when", ["any", "all"])
async def test_registries_that_hang_are_asked_side_by_side_and_for_one_time_out(
    monkeypatch: pytest.MonkeyPatch, when: When
) -> None:
    monkeypatch.setattr("proxy.readiness._TIMEOUT", 0.5)
    async with readiness(dict.fromkeys((DEFAULT_UPSTREAM, "a", "b"), "hangs"), when) as (ready, registries):
        asking = asyncio.ensure_future(ready.is_given())
        await until(lambda: all(one.asked for one in registries.values()))
        assert not asking.done()
        assert not await asking
        await until(lambda: all("does not answer within 0.5 s" in str(one) for one in ready.problems.values()))
        assert {name: one.asked for name, one in registries.items()} == {DEFAULT_UPSTREAM: 1, "a": 1, "b": 1}


async def test_what_a_registry_said_before_is_told_until_it_says_something_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("proxy.readiness._REMEMBERED", 0.0)
    monkeypatch.setattr("proxy.readiness._TIMEOUT", 0.5)
    async with readiness({DEFAULT_UPSTREAM: "answers", "hub": "answers"}, "default") as (ready, registries):
        health = ServiceHealth(ready, None, names=["main", "hub"])
        document = {"status": "ready", "upstream": "ok", "redis": "off"}
        assert await health.ready() == (True, document | {"upstreams": {"main": "ok", "hub": "ok"}})
        registries["hub"].may_answer.clear()
        assert (await health.ready())[1]["upstreams"]["hub"] == "ok"  # it is being asked
        await until(lambda: ready.problems["hub"] is not None)
        is_ready, told = await health.ready()
        assert is_ready
        assert told["upstream"] == told["upstreams"]["main"] == "ok"
        assert "does not answer within" in told["upstreams"]["hub"]
        registries["hub"].may_answer.set()
        assert await health.ready() == (True, document | {"upstreams": {"main": "ok", "hub": "ok"}})


async def test_probes_share_questions() -> None:
    async with readiness({DEFAULT_UPSTREAM: "answers", "hub": "answers"}, "all") as (ready, registries):
        assert await asyncio.gather(*(ready.is_given() for _ in range(20))) == [True] * 20
        assert {name: one.asked for name, one in registries.items()} == {DEFAULT_UPSTREAM: 1, "hub": 1}
