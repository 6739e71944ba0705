"""Nodes of a fleet: each pulls a partition as an engine does, over a connection of its own."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from benchmarks.fleet.recording import ACCEPT

_MOST_TRIES = 60
_BUSY = 429
_OK = 200
_A_NODE_MAY_WAIT = 90.0


@dataclass(slots=True)
class Tally:
    """Seconds of requests and of whole pulls, and what had to be tried again."""

    requests: list[float] = field(default_factory=list)
    pulls: list[float] = field(default_factory=list)
    retries: int = 0

    @staticmethod
    def quantile_ms(seconds: list[float], share: float) -> float:
        ordered = sorted(seconds)
        return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)


@dataclass(frozen=True, slots=True)
class Target:
    """What all nodes pull."""

    port: int
    repository: str
    tag: str
    own_credentials: bool = False
    """Whether each node shows a token of its own, as where a token server gives them out."""


class Node:
    """One client: its own address of loopback and connection, and a token where the target wants it."""

    def __init__(self, target: Target, number: int, tally: Tally) -> None:
        self._target = target
        self._tally = tally
        self._address = f"127.{1 + number // 62_500}.{number // 250 % 250}.{1 + number % 250}"
        token = f"Authorization: Bearer node{number}\r\n" if target.own_credentials else ""
        self._headers = f"Host: 127.0.0.1\r\nAccept: {ACCEPT}\r\n{token}\r\n"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def pull(self) -> None:
        """HEAD the tag, GET index, manifest and config by digest, then every layer."""
        started = time.perf_counter()
        root = f"/v2/{self._target.repository}"
        try:
            async with asyncio.timeout(_A_NODE_MAY_WAIT):
                digest, _ = await self.ask("HEAD", f"{root}/manifests/{self._target.tag}")
                _, index = await self.ask("GET", f"{root}/manifests/{digest}")
                entry = json.loads(index)["manifests"][0]["digest"]
                _, body = await self.ask("GET", f"{root}/manifests/{entry}")
                manifest = json.loads(body)
                for part in (manifest["config"], *manifest["layers"]):
                    await self.ask("GET", f"{root}/blobs/{part['digest']}")
        finally:
            self.close()
        self._tally.pulls.append(time.perf_counter() - started)

    async def connect(self) -> None:
        self._streams = await asyncio.open_connection("127.0.0.1", self._target.port, local_addr=(self._address, 0))

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def ask(self, method: str, path: str) -> tuple[str, bytes]:
        """Return digest and body; a busy proxy is asked again, as engines do."""
        for _ in range(_MOST_TRIES):
            started = time.perf_counter()
            try:
                status, headers, body = await self._once(method, path)
            except (ConnectionError, asyncio.IncompleteReadError):
                self.close()
                status, headers, body = _BUSY, {}, b""
            if status == _OK:
                self._tally.requests.append(time.perf_counter() - started)
                return headers.get("docker-content-digest", ""), body
            if status != _BUSY:
                raise RuntimeError(f"{method} {path}: {status} {body!r}")
            self._tally.retries += 1
            await asyncio.sleep(float(headers.get("retry-after", "0.5")))
        raise RuntimeError(f"{method} {path}: gave up")

    async def _once(self, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        if self._streams is None:
            await self.connect()
        assert self._streams is not None
        reader, writer = self._streams
        writer.write(f"{method} {path} HTTP/1.1\r\n{self._headers}".encode())
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        has_body = method != "HEAD"
        body = await reader.readexactly(int(headers["content-length"])) if has_body else b""
        if headers.get("connection") == "close":
            self.close()
        return int(first.split(" ")[1]), headers, body


async def keep_pulling(target: Target, concurrency: int, seconds: float) -> tuple[Tally, float]:
    """Let `concurrency` nodes pull, a new one for each that is done; returns the seconds it really took."""
    tally = Tally()
    numbers = iter(range(10_000_000))
    started = time.perf_counter()

    async def chain() -> None:
        while time.perf_counter() - started < seconds:
            await Node(target, next(numbers), tally).pull()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(concurrency):
            tasks.create_task(chain())
    return tally, time.perf_counter() - started


async def burst(target: Target, nodes: int) -> tuple[Tally, float]:
    """Let all nodes begin at the same moment; returns the seconds until the last one is done."""
    tally = Tally()
    started = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number in range(nodes):
            tasks.create_task(Node(target, number, tally).pull())
    return tally, time.perf_counter() - started


@asynccontextmanager
async def idle(target: Target, nodes: int) -> AsyncIterator[None]:
    """Hold connections open that ask for the tag once and then nothing."""
    held = [Node(target, number, Tally()) for number in range(nodes)]
    with _closing(held):
        for node in held:
            await node.ask("HEAD", f"/v2/{target.repository}/manifests/{target.tag}")
        yield


@contextmanager
def _closing(nodes: list[Node]) -> Iterator[None]:
    try:
        yield
    finally:
        for node in nodes:
            node.close()
