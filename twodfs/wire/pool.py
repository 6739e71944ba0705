"""Connections to origins, kept for the next request; through a proxy where the environment names one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from twodfs.wire.connection import Connection
from twodfs.wire.failures import UntrustedError, WireError
from twodfs.wire.proxies import Proxy, proxy_url
from twodfs.wire.url import PORTS, HttpOrigin

if TYPE_CHECKING:
    from ssl import SSLContext

CONNECT_SECONDS: Final = 15.0

CERTIFICATES: Final = Path("/etc/docker/certs.d")
"""Where Docker looks, below ``HOST:PORT``, for CAs to trust beside the system's (``*.crt``), and for client
certificates (``*.cert`` with its ``*.key``)."""


class ConnectionPool:
    """Connections, kept for the next request. For any thread."""

    def __init__(self, ca_file: Path | None = None) -> None:
        """Begin with none; ``ca_file`` has PEM certificates to trust beside the system's."""
        self._ca_file = ca_file
        self._idle: dict[HttpOrigin, list[Connection]] = {}
        self._changing = threading.Lock()
        self._proxies: dict[HttpOrigin, Proxy | None] = {}
        self._tls: dict[Path | None, SSLContext] = {}

    def take(self, origin: HttpOrigin, idle: float) -> Connection:
        """Return a connection to ``origin``, a new one where none is left.

        Raises:
            WireError: nothing answers there, or it cannot be trusted.
        """
        while True:
            with self._changing:
                kept = self._idle.get(origin)
                connection = kept.pop() if kept else None
            if connection is None:
                return self._connect(origin, idle)
            if not connection.has_news():
                return connection
            connection.close()  # the other side ended the kept connection

    def put(self, origin: HttpOrigin, connection: Connection) -> None:
        """Keep ``connection`` for the next request."""
        connection.is_kept = True
        with self._changing:
            self._idle.setdefault(origin, []).append(connection)

    def close(self) -> None:
        """Close the kept connections."""
        with self._changing:
            kept = [connection for one in self._idle.values() for connection in one]
            self._idle.clear()
        for connection in kept:
            connection.close()

    def proxy(self, origin: HttpOrigin) -> Proxy | None:
        """Return the proxy between here and ``origin``.

        Raises:
            WireError: there is one of an unknown kind.
        """
        if origin not in self._proxies:
            url = proxy_url(*origin)
            self._proxies[origin] = Proxy.parse(url) if url else None
        return self._proxies[origin]

    def _connect(self, origin: HttpOrigin, idle: float) -> Connection:
        proxy = self.proxy(origin)
        sock = _open(*((proxy.host, proxy.port) if proxy else (origin.host, origin.port)))
        try:
            if proxy and origin.scheme == "https":
                # No later bytes are read by mistake: TLS servers say nothing unasked.
                Connection(sock, encrypted=False).tunnel(origin.host, origin.port, proxy.authorization, idle)
            if origin.scheme == "https":
                sock = self._encrypted(sock, origin)
        except BaseException:
            sock.close()
            raise
        return Connection(sock, encrypted=origin.scheme == "https")

    def speaks_tls(self, origin: HttpOrigin) -> bool:
        """Say whether a server speaks TLS at an origin of plain HTTP, trusted or not."""
        try:
            connection = self._connect(origin._replace(scheme="https"), CONNECT_SECONDS)
        except UntrustedError:
            return True
        except WireError:
            return False
        connection.close()
        return True

    def _encrypted(self, sock: socket.socket, origin: HttpOrigin) -> socket.socket:
        import ssl  # noqa: PLC0415 - for https alone

        directory = _certificates(origin)
        if directory not in self._tls:
            self._tls[directory] = _context(directory, self._ca_file)
        try:
            return self._tls[directory].wrap_socket(sock, server_hostname=origin.host)
        except ssl.SSLCertVerificationError as error:
            reason = error.verify_message or "not valid"
            raise UntrustedError(
                f"the registry's certificate is not trusted: {reason}; --ca-file names a file, or "
                f"{CERTIFICATES}/{origin.host}:{origin.port} has one, with whom to trust"
            ) from error
        except TimeoutError as error:
            raise WireError("the registry does not answer in time", temporary=True) from error
        except ssl.SSLError as error:
            raise WireError(
                "no TLS could be agreed on; a registry that speaks plain HTTP takes --plain-http, "
                "or --base-plain-http where it has the base"
            ) from error
        except OSError as error:
            raise WireError(f"cannot connect: {error.strerror or error}", temporary=True) from error


def _certificates(origin: HttpOrigin) -> Path | None:
    """Return the directory that Docker has for a registry's certificates; None where there is none."""
    names = [f"{origin.host}:{origin.port}", *([origin.host] if origin.port == PORTS["https"] else [])]
    return next((CERTIFICATES / name for name in names if (CERTIFICATES / name).is_dir()), None)


def _context(directory: Path | None, ca_file: Path | None) -> SSLContext:
    import ssl  # noqa: PLC0415 - for https alone

    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    authorities = sorted(directory.glob("*.crt")) if directory else []
    for one in [*authorities, *([ca_file] if ca_file else [])]:
        with _usable(one):
            context.load_verify_locations(one)
    for one in sorted(directory.glob("*.cert")) if directory else ():
        with _usable(one, " with the key beside it"):
            # Without a password OpenSSL asks for one on the terminal.
            context.load_cert_chain(one, one.with_suffix(".key"), password="")
    return context


@contextmanager
def _usable(file: Path, more: str = "") -> Iterator[None]:
    try:
        yield
    except OSError as error:  # as ssl.SSLError is
        raise WireError(f"the certificate {file}{more} cannot be used: {error.strerror}") from None


def _open(host: str, port: int) -> socket.socket:
    try:
        # Bytes, for which no codec of international names is loaded.
        sock = socket.create_connection((host.encode("ascii"), port), CONNECT_SECONDS)  # type: ignore[arg-type]
    except TimeoutError as error:
        raise WireError("the registry does not answer in time", temporary=True) from error
    except OSError as error:
        raise WireError(f"cannot connect: {error.strerror or error}", temporary=True) from error
    with suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
