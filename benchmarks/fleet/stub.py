"""A registry that answers what was recorded, after as long as that took: `... RECORDING PORT`."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

from benchmarks.fleet.recording import UNKNOWN, Recording, kind_of

COUNTER = "/count"


class Stub:
    def __init__(self, recording: Recording) -> None:
        self._seconds = recording.seconds
        self._known: dict[bytes, tuple[bytes, list[float]]] = {}
        self._unknown: dict[bytes, tuple[bytes, list[float]]] = {}
        self.requests = 0
        for key, answer in recording.answers.items():
            method, target = key.split(" ")
            if target.endswith(UNKNOWN):
                kind = kind_of(method, target, is_known=False)
                self._unknown[kind.removesuffix(" unknown").encode()] = answer, self._seconds[kind]
            else:
                kind = kind_of(method, target, is_known=True)
                self._known[key.encode()] = answer, self._seconds[kind]

    def answer(self, request: bytes) -> tuple[bytes, float]:
        """Return the answer to a request line, and the seconds after which to send it."""
        line = request.rpartition(b" ")[0]
        if line.endswith(COUNTER.encode()):
            body = str(self.requests).encode()
            return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body), 0.0
        self.requests += 1
        found = self._known.get(line)
        if found is None:
            method, target = line.decode().split(" ")
            found = self._unknown[kind_of(method, target, is_known=True).encode()]
        answer, seconds = found
        return answer, random.choice(seconds)


class Connection(asyncio.Protocol):
    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            answer, seconds = self._stub.answer(head.partition(b"\r\n")[0])
            asyncio.get_running_loop().call_later(seconds, self._send, answer)

    def _send(self, answer: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer)


async def main(recording: Path, port: int) -> None:
    stub = Stub(Recording.load(recording))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(stub), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
