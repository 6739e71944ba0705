"""A forward proxy as companies have them: CONNECT for TLS, whole addresses for plain HTTP.

It knows names of its own, so that a registry on this machine has one that no client can look up, nor reach
but through it.
"""

import shutil
import socket
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from threading import Thread
from urllib.parse import urlsplit


class ForwardProxy(ThreadingHTTPServer):
    """Its `asked` are the request lines of those it let through."""

    daemon_threads = True

    def __init__(self, names: Mapping[str, int], login: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.names = names
        self.authorization = f"Basic {b64encode(login.encode()).decode()}" if login else None
        self.address = f"127.0.0.1:{self.server_port}"
        self.asked: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ForwardProxy

    def do_CONNECT(self) -> None:
        with self._way_to(self.path.rpartition(":")[0]) as way:
            if way is not None:
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                self._pass_on(way)

    def _ask(self) -> None:
        parts = urlsplit(self.path)
        with self._way_to(parts.hostname or "") as way:
            if way is not None:
                target = parts._replace(scheme="", netloc="").geturl()
                del self.headers["Proxy-Authorization"]
                head = f"{self.command} {target} HTTP/1.1\r\n{self.headers}".replace("\n", "\r\n")
                head = head.replace("\r\r", "\r").removesuffix("\r\n")
                way.sendall(f"{head}Connection: close\r\n\r\n".encode("latin-1"))
                self._pass_on(way)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = _ask  # noqa: N815

    @contextmanager
    def _way_to(self, host: str) -> Iterator[socket.socket | None]:
        self.close_connection = True
        wanted = self.server.authorization
        if wanted and self.headers["Proxy-Authorization"] != wanted:
            self.send_error(407)
            yield None
        elif host not in self.server.names:
            self.send_error(502)
            yield None
        else:
            self.server.asked.append(self.requestline)
            with socket.create_connection(("127.0.0.1", self.server.names[host])) as way:
                yield way

    def _pass_on(self, way: socket.socket) -> None:
        there = Thread(target=_copy, args=(self.rfile, way), daemon=True)
        there.start()
        with suppress(OSError), way.makefile("rb", 0) as answers:
            shutil.copyfileobj(answers, self.wfile)
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        there.join()

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


def _copy(source: BufferedIOBase, way: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.read1(65536):
            way.sendall(piece)
        way.shutdown(socket.SHUT_WR)


@contextmanager
def forward_proxy(names: Mapping[str, int], login: str = "") -> Iterator[ForwardProxy]:
    """Yield a proxy that leads each of the `names` to a port of this machine; `login` is `user:password`."""
    with ForwardProxy(names, login) as proxy:
        thread = Thread(target=proxy.serve_forever)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
