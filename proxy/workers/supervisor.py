"""The parent: binds the port, keeps a generation of workers, replaces it on SIGHUP, speaks for all."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

from proxy.admin import Admin, Report
from proxy.app import BACKLOG, parent_prefetch, serve_admin
from proxy.config import Address, Config, ConfigError
from proxy.logs import get_logger
from proxy.metrics import catalogue
from proxy.metrics.instruments import Snapshot, add_up, snapshot
from proxy.preflight import StartError, refuse_circle
from proxy.workers.generation import Generation, Worker

_START: Final = 60.0
"""Seconds for a generation to come up."""
_PROBE: Final = 2.5
"""Seconds for all workers together to find a healthy one; a worker asks the registry for 2 s at most."""


async def supervise(config: Config, load: Callable[[], Config]) -> None:
    """Keep ``config.workers`` workers until SIGTERM or SIGINT; a second one ends them at once.

    Args:
        config: to begin with.
        load: reads the configuration again, for SIGHUP.

    Raises:
        StartError: an address cannot be bound, or a worker does not start.
    """
    parent = _Parent(config, load)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, parent.stop)
    loop.add_signal_handler(signal.SIGHUP, parent.reload_wanted.set)
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(catalogue.process())
        if config.admin is not None:
            prefetch = await parent_prefetch(stack, config)
            await serve_admin(stack, Admin(parent.live, parent.ready, parent.state, prefetch), config.admin)
        await parent.run()


class _Parent:
    def __init__(self, config: Config, load: Callable[[], Config]) -> None:
        self._load = load
        self._current = Generation(config, _listen(config.listen))
        self._retiring: list[Generation] = []
        self._ended: Snapshot = {}
        self._is_complete = False
        self._stop = asyncio.Event()
        self.reload_wanted = asyncio.Event()

    def stop(self) -> None:
        """End in good order; the second time at once."""
        if self._stop.is_set():
            for generation in self._all:
                generation.end()
        self._stop.set()

    @property
    def _all(self) -> list[Generation]:
        return [self._current, *self._retiring]

    @property
    def _workers(self) -> list[Worker]:
        return [worker for generation in self._all for worker in generation.workers.values()]

    async def run(self) -> None:
        with catalogue.WORKERS.read_from(lambda: 0):  # the workers count themselves, the parent is none
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._current.keep())
                if await self._current.started(self._stop, _START):
                    self._is_complete = True
                    await self._until_stopped(tasks)
                is_stopped = self._stop.is_set()
                get_logger().info("stopping", grace_seconds=self._current.config.shutdown_grace)
                self._stop.set()
                await asyncio.gather(*(generation.retire() for generation in self._all))
        if not is_stopped:
            raise StartError("a worker did not start; the lines above say why")
        get_logger().info("stopped")

    async def _until_stopped(self, tasks: asyncio.TaskGroup) -> None:
        while not self._stop.is_set():
            async with asyncio.TaskGroup() as group:
                events = [group.create_task(one.wait()) for one in (self._stop, self.reload_wanted)]
                await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
                for event in events:
                    event.cancel()
            if self.reload_wanted.is_set() and not self._stop.is_set():
                self.reload_wanted.clear()
                await self._reload(tasks)

    async def _reload(self, tasks: asyncio.TaskGroup) -> None:
        """Start workers with the configuration as it is now, then let the earlier ones finish.

        A fault of the new configuration is logged, and the old workers stay.
        """
        before = self._current
        try:
            config = self._load()
            refuse_circle(config)
            moved = config.listen != before.config.listen
            listening = _listen(config.listen) if moved else before.listening.dup()
        except (ConfigError, StartError) as error:
            get_logger().error("not reloaded", reason=str(error))
            return
        if config.admin != before.config.admin:
            get_logger().warning("the admin listener stays where it is until a restart")
        generation = Generation(config, listening)
        self._retiring.append(generation)  # until it is up, its messages are handled like those of a retiring one
        keeping = tasks.create_task(generation.keep())
        if not await generation.started(self._stop, _START):
            generation.end()
            await keeping
            self._collect(generation)
            get_logger().error("not reloaded", reason="a new worker did not start; the lines above say why")
            return
        self._retiring.remove(generation)
        self._current = generation
        self._retiring.append(before)
        tasks.create_task(self._finish(before))
        get_logger().info("reloaded", workers=config.workers)

    async def _finish(self, generation: Generation) -> None:
        await generation.retire()
        self._collect(generation)

    def _collect(self, generation: Generation) -> None:
        """Keep the counts of an ended generation."""
        generation.listening.close()  # where it never came up
        self._take_ended()
        self._retiring.remove(generation)

    def _take_ended(self) -> None:
        for generation in self._all:
            while generation.ended:
                self._ended = add_up([], [self._ended, generation.ended.pop()])

    async def state(self) -> Snapshot:
        """Return the metrics of all processes together; no counter ever goes back."""
        workers = self._workers
        states = await asyncio.gather(*(worker.state() for worker in workers))
        self._take_ended()
        # A worker that ended while it was asked is among the ended by now; a slow one counts with its last state.
        left = {id(worker) for worker in self._workers}
        known = [(worker, state) for worker, state in zip(workers, states, strict=True) if id(worker) in left]
        running = [state for _, state in known if state is not None]
        silent = [worker.last for worker, state in known if state is None]
        return add_up([snapshot(), *running], [self._ended, *silent])

    async def live(self) -> Report:
        """Say whether the workers' loops turn; a single one is enough, dead ones are replaced."""
        is_well = bool(await self._ask("live")) or not self._is_complete
        return is_well, {"status": "ok" if is_well else "no worker answers"} | self._count()

    async def ready(self) -> Report:
        """Say whether requests are welcome: all workers came up once, and one is ready now."""
        if self._stop.is_set() or not self._is_complete:
            problem = "the proxy is shutting down" if self._stop.is_set() else "the workers are starting"
            return False, {"status": "unready", "workers": problem} | self._count()
        reports = await self._ask("ready")
        best = reports[-1] if reports else (False, {"status": "unready"})
        return best[0], best[1] | self._count()

    async def _ask(self, question: str) -> list[Report]:
        return await until_well(worker.link.ask(question, _PROBE) for worker in self._current.ready)

    def _count(self) -> dict[str, str]:
        return {"workers": f"{len(self._current.ready)} of {self._current.config.workers}"}


async def until_well(asking: Iterable[Coroutine[Any, Any, Report | None]]) -> list[Report]:
    """Return the answers up to the first healthy one; silent workers are not waited for then."""
    reports = []
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(one) for one in asking]
        for answer in asyncio.as_completed(asked):
            if (report := await answer) is None:
                continue
            reports.append(report)
            if report[0]:
                break
        for one in asked:
            one.cancel()
    return reports


def _listen(address: Address) -> socket.socket:
    """Return a socket that listens on ``address``; the workers accept from it."""
    try:
        family, _, _, _, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server(
            where[:2], family=family, backlog=BACKLOG, dualstack_ipv6=address.takes_both_families
        )
        # Set here too, or `dup` makes it block again for all that have it: a worker that comes too late for
        # a connection would then stand still until the next one.
        listening.settimeout(0)
    except OSError as error:
        problem = error.strerror or str(error)
        raise StartError(f"cannot listen on {address} (public): {problem}") from None
    bound = Address(address.host, listening.getsockname()[1])
    get_logger().info("listening", listener="public", address=str(bound))
    return listening
