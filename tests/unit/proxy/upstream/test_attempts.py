"""Which origins a question goes to, one after the other."""

from typing import Any
from unittest.mock import Mock

import pytest
from multidict import CIMultiDict

from proxy.bodies.transit import RequestBody
from proxy.upstream.attempts import Question, first_answer
from proxy.upstream.origins import Origin, OriginPool
from proxy.upstream.replies import BrokeOffError, UnreachableError, UpstreamError

URLS = ["http://one", "http://two", "http://three"]
UNREACHABLE, BROKEN = UnreachableError("no connection"), BrokeOffError("it broke off")


def question(method: str = "GET", **more: Any) -> Question:
    return Question(method, "/v2/", CIMultiDict(), **more)


class Registry:
    """Answers at its origins as it is told to, and remembers which were asked."""

    def __init__(self, *answers: UpstreamError | str) -> None:
        self.origins = OriginPool(URLS[: len(answers)])
        self._answers = dict(zip(self.origins.all, answers, strict=True))
        self.asked: list[str] = []

    async def ask(self, origin: Origin) -> str:
        self.asked.append(origin.url)
        answer = self._answers[origin]
        if isinstance(answer, UpstreamError):
            raise answer
        return answer


async def test_the_first_that_takes_it_answers_and_no_other_is_asked() -> None:
    registry = Registry("one", "two")
    assert await first_answer(registry.origins, question(), registry.ask) == "one"
    assert registry.asked == URLS[:1]


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_one_that_takes_no_connection_gives_way_and_is_left_alone(method: str) -> None:
    registry = Registry(UNREACHABLE, "two")
    assert await first_answer(registry.origins, question(method), registry.ask) == "two"
    assert [one.is_up for one in registry.origins.all] == [False, True]
    assert await first_answer(registry.origins, question(method), registry.ask) == "two"
    assert registry.asked == [URLS[0], URLS[1], URLS[1]]


async def test_where_none_takes_it_the_last_ones_reason_is_told() -> None:
    registry = Registry(BROKEN, UNREACHABLE, UnreachableError("the last"))
    with pytest.raises(UnreachableError, match="the last"):
        await first_answer(registry.origins, question(), registry.ask)
    assert registry.asked == URLS
    assert [one.is_up for one in registry.origins.all] == [True, False, False]


async def test_one_that_broke_off_a_read_gives_way_but_stays_up() -> None:
    registry = Registry(BROKEN, "two")
    assert await first_answer(registry.origins, question("HEAD"), registry.ask) == "two"
    assert all(one.is_up for one in registry.origins.all)


async def take(chunk: bytes) -> None:
    raise AssertionError(chunk)


@pytest.mark.parametrize("asked", [question("PUT", body=b"x"), question("DELETE"), question(take=take)])
async def test_what_may_have_left_a_trace_is_not_repeated(asked: Question) -> None:
    registry = Registry(BROKEN, "two")
    with pytest.raises(BrokeOffError):
        await first_answer(registry.origins, asked, registry.ask)
    assert registry.asked == URLS[:1]


@pytest.mark.parametrize("is_begun", [False, True])
async def test_a_body_that_was_begun_cannot_be_sent_again(*, is_begun: bool) -> None:
    registry = Registry(UNREACHABLE, "two")
    asked = question("PUT", body=Mock(spec=RequestBody, is_begun=is_begun))
    if is_begun:
        with pytest.raises(UnreachableError):
            await first_answer(registry.origins, asked, registry.ask)
    else:
        assert await first_answer(registry.origins, asked, registry.ask) == "two"
    assert not registry.origins.all[0].is_up


async def test_any_other_failure_is_the_answer() -> None:
    registry = Registry(UpstreamError("it answers nonsense"), "two")
    with pytest.raises(UpstreamError, match="nonsense"):
        await first_answer(registry.origins, question(), registry.ask)
    assert registry.asked == URLS[:1]
