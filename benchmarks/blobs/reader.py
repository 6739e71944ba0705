"""A client that costs next to nothing: reads blobs over kept connections and drops them inside the kernel.

`python reader.py HOST:PORT TARGET STREAMS MIB` prints what it saw as JSON. TARGET may be several with commas
between them, which take turns; with 0 for MIB each is read once. It is a program of its own, so that its
processor time is not counted with anybody's.
"""

from __future__ import annotations

import itertools
import json
import re
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

_PIECE = 2**20
_LENGTH = re.compile(rb"\r\nContent-Length: *([0-9]+)", re.IGNORECASE)


@dataclass(slots=True)
class Stream:
    connection: socket.socket
    head: bytearray = field(default_factory=bytearray)
    remaining: int | None = None
    """Bytes of the body still to come; None: the head is still to come."""


@dataclass(slots=True)
class Progress:
    """Bytes of all streams: of blobs that were begun, and of those what came."""

    begun: int = 0
    received: int = 0


def read(host: str, port: int, targets: list[str], streams: int, total: int) -> dict[str, float]:
    """Read blobs until ``total`` bytes were begun, each stream to the end of its last blob; 0: each once."""
    progress = Progress()
    requests = _requests(f"{host}:{port}", targets, total, progress)
    scratch = bytearray(_PIECE)
    started = time.monotonic()
    with selectors.DefaultSelector() as selector:
        for request in itertools.islice(requests, streams):
            connection = socket.create_connection((host, port), timeout=30)
            connection.sendall(request)
            connection.settimeout(0)
            selector.register(connection, selectors.EVENT_READ, Stream(connection))
        while selector.get_map():
            for key, _ in selector.select(timeout=60) or sys.exit("nothing came for a minute"):
                stream: Stream = key.data
                try:
                    is_whole = _read_on(stream, scratch, progress)
                except BlockingIOError:
                    continue
                request = next(requests, b"") if is_whole else b""
                if request:
                    stream.head.clear()
                    stream.remaining = None
                    stream.connection.sendall(request)
                elif is_whole:
                    selector.unregister(stream.connection)
                    stream.connection.close()
    return {"bytes": progress.received, "seconds": time.monotonic() - started}


def _requests(host: str, targets: list[str], total: int, progress: Progress) -> Iterator[bytes]:
    for target in itertools.cycle(targets) if total else targets:
        if total and progress.begun >= total:
            return
        yield f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def _read_on(stream: Stream, scratch: bytearray, progress: Progress) -> bool:
    """Read what there is, and return whether that ended a body; raises BlockingIOError when nothing is left."""
    if stream.remaining is None:
        stream.remaining = size = _read_head(stream)
        if size is None:
            return False
        progress.begun += size
        progress.received += len(stream.head)
        stream.remaining = size - len(stream.head)
    while stream.remaining:
        # On TCP, MSG_TRUNC drops the bytes in the kernel: nothing is copied.
        size = stream.connection.recv_into(scratch, min(_PIECE, stream.remaining), socket.MSG_TRUNC)
        if not size:
            sys.exit(f"a body ended {stream.remaining} bytes early")
        stream.remaining -= size
        progress.received += size
    return True


def _read_head(stream: Stream) -> int | None:
    """Return the length of the body once the head is whole; what is left in ``head`` then is body."""
    piece = stream.connection.recv(65536)
    if not piece:
        sys.exit("the connection ended before an answer")
    stream.head += piece
    head, end, body = bytes(stream.head).partition(b"\r\n\r\n")
    if not end:
        return None
    length = _LENGTH.search(head)
    if not head.startswith(b"HTTP/1.1 200 ") or length is None:
        sys.exit(head.decode("latin-1"))
    stream.head[:] = body
    return int(length[1])


if __name__ == "__main__":
    address, target, streams, mebibytes = sys.argv[1:]
    host, _, port = address.rpartition(":")
    print(json.dumps(read(host, int(port), target.split(","), int(streams), int(mebibytes) * 2**20)))
