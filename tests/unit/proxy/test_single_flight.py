import asyncio

import pytest

from proxy.single_flight import SingleFlight


class Work:
    def __init__(self) -> None:
        self.started = 0
        self.cancelled = 0
        self.go = asyncio.Event()

    async def __call__(self) -> str:
        self.started += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return "done"


async def test_the_same_work_at_the_same_time_is_done_once() -> None:
    flight: SingleFlight[str] = SingleFlight()
    work = Work()
    waiting = [asyncio.ensure_future(flight.do("key", work)) for _ in range(5)]
    await asyncio.sleep(0)
    work.go.set()
    assert await asyncio.gather(*waiting) == ["done"] * 5
    assert work.started == 1
    assert await flight.do("key", work) == "done"
    assert work.started == 2


async def test_different_keys_fly_apart() -> None:
    flight: SingleFlight[str] = SingleFlight()
    work = Work()
    work.go.set()
    await asyncio.gather(flight.do("a", work), flight.do("b", work))
    assert work.started == 2


async def test_a_waiter_that_leaves_does_not_end_the_flight_of_others() -> None:
    flight: SingleFlight[str] = SingleFlight()
    work = Work()
    first, second = (asyncio.ensure_future(flight.do("key", work)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    work.go.set()
    assert await second == "done"
    assert (work.started, work.cancelled) == (1, 0)


async def test_the_last_waiter_that_leaves_ends_the_work() -> None:
    flight: SingleFlight[str] = SingleFlight()
    work = Work()
    waiting = [asyncio.ensure_future(flight.do("key", work)) for _ in range(2)]
    await asyncio.sleep(0)
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await asyncio.sleep(0)
    assert work.cancelled == 1
    work.go.set()
    assert await flight.do("key", work) == "done"


async def test_every_waiter_hears_of_the_failure() -> None:
    flight: SingleFlight[str] = SingleFlight()

    async def fail() -> str:
        await asyncio.sleep(0)
        raise ValueError("no")

    results = await asyncio.gather(*(flight.do("key", fail) for _ in range(3)), return_exceptions=True)
    assert [type(one) for one in results] == [ValueError] * 3
    with pytest.raises(ValueError, match="no"):
        await flight.do("key", fail)
