import asyncio
import contextlib
from collections.abc import Iterator

import pytest

from proxy.clients.limits import RequestLimits, Slots, TooManyRequestsError
from proxy.config import LimitsConfig


@contextlib.contextmanager
def admitted(requests: RequestLimits, client: str) -> Iterator[None]:
    requests.admit(client)
    try:
        yield
    finally:
        requests.ended(client)


def test_requests_are_counted_for_each_client_and_in_all() -> None:
    requests = RequestLimits(LimitsConfig(requests=3, requests_per_client=2))
    with admitted(requests, "a"), admitted(requests, "a"):
        with pytest.raises(TooManyRequestsError, match="this address has 2 requests"), admitted(requests, "a"):
            pass
        with (
            admitted(requests, "b"),
            pytest.raises(TooManyRequestsError, match="3 requests already"),
            admitted(requests, "c"),
        ):
            pass
    with admitted(requests, "a"), admitted(requests, "b"), admitted(requests, "a"):
        pass


async def work(slots: Slots, client: str, order: list[str], seconds: float = 0) -> None:
    async with slots.taken(client):
        order.append(client)
        await asyncio.sleep(seconds)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_clients_take_turns() -> None:
    slots = Slots(1, 100, "full")
    order: list[str] = []
    async with asyncio.TaskGroup() as tasks:
        for _ in range(10):
            tasks.create_task(work(slots, "greedy", order))
        await asyncio.sleep(0)
        tasks.create_task(work(slots, "modest", order))
    assert len(order) == 11
    assert order.index("modest") <= 3


async def test_a_full_queue_refuses_at_once_and_one_client_gets_a_quarter_of_it() -> None:
    slots = Slots(1, 4, "full")
    order: list[str] = []
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(work(slots, "a", order, 0.1))
        await settle()
        tasks.create_task(work(slots, "a", order))
        await settle()
        with pytest.raises(TooManyRequestsError):
            await work(slots, "a", order)
        for client in "bcd":
            tasks.create_task(work(slots, client, order))
        await settle()
        with pytest.raises(TooManyRequestsError):
            await work(slots, "e", order)
    assert sorted(order) == ["a", "a", "b", "c", "d"]


async def test_who_leaves_the_queue_takes_no_place_along() -> None:
    slots = Slots(2, 40, "full")
    order: list[str] = []
    for _ in range(20):
        running = [asyncio.ensure_future(work(slots, "a", order, 0.001)) for _ in range(8)]
        await settle()
        for one in running[::2]:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    # Had a place been lost, these would wait for ever; had one been made, more than two would hold one.
    holding = 0
    most = 0

    async def hold() -> None:
        nonlocal holding, most
        async with slots.taken("a"):
            holding += 1
            most = max(most, holding)
            await asyncio.sleep(0)
            holding -= 1

    async with asyncio.timeout(30):
        await asyncio.gather(*(hold() for _ in range(10)))
    assert most == 2


async def test_a_place_given_to_one_that_just_left_goes_to_the_next() -> None:
    slots = Slots(1, 40, "full")
    order: list[str] = []
    first = asyncio.ensure_future(work(slots, "a", order, 0.01))
    await settle()
    second = asyncio.ensure_future(work(slots, "b", order))
    third = asyncio.ensure_future(work(slots, "c", order))
    await settle()
    first.add_done_callback(lambda _: second.cancel())
    async with asyncio.timeout(30):
        await asyncio.gather(first, third)
    assert order[0] == "a"
    assert order[-1] == "c"


async def test_what_is_heavy_takes_several_places_and_waits_for_them() -> None:
    slots = Slots(4, 40, "full")
    order: list[str] = []

    async def hold(name: str, weight: int, until: asyncio.Event) -> None:
        async with slots.taken("a", weight):
            order.append(name)
            await until.wait()

    light_ends, heavy_ends = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(hold("light", 1, light_ends))
        await settle()
        tasks.create_task(hold("heavy", 99, heavy_ends))  # more than there are: all of them
        await settle()
        tasks.create_task(hold("late", 1, light_ends))
        await settle()
        assert order == ["light"]  # nobody goes before the heavy one, which would never have its turn
        light_ends.set()
        await settle()
        assert order == ["light", "heavy"]
        heavy_ends.set()
        await settle()
        assert order == ["light", "heavy", "late"]


async def test_a_heavy_one_that_leaves_lets_those_behind_it_go() -> None:
    slots = Slots(2, 40, "full")
    done = asyncio.Event()

    async def hold(weight: int) -> None:
        async with slots.taken("a", weight):
            await done.wait()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(hold(1))
        await settle()
        heavy = tasks.create_task(hold(2))
        await settle()
        behind = tasks.create_task(hold(1))
        await settle()
        heavy.cancel()
        await settle()
        done.set()
    assert behind.done()
    async with slots.taken("a", 2):
        pass
