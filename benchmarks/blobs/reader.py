"""A client that costs next to nothing: reads blobs over kept connections and drops them inside the kernel.

`python reader.py HOST:PORT TARGET STREAMS MIB` prints what it saw as JSON. It is a program of its own, so
that its processor time is not counted with anybody's.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import sys
import time
from dataclasses import dataclass, field

_PIECE = 2**20
_LENGTH = re.compile(rb"\r\nContent-Length: *([0-9]+)", re.IGNORECASE)


@dataclass(slots=True)
class Stream:
    connection: socket.socket
    head: bytearray = field(default_factory=bytearray)
    remaining: int | None = None
    """Bytes of the body still to come; None: the head is still to come."""


def read(host: str, port: int, target: str, streams: int, total: int) -> dict[str, float]:
    """Read blobs until ``total`` bytes were begun, each stream to the end of its last blob."""
    request = f"GET {target} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()
    scratch = bytearray(_PIECE)
    started = time.monotonic()
    begun = received = 0
    with selectors.DefaultSelector() as selector:
        for _ in range(streams):
            connection = socket.create_connection((host, port), timeout=30)
            connection.sendall(request)
            connection.settimeout(0)
            selector.register(connection, selectors.EVENT_READ, Stream(connection))
        while selector.get_map():
            for key, _ in selector.select(timeout=60) or sys.exit("nothing came for a minute"):
                stream: Stream = key.data
                try:
                    if stream.remaining is None:
                        stream.remaining = size = _read_head(stream)
                        if size is None:
                            continue
                        begun += size
                        received += len(stream.head)
                        stream.remaining = size - len(stream.head)
                    while stream.remaining:
                        # On TCP, MSG_TRUNC drops the bytes in the kernel: nothing is copied.
                        size = stream.connection.recv_into(scratch, min(_PIECE, stream.remaining), socket.MSG_TRUNC)
                        if not size:
                            sys.exit(f"a body ended {stream.remaining} bytes early")
                        stream.remaining -= size
                        received += size
                except BlockingIOError:
                    continue
                if begun < total:
                    stream.head.clear()
                    stream.remaining = None
                    stream.connection.sendall(request)
                else:
                    selector.unregister(stream.connection)
                    stream.connection.close()
    return {"bytes": received, "seconds": time.monotonic() - started}


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
    print(json.dumps(read(host, int(port), target, int(streams), int(mebibytes) * 2**20)))
