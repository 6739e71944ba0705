"""Work in threads is waited for, also by those who are cancelled."""

import asyncio
import threading

import pytest

from proxy.bodies.threads import Threads


async def test_results_and_errors_come_back() -> None:
    def fail() -> None:
        raise OSError("no")

    with Threads("test") as threads:
        assert await threads.run(lambda: 1) == 1
        with pytest.raises(OSError, match="no"):
            await threads.run(fail)


async def test_who_is_cancelled_waits_for_the_end() -> None:
    """Descriptors that the work uses are closed afterwards."""
    began, go_on = threading.Event(), threading.Event()
    ended: list[bool] = []

    def work() -> None:
        began.set()
        go_on.wait(30)
        ended.append(True)

    with Threads("test") as threads:
        waiting = asyncio.ensure_future(threads.run(work))
        await asyncio.to_thread(began.wait, 30)
        for _ in range(2):
            waiting.cancel()
            await asyncio.sleep(0.01)
            assert not waiting.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert ended == [True]


async def test_each_thread_has_a_buffer_of_its_own() -> None:
    barrier = threading.Barrier(2)

    def name() -> int:
        barrier.wait(30)
        return id(threads.buffer().obj)

    with Threads("test", 2) as threads:
        first, second = await asyncio.gather(threads.run(name), threads.run(name))
        assert first != second
