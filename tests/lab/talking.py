"""Registries that are no more than a socket and their answers."""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from tests.lab.certificates import Authority
from twodfs.oci.digest import digest_of
from twodfs.registry.session import RemoteRepository, Retries, open_registry

ONCE = Retries(attempts=1)


NAME = digest_of(b"content")


WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\ncontent"


Talk = Callable[[socket.socket], object]


@contextmanager
def talking(*talks: Talk, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """Yield the address of a server that has one of `talks` on each connection, in turn."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)

        def serve() -> None:
            for talk in talks:
                connection, _ = server.accept()
                with connection:
                    connection.settimeout(30)
                    if context is None:
                        talk(connection)
                        continue
                    try:
                        with context.wrap_socket(connection, server_side=True) as encrypted:
                            talk(encrypted)
                    except OSError:  # a client that does not trust it
                        continue

        thread = Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def heard(connection: socket.socket) -> bytes:
    """Return the next request, up to its body."""
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        one = connection.recv(1)
        if not one:
            return b""
        request += one
    return request


def saying(*answers: bytes) -> Talk:
    """Return a talk that gives `answers` to as many requests."""

    def talk(connection: socket.socket) -> None:
        for answer in answers:
            heard(connection)
            connection.sendall(answer)

    return talk


@contextmanager
def opened(address: str, retries: Retries = ONCE, *, plain_http: bool = True) -> Iterator[RemoteRepository]:
    with open_registry(address, plain_http=plain_http, keychain=lambda _registry: None, retries=retries) as registry:
        yield registry.repository("a", push=True)


def certificate(directory: Path) -> ssl.SSLContext:
    """Return the context of a server on 127.0.0.1 that shows its issuer as well, which is in `trusted-ca.pem`."""
    authority = Authority(directory, "trusted")
    pair = authority.issue("server", "127.0.0.1")
    with pair.certificate.open("ab") as chain:
        chain.write(authority.bundle.read_bytes())
    return pair.server_context()
