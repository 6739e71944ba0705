"""The command of one worker: ``python -m proxy.workers.worker NUMBER LISTEN_FD CONTROL_FD NAME``.

The parent hands the configuration over on standard input, whole and checked, so that all workers of a
generation have the same one.
"""

from __future__ import annotations

import asyncio
import pickle
import signal
import socket
import sys

from proxy import logs, process
from proxy.admin import ServiceHealth
from proxy.app import running
from proxy.clients import hops
from proxy.config import Config
from proxy.logs import get_logger
from proxy.metrics.instruments import snapshot
from proxy.preflight import StartError, rehearse_protections, start_error
from proxy.workers.control import Link


async def work(config: Config, listening: socket.socket, control: socket.socket) -> int:
    """Take requests from ``listening`` until SIGTERM, or until the parent is gone; returns the exit code."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    for number in (signal.SIGINT, signal.SIGHUP):  # a terminal sends them to all, the parent decides
        signal.signal(number, signal.SIG_IGN)
    link = await Link.over(control)
    async with asyncio.TaskGroup() as tasks:
        answering: asyncio.Task[None] | None = None
        try:
            await rehearse_protections()
            async with running(config, listening) as started:
                answering = tasks.create_task(_answer(link, started.health, stop))
                await link.tell({"event": "ready"})
                await stop.wait()
                loop.remove_signal_handler(signal.SIGTERM)  # a second one ends the worker at once
        except (StartError, ExceptionGroup) as error:
            reason = start_error(error)
            if reason is None:
                raise
            get_logger().error("worker cannot start", reason=str(reason))
            return 1
        await link.tell({"event": "ended", "state": snapshot()})
        answering.cancel()
    return 0


async def _answer(link: Link, health: ServiceHealth, stop: asyncio.Event) -> None:
    """Answer the parent's questions, also while the last requests run."""
    async for message in link.messages():
        answer: object = None
        match message.get("ask"):
            case "state":
                answer = snapshot()
            case "live":
                answer = await health.live()
            case "ready":
                answer = await health.ready()
        await link.tell({"id": message["id"], "answer": answer})
    stop.set()  # the parent is gone


def main() -> None:
    """Run a worker."""
    number, listen, control = map(int, sys.argv[1:4])
    hops.be_called(sys.argv[4])
    config = pickle.load(sys.stdin.buffer)  # noqa: S301 - our parent wrote it, over a pipe of its own
    logs.configure(config.log, worker=number)
    listening = _Shared(fileno=listen)
    process.prepare()
    sys.exit(asyncio.run(work(config, listening, socket.socket(fileno=control))))


class _Shared(socket.socket):
    """A socket that listens already; its queue is not this process' to change."""

    def listen(self, backlog: int = 0, /) -> None:
        """Do nothing: the parent has done it."""


if __name__ == "__main__":
    main()
