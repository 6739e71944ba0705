import asyncio
import time

from proxy.edge.pace import Pace


async def test_bytes_pass_at_the_rate_however_many_take_part() -> None:
    pace = Pace(100_000)
    began = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(take(pace, pieces=5, size=4000))
    assert 60_000 / 100_000 - 0.25 <= time.monotonic() - began < 2


async def take(pace: Pace, *, pieces: int, size: int) -> None:
    for _ in range(pieces):
        await pace.take(size)


async def test_a_burst_after_a_pause_has_a_bound() -> None:
    pace = Pace(10_000)
    await asyncio.sleep(0.3)
    async with asyncio.timeout(0.2):
        await pace.take(2000)
    began = time.monotonic()
    await pace.take(3000)
    assert time.monotonic() - began > 0.1


async def test_who_is_freed_of_the_cap_waits_no_longer() -> None:
    pace, lifted = Pace(10), asyncio.Event()
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(pace.take(1_000_000, lifted))
        await asyncio.sleep(0)
        assert not waiting.done()
        lifted.set()
