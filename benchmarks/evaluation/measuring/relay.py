"""A relay before a server, which counts the bytes that clients send."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from types import TracebackType
from typing import Final, Self

_PIECE: Final = 2**18


class CountingRelay:
    """``with CountingRelay(registry.address) as relay: ...``; clients go to ``relay.address``.

    It costs time, so it counts in rounds in which none is measured.
    """

    def __init__(self, to: str) -> None:
        """Relay to ``to``, an address and a port."""
        host, _, port = to.rpartition(":")
        self._server = _Server((host, int(port)))
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def received(self) -> int:
        """Bytes from clients so far, of all connections."""
        return self._server.received

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False  # clients keep connections

    def __init__(self, to: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.to = to
        self.received = 0
        self.lock = threading.Lock()


class _Handler(BaseRequestHandler):
    server: _Server
    request: socket.socket

    def handle(self) -> None:
        with socket.create_connection(self.server.to) as way:
            back = threading.Thread(target=_copy, args=(way, self.request), daemon=True)
            back.start()
            with suppress(OSError):
                while piece := self.request.recv(_PIECE):
                    with self.server.lock:
                        self.server.received += len(piece)
                    way.sendall(piece)
                way.shutdown(socket.SHUT_WR)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(_PIECE):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
