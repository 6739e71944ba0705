"""Jobs of a node: a few at a time, each followed by the one who ordered it, or on its own."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.logs import get_logger
from proxy.prefetch.order import Order

Event = dict[str, Any]
Tell = Callable[[Event], None]
Bring = Callable[[Order, Tell], Awaitable[None]]
"""Does a job, and tells what happens. Raises nothing but on defects and cancellation."""

MOST_JOBS: Final = 4
_MOST_KEPT: Final = 16
"""Ended jobs that are still listed."""
_MOST_WAITING: Final = 4096
"""Events that a follower has not taken yet; one who takes none for so long is gone."""

_HEARTBEAT: Final = 2.0
"""Seconds without news after which followers are written to all the same: who left is noticed by that."""


class TooManyJobsError(Exception):
    """As many jobs as a node does at a time are under way."""


@dataclass(slots=True)
class Job:
    """A job under way, or ended.

    Attributes:
        number: its name on this node.
        order: without credentials once it has ended.
        begun_at: in seconds since 1970.
        state: "running", "done", "failed" or "cancelled".
        last: the newest progress.
    """

    number: int
    order: Order
    begun_at: float = field(default_factory=time.time)
    state: str = "running"
    last: Event = field(default_factory=dict)
    _followers: list[asyncio.Queue[Event | None]] = field(default_factory=list)
    _task: asyncio.Task[None] | None = None

    def tell(self, event: Event) -> None:
        """Let all followers know."""
        self.last = {**self.last, **event}
        for queue in self._followers.copy():
            try:
                queue.put_nowait(event)
            except asyncio.QueueFull:
                self._followers.remove(queue)

    async def follow(self) -> AsyncIterator[Event]:
        """Yield what happens from now on, until the job ends; "alive" where nothing happens for a while."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue(_MOST_WAITING)
        self._followers.append(queue)
        yield {"event": "begun", "job": self.number}
        try:
            while self.state == "running" or not queue.empty():
                try:
                    async with asyncio.timeout(_HEARTBEAT):
                        event = await queue.get()
                except TimeoutError:
                    event = {"event": "alive"}
                if event is None:
                    return
                yield event
        finally:
            if queue in self._followers:
                self._followers.remove(queue)

    def cancel(self) -> None:
        """End it; what was fetched stays."""
        if self._task is not None:
            self._task.cancel()

    def begin(self, task: asyncio.Task[None]) -> None:
        """Let ``cancel`` end ``task``."""
        self._task = task
        task.add_done_callback(lambda _: self.end("cancelled"))  # also where it was before it had begun

    def end(self, state: str) -> None:
        """Let followers go; a second time does nothing."""
        if self.state != "running":
            return
        self.state = state
        self.order = Order(self.order.images, self.order.rate, self.order.window)
        for queue in self._followers:
            with contextlib.suppress(asyncio.QueueFull):
                queue.put_nowait(None)

    def to_dict(self) -> Event:
        """Return it as JSON."""
        return {
            "job": self.number,
            "state": self.state,
            "begunAt": round(self.begun_at, 3),
            "images": [str(one.name) for one in self.order.images],
            "progress": self.last,
        }


class Jobs:
    """The jobs of a node."""

    def __init__(self, bring: Bring, tasks: asyncio.TaskGroup) -> None:
        self._bring = bring
        self._tasks = tasks
        self._numbers = itertools.count(1)
        self._jobs: dict[int, Job] = {}

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, bring: Bring) -> AsyncIterator[Jobs]:
        """Do jobs by ``bring`` for the time of the context, and end those that are under way then."""
        async with asyncio.TaskGroup() as tasks:
            jobs = cls(bring, tasks)
            try:
                yield jobs
            finally:
                for job in jobs._jobs.values():
                    job.cancel()

    def begin(self, order: Order) -> Job:
        """Begin a job.

        Raises:
            TooManyJobsError: others must end first.
        """
        if sum(job.state == "running" for job in self._jobs.values()) >= MOST_JOBS:
            raise TooManyJobsError(f"{MOST_JOBS} jobs are under way, as many as a node does at a time; wait for one")
        ended = [number for number, job in self._jobs.items() if job.state != "running"]
        for number in ended[: max(0, len(ended) - _MOST_KEPT + 1)]:
            del self._jobs[number]
        job = Job(next(self._numbers), order)
        self._jobs[job.number] = job
        tasks = self._tasks
        job.begin(tasks.create_task(self._done(job)))
        return job

    def find(self, number: int) -> Job | None:
        """Return the job with ``number``; None where there is none, or it ended long ago."""
        return self._jobs.get(number)

    def all(self) -> list[Event]:
        """Return every job as JSON, the newest first."""
        return [job.to_dict() for job in reversed(self._jobs.values())]

    async def _done(self, job: Job) -> None:
        images = [str(one.name) for one in job.order.images]
        get_logger().info("prefetch begun", job=job.number, images=images[:10], count=len(images))
        state = "failed"
        try:
            await self._bring(job.order, job.tell)
            state = "failed" if job.last.get("failed") else "done"
        except asyncio.CancelledError:
            state = "cancelled"
            raise
        except Exception as error:  # noqa: BLE001 - a defect ends this job, and no other part of the node
            get_logger().error("prefetch failed", job=job.number, reason=f"{type(error).__name__}: {error}")
            job.tell(
                {"event": "end", "failed": len(images), "problem": "the job failed; the node's log has the reason"}
            )
        finally:
            job.end(state)
            get_logger().info("prefetch ended", job=job.number, state=state)
