"""Clients that take their time: many downloads at once, each a few kilobytes a second.

`python slow.py HOST:PORT TARGET STREAMS SECONDS` prints a line when all are under way, and one of
JSON at the end.
"""

from __future__ import annotations

import json
import socket
import sys
import time

_PIECE = 4096
_WINDOW = 16 * 1024
_BATCH = 10
_ROUND_SECONDS = 0.5


def download(host: str, port: int, target: str, streams: int, seconds: float) -> dict[str, int]:
    """Keep all streams moving for ``seconds``; every one must still be alive at the end."""
    request = f"GET {target} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()
    connections = []
    for _ in range(streams):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WINDOW)
        connection.settimeout(30)
        connection.connect((host, port))
        connection.sendall(request)
        connections.append(connection)
    received = 0
    for connection in connections:
        first = connection.recv(_PIECE)
        assert first.startswith(b"HTTP/1.1 200 "), first[:200]
        received += len(first)
    print("under way", flush=True)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for at, connection in enumerate(connections):
            piece = connection.recv(_PIECE)
            assert piece, "a download ended early"
            received += len(piece)
            if at % _BATCH == 0:  # real clients do not all read at the same moment
                time.sleep(_ROUND_SECONDS * _BATCH / streams)
    return {"streams": len(connections), "bytes": received}


if __name__ == "__main__":
    address, target, streams, seconds = sys.argv[1:]
    host, _, port = address.rpartition(":")
    print(json.dumps(download(host, int(port), target, int(streams), float(seconds))))
