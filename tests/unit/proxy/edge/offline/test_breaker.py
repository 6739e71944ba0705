"""When nobody waits for the registry, and when somebody does again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from proxy.edge.offline import breaker as module
from proxy.edge.offline.breaker import Breaker, Verdict
from tests.lab.fake_registry import until


class Probe:
    """Says what a test wants it to."""

    def __init__(self) -> None:
        self.verdict: Verdict = "hangs"
        self.made = 0

    async def __call__(self) -> Verdict:
        self.made += 1
        return self.verdict


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Probe:
    monkeypatch.setattr(module, "_ASKED_PAUSE", 0.005)
    monkeypatch.setattr(module, "_SHORTEST_PAUSE", 0.01)
    monkeypatch.setattr(module, "_LONGEST_PAUSE", 0.05)
    return Probe()


@contextlib.asynccontextmanager
async def watched(probe: Probe, *, patience: float = 30) -> AsyncIterator[Breaker]:
    breaker = Breaker(probe, patience=patience)
    async with breaker.watched():
        yield breaker


async def test_it_stays_open_while_probes_hang_and_closes_with_the_first_that_does_not(probe: Probe) -> None:
    async with watched(probe) as breaker:
        breaker.open("slow")
        await until(lambda: probe.made > 3)
        assert breaker.is_open
        assert breaker.failing_for() > 0
        probe.verdict = "answers"
        await until(lambda: not breaker.is_open)
        assert not breaker.failing_for()
        made = probe.made
        await asyncio.sleep(0.1)
        assert probe.made == made  # a registry that answers is left alone


async def test_a_registry_that_fails_at_once_is_asked_again_but_stays_offline(probe: Probe) -> None:
    async with watched(probe) as breaker:
        breaker.open("slow")
        probe.verdict = "fails"
        await until(lambda: not breaker.is_open)
        assert breaker.failing_for() > 0
        made = probe.made
        await until(lambda: probe.made > made + 1)


async def test_a_refused_connection_opens_nothing_but_is_probed(probe: Probe) -> None:
    async with watched(probe) as breaker:
        breaker.failed("refused")
        assert not breaker.is_open
        assert await breaker.is_worth_asking()
        probe.verdict = "answers"
        await until(lambda: not breaker.failing_for())


async def test_one_time_out_is_enough_for_all_that_wait(probe: Probe) -> None:
    async with watched(probe) as breaker:
        ended = []

        async def waiting() -> None:
            with pytest.raises(TimeoutError):
                async with breaker.patience():
                    await asyncio.Event().wait()
            ended.append(True)

        async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
            for _ in range(20):
                tasks.create_task(waiting())
            await asyncio.sleep(0.01)
            assert not ended
            breaker.open("another found out")
        assert len(ended) == 20


async def test_a_question_to_which_there_is_no_other_answer_waits_for_the_next_probe(probe: Probe) -> None:
    async with watched(probe) as breaker:
        breaker.open("slow")
        assert not await breaker.is_worth_asking()
        probe.verdict = "answers"
        assert await breaker.is_worth_asking()
        assert probe.made >= 2


async def test_who_is_told_the_last_answer_has_the_probe_made_at_once(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SHORTEST_PAUSE", 60)
    monkeypatch.setattr(module, "_LONGEST_PAUSE", 60)
    async with watched(probe) as breaker:
        breaker.open("slow")
        for made in range(1, 4):
            breaker.kick()
            await until(lambda made=made: probe.made == made)  # type: ignore[misc]
        await asyncio.sleep(0.05)
        assert probe.made == 3


async def test_an_answer_closes_it(probe: Probe) -> None:
    async with watched(probe) as breaker:
        breaker.open("slow")
        breaker.answered()
        assert not breaker.is_open
        assert not breaker.failing_for()


async def test_what_waits_for_no_more_than_its_own_time(probe: Probe) -> None:
    async with watched(probe, patience=0.01) as breaker:
        with pytest.raises(TimeoutError):
            async with breaker.patience():
                await asyncio.Event().wait()
        assert not breaker.is_open  # it is the caller who says so


async def test_a_probe_that_fails_by_itself_ends_nothing(probe: Probe) -> None:
    async def broken() -> Verdict:
        if probe.made < 2:
            probe.made += 1
            raise RuntimeError("a defect")
        return "answers"

    breaker = Breaker(broken, patience=30)
    async with breaker.watched():
        breaker.open("slow")
        await until(lambda: not breaker.failing_for())
    assert probe.made == 2
