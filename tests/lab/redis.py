"""A Redis that a test may kill, hang, empty or poison."""

import signal
from pathlib import Path
from typing import Self

from redis import Redis as Client
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.lab.process import Launch, Server, free_port, listens
from tests.lab.programs import environment, program


class Redis(Server):
    """`with Redis.start(directory) as redis: ...`; memory only, so it comes back empty from `restart()`."""

    def __init__(self, launch: Launch, port: int) -> None:
        super().__init__(launch)
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0"

    @classmethod
    def start(cls, directory: Path, *options: str, port: int | None = None) -> Self:
        """Start a server; `options` are more of redis-server's own, like "--maxmemory", "1mb"."""
        port = port or free_port()
        memory_only = ("--save", "", "--appendonly", "no")
        launch = Launch(
            argv=(
                program("redis-server"),
                *("--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory), *memory_only),
                *options,
            ),
            log=directory / "redis.log",
            ready=listens(port),
            environment=environment(),
            directory=directory,
            orphaned=signal.SIGKILL,  # while paused, it would not see another
        )
        server = cls(launch, port)
        server.launch()
        return server

    def client(self, seconds: float = 5) -> Client:
        """Return a synchronous client that never retries; close it, or use it in a `with`."""
        return Client(port=self.port, socket_timeout=seconds, retry=Retry(NoBackoff(), 0))

    def flush(self) -> None:
        with self.client() as client:
            client.flushall()

    def overwrite_all(self, garbage: bytes) -> int:
        """Replace the value of every string key, keeping its expiry; returns how many there were."""
        with self.client() as client:
            keys = list(client.scan_iter(_type="string"))
            for key in keys:
                client.set(key, garbage, keepttl=True)
        return len(keys)
