import asyncio
import contextlib
import os
import pickle
import socket

import pytest

from proxy.admin import Report
from proxy.config import Address, ConfigError, load
from proxy.workers.control import Link
from proxy.workers.supervisor import _listen, until_well

UPSTREAM = {"upstream": "http://127.0.0.1:5001"}


def test_a_configuration_reaches_the_workers_whole() -> None:
    flags = UPSTREAM | {"workers": "2", "cache.redis_url": "redis://u:p@h", "admin": "none"}
    config = load(flags, {})
    copy = pickle.loads(pickle.dumps(config))
    assert copy == config
    assert copy.cache.redis_url.get_secret_value() == "redis://u:p@h"


def test_workers_without_a_shared_cache_are_refused_with_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"set cache\.redis_url or edge\.directory, or workers = 1"):
        load(UPSTREAM | {"workers": "2"}, {})


def test_a_generation_more_on_the_socket_makes_it_block_for_nobody() -> None:
    with _listen(Address("127.0.0.1", 0)) as listening, listening.dup() as handed_on:
        assert not os.get_blocking(listening.fileno())
        assert not os.get_blocking(handed_on.fileno())


async def test_questions_are_answered_to_whoever_asked_and_end_with_the_other_side() -> None:
    ours, theirs = socket.socketpair()
    parent, child = await Link.over(ours), await Link.over(theirs)
    events = []

    async def listen() -> None:
        async for message in parent.messages():
            events.append(message)  # noqa: PERF401 - one by one, as they come

    async def answer(count: int) -> None:
        asked = []
        async for message in child.messages():
            asked.append(message)
            if len(asked) == count:
                break
        await child.tell({"event": "between"})
        for message in reversed(asked):
            await child.tell({"id": message["id"], "answer": message["ask"].upper()})
        with contextlib.suppress(OSError):
            child._writer.close()

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        tasks.create_task(listen())
        tasks.create_task(answer(2))
        answers = await asyncio.gather(parent.ask("one", 5), parent.ask("two", 5))
    assert list(answers) == ["ONE", "TWO"]
    assert events == [{"event": "between"}]
    assert await parent.ask("anybody", 0.01) is None


async def test_a_worker_that_is_silent_holds_up_no_probe_where_another_is_well() -> None:
    async def silent() -> Report | None:
        await asyncio.Event().wait()
        return None

    async def says(report: Report | None) -> Report | None:
        return report

    ill, well = (False, {"status": "unready"}), (True, {"status": "ready"})
    async with asyncio.timeout(30):
        assert (await until_well([silent(), says(ill), says(None), says(well)]))[-1] == well
        assert await until_well([says(None), says(ill)]) == [ill]
        assert await until_well([]) == []
