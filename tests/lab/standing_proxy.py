"""The proxy with a fault: SIGUSR1 makes its loop sleep in a blocking call, SIGUSR2 makes it work."""

import asyncio
import signal
import time

from proxy import app
from proxy.config import Config

SECONDS = 0.5
_serve = app.run


def _sleep() -> None:
    time.sleep(SECONDS)


def _work() -> None:
    end = time.thread_time() + SECONDS
    while time.thread_time() < end:
        pass


async def _run(config: Config) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, _sleep)
    loop.add_signal_handler(signal.SIGUSR2, _work)
    await _serve(config)


app.run = _run  # before the command takes it from there

from proxy.__main__ import main  # noqa: E402

if __name__ == "__main__":
    main()
