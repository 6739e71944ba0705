"""Many jobs, a bounded number at a time; the first failure ends all."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Executor
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


async def concurrently(jobs: Iterable[Callable[[], Awaitable[T]]], *, limit: int) -> list[T]:
    """Return what ``jobs`` return, in their order, having run at most ``limit`` at a time.

    Jobs are taken one by one, as there is room for them: a million of them wait in no queue.

    Raises:
        Exception: the first that a job raises, once the others are cancelled.
    """
    waiting = enumerate(jobs)
    results: dict[int, T] = {}

    async def work() -> None:
        for at, job in waiting:
            results[at] = await job()

    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(limit):
                tasks.create_task(work())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [results[at] for at in range(len(results))]


async def both(one: Callable[[], Awaitable[T]], other: Callable[[], Awaitable[U]]) -> tuple[T, U]:
    """Return what ``one`` and ``other`` return, run at the same time, ``one`` the first to begin.

    Raises:
        Exception: the first that either raises, once the other is cancelled.
    """

    async def first() -> T:
        return await one()

    async def second() -> U:
        return await other()

    try:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(first()), tasks.create_task(second())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return running[0].result(), running[1].result()


class Stopped(Exception):  # noqa: N818 - no error, and never seen outside
    """Ends a job in a thread whose result nobody waits for any more."""


async def in_thread(job: Callable[[Callable[[], None]], T], pool: Executor | None = None) -> T:
    """Return what ``job`` returns, run in a thread.

    Args:
        job: is handed a function that raises ``Stopped`` after a cancellation; to be called now and then,
            for a thread cannot be cancelled and would keep the process from ending.
        pool: whose threads; None for the loop's own, where reading for uploads goes on.
    """
    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise Stopped

    try:
        return await asyncio.get_running_loop().run_in_executor(pool, job, check)
    except asyncio.CancelledError:
        stop.set()
        raise
