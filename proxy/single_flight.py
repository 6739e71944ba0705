"""Single flight: identical work that is asked for at the same time is done once."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Runs at most one task for each key; callers in the meantime wait for that one.

    The task belongs to no single waiter: a cancelled waiter leaves it to the others, and the last one to
    leave ends the work. The task ends with its waiters, so nothing is left to collect.
    """

    def __init__(self) -> None:
        self._running: dict[Hashable, _Run[T]] = {}

    async def do(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """Return the result of ``work``, or of the task under way for ``key``."""
        run = self._running.get(key)
        if run is None:
            run = self._running[key] = _Run(asyncio.ensure_future(work()))
            run.task.add_done_callback(functools.partial(self._forget, key, run))
        run.waiters += 1
        try:
            return await asyncio.shield(run.task)
        finally:
            run.waiters -= 1
            if not run.waiters and not run.task.done():
                self._forget(key, run)
                run.task.cancel()
            del run  # an error leads to this frame, and must not lead on to the task that it came from

    def _forget(self, key: Hashable, run: _Run[T], _ended: object = None) -> None:
        if self._running.get(key) is run:
            del self._running[key]


class _Run(Generic[T]):
    __slots__ = ("task", "waiters")

    def __init__(self, task: asyncio.Future[T]) -> None:
        self.task = task
        self.waiters = 0
