"""The workers of one configuration: started, replaced when they die, ended together."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import signal
import socket
import sys
import time
from typing import Any, Final

from proxy.clients import hops
from proxy.config import Config
from proxy.logs import get_logger
from proxy.metrics.catalogue import WORKER_RESTARTS
from proxy.metrics.instruments import Snapshot
from proxy.workers.control import Link

# Seconds: before a worker that died is replaced the first time, and at most; of life after which a death
# counts as a first one again; that a worker gets to end after its grace; and to tell its state.
_FIRST_PAUSE: Final = 0.1
_LAST_PAUSE: Final = 10.0
_STEADY: Final = 10.0
_MARGIN: Final = 5.0
_ANSWER: Final = 1.0


class Worker:
    """One worker process."""

    def __init__(self, number: int, process: asyncio.subprocess.Process, link: Link) -> None:
        self.number = number
        self.process = process
        self.link = link
        self.is_ready = False
        self.last: Snapshot = {}
        """Its last reported state; later counts die with it, unless it ends in good order."""

    async def state(self) -> Snapshot | None:
        """Return its metrics now; None when it does not answer."""
        answer: Snapshot | None = await self.link.ask("state", _ANSWER)
        if answer is not None:
            self.last = answer
        return answer

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; an ended process needs none."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)


class Generation:
    """As many workers as ``config`` wants, on one socket."""

    def __init__(self, config: Config, listening: socket.socket) -> None:
        self.config = config
        self.listening = listening
        self.workers: dict[int, Worker] = {}
        self.ended: list[Snapshot] = []
        """Last states of workers that are gone, until they are taken."""
        self._retired = asyncio.Event()
        self._over = asyncio.Event()
        self._failed = asyncio.Event()
        self._complete = asyncio.Event()

    async def keep(self) -> None:
        """Keep all workers running until the generation is retired and the last of them has ended."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(1, self.config.workers + 1):
                tasks.create_task(self._keep_one(number))
        self._over.set()

    async def started(self, stop: asyncio.Event, seconds: float) -> bool:
        """Wait until all workers are ready; False when one fails before that, or ``stop`` is set."""
        async with asyncio.TaskGroup() as tasks:
            events = [tasks.create_task(one.wait()) for one in (self._complete, self._failed, stop)]
            await asyncio.wait(events, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for event in events:
                event.cancel()
        return self._complete.is_set() and not self._failed.is_set()

    @property
    def ready(self) -> list[Worker]:
        """The workers that take requests."""
        return [worker for worker in self.workers.values() if worker.is_ready]

    async def retire(self) -> None:
        """Let every worker finish its requests and end; a slow one is killed."""
        self._retired.set()
        self.listening.close()
        self._failed.set()
        self._tell_all(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.config.shutdown_grace + _MARGIN):
                await self._over.wait()
        self.end()

    def end(self) -> None:
        """End every worker at once."""
        self._retired.set()
        self._failed.set()
        self._tell_all(signal.SIGKILL)

    def _tell_all(self, number: signal.Signals) -> None:
        for worker in self.workers.values():
            worker.signal(number)

    async def _keep_one(self, number: int) -> None:
        pause = _FIRST_PAUSE
        while True:
            began = time.monotonic()
            worker = await self._spawn(number)
            status = await self._watch(worker)
            if self._retired.is_set():
                return
            if not self._complete.is_set():
                self._failed.set()  # the starter of the generation gives it up, or tries again
                return
            WORKER_RESTARTS.of().add()
            if time.monotonic() - began > _STEADY:
                pause = _FIRST_PAUSE
            get_logger().error("worker died", worker=number, status=status, restart_in_seconds=pause)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._retired.wait()
                    return
            pause = min(2 * pause, _LAST_PAUSE)

    async def _spawn(self, number: int) -> Worker:
        ours, theirs = socket.socketpair()
        listen, control = self.listening.fileno(), theirs.fileno()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "proxy.workers.worker", str(number), str(listen), str(control), hops.name()),
                stdin=asyncio.subprocess.PIPE,
                pass_fds=(listen, control),
            )
        finally:
            theirs.close()
        worker = self.workers[number] = Worker(number, process, await Link.over(ours))
        if self._retired.is_set():  # while it was started
            worker.signal(signal.SIGKILL)
        assert process.stdin is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(OSError):
            process.stdin.write(pickle.dumps(self.config))
            await process.stdin.drain()
            process.stdin.close()
        return worker

    async def _watch(self, worker: Worker) -> int:
        """Read a worker's messages until it ends; returns its exit status."""
        async for message in worker.link.messages():
            self._take_message(worker, message)
        status = await worker.process.wait()
        del self.workers[worker.number]
        self.ended.append(worker.last)
        return status

    def _take_message(self, worker: Worker, message: dict[str, Any]) -> None:
        match message.get("event"):
            case "ready":
                worker.is_ready = True
                get_logger().info("worker ready", worker=worker.number, pid=worker.process.pid)
                if len(self.ready) == self.config.workers:
                    self._complete.set()
            case "ended":
                worker.last = message["state"]
