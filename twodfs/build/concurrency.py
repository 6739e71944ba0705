"""Many jobs, a bounded number at a time; the first failure ends all."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


async def concurrently(jobs: Iterable[Callable[[], Awaitable[T]]], *, limit: int) -> list[T]:
    """Return what ``jobs`` return, in their order, having run at most ``limit`` at a time.

    Raises:
        Exception: the first that a job raises, once the others are cancelled.
    """
    gate = asyncio.Semaphore(limit)

    async def run(job: Callable[[], Awaitable[T]]) -> T:
        async with gate:
            return await job()

    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(run(job)) for job in jobs]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in running]


class Stopped(Exception):  # noqa: N818 - no error, and never seen outside
    """Ends a job in a thread whose result nobody waits for any more."""


async def in_thread(job: Callable[[Callable[[], None]], T]) -> T:
    """Return what ``job`` returns, run in a thread.

    Args:
        job: is handed a function that raises ``Stopped`` after a cancellation; to be called now and then,
            for a thread cannot be cancelled and would keep the process from ending.
    """
    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise Stopped

    try:
        return await asyncio.to_thread(job, check)
    except asyncio.CancelledError:
        stop.set()
        raise
