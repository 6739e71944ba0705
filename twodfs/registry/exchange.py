"""One attempt at a request: sent to where it leads, redirects followed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Final, NamedTuple
from urllib.parse import urljoin, urlsplit

from twodfs import __version__
from twodfs.concurrency import scope
from twodfs.registry.message import Request, described
from twodfs.wire.connection import Connection, RequestWriter
from twodfs.wire.failures import BrokenError
from twodfs.wire.pool import ConnectionPool
from twodfs.wire.response import Response
from twodfs.wire.url import HttpOrigin, HttpUrl

IDLE_SECONDS: Final = 60.0
"""Seconds without a byte after which a transfer counts as dead; a big one may take as long as it moves."""
COMMIT_SECONDS: Final = 900.0
"""Seconds a registry may take from a blob's last byte to its answer: object stores copy it once more."""

_MAX_REDIRECTS: Final = 5
_KEEPING_THE_METHOD: Final = frozenset({HTTPStatus.TEMPORARY_REDIRECT, HTTPStatus.PERMANENT_REDIRECT})
_REDIRECTS: Final = _KEEPING_THE_METHOD | {HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.FOUND, HTTPStatus.SEE_OTHER}
_WITH_A_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
_HEADERS: Final = {"User-Agent": f"twodfs/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True)
class TextBody:
    """A short body."""

    content: bytes

    @property
    def length(self) -> int:
        """Its bytes."""
        return len(self.content)

    def write_to(self, outlet: RequestWriter) -> None:
        """Send it."""
        outlet.write(self.content)

    def stop(self, abort: Callable[[], None]) -> None:
        """Break it off."""
        abort()


class ReceivedAnswer(NamedTuple):
    """An answer, and the address that gave it."""

    response: Response
    address: HttpUrl


class Exchanges:
    """Makes requests of any address. For any thread.

    Attributes:
        has_answered: whether any of them was ever answered.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        """Take connections from ``pool``."""
        self._pool = pool
        self.has_answered = False

    @contextmanager
    def follow(
        self, request: Request, url: str, origin: HttpOrigin, authorization: str | None
    ) -> Iterator[ReceivedAnswer]:
        """Send ``request`` to ``url``, follow where it leads, and yield the answer, its body unread.

        ``origin`` alone is shown the ``authorization``.

        Raises:
            RegistryError: there is no answer, or a redirect is not to be followed.
        """
        with described(request):
            for _ in range(_MAX_REDIRECTS):
                address = parsed_url(request, url)
                headers = dict(request.headers)
                if authorization is not None and address.origin == origin:
                    headers["Authorization"] = authorization
                with self.once(request, address, headers) as response:
                    target = _redirected(request, ReceivedAnswer(response, address))
                    if target is None:
                        yield ReceivedAnswer(response, address)
                        return
                url = target
            raise request.failed(f"redirected more than {_MAX_REDIRECTS} times")

    @contextmanager
    def once(self, request: Request, address: HttpUrl, headers: Mapping[str, str]) -> Iterator[Response]:
        """Send a request to one address and yield the answer; keep the connection where that is read to its end.

        Raises:
            WireError: there is no answer.
        """
        head = _head(request, address, headers, self._pool)
        # Storing may take long; a question, of a token server as well, is answered at once.
        commit = COMMIT_SECONDS if request.method in ("PUT", "PATCH") else IDLE_SECONDS
        is_answered = False
        while not is_answered:
            connection = self._pool.take(address.origin, IDLE_SECONDS)
            keep = False
            try:
                with scope().on_stop(_stopping(request, connection)):
                    response = connection.exchange(head, request.body, request.method, IDLE_SECONDS, commit)
                    is_answered = self.has_answered = True
                    yield response
                    response.finish()
                    keep = response.is_keepable
            except BrokenError:
                # A kept connection may have ended before the request reached the server (RFC 9112, 9.3.1). One
                # with a body may have been half an upload, which begins anew at its first step.
                if is_answered or not connection.is_kept or request.body is not None:
                    raise
            finally:
                _settle(self._pool, address, connection, keep=keep)


def _stopping(request: Request, connection: Connection) -> Callable[[], None]:
    """Return what ends an exchange whose result is no longer wanted."""
    return connection.abort if request.body is None else partial(request.body.stop, connection.abort)


def _redirected(request: Request, arrived: ReceivedAnswer) -> str | None:
    response = arrived.response
    keeps = request.method in ("GET", "HEAD") or response.status in _KEEPING_THE_METHOD
    location = response.headers.get("location")
    if response.status not in _REDIRECTS or not keeps or not location:
        return None
    return located(request, str(arrived.address), location)


def located(request: Request, at: str, location: str) -> str:
    """Return the address that ``location``, answered from ``at``, points to; its escapes stay.

    Raises:
        RegistryError: it is no http(s) address, or leaves TLS behind.
    """
    try:
        # Signatures are made over its escapes.
        url = urljoin(at, location)
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        raise request.failed("answered with a Location that is no address") from None
    if parts.scheme not in ("http", "https") or not host:
        raise request.failed(f"sends us to {parts.scheme}://{host or ''}, which is no http(s) address; not followed")
    if at.startswith("https:") and parts.scheme == "http":
        raise request.failed(f"sends us to {parts.scheme}://{host}, away from TLS; not followed")
    return url


def parsed_url(request: Request, url: str) -> HttpUrl:
    """Return ``url`` taken apart; raises ``RegistryError`` when it is none."""
    try:
        return HttpUrl.parse(url)
    except ValueError:
        raise request.failed("this is no address that can be asked") from None


def _head(request: Request, address: HttpUrl, headers: Mapping[str, str], pool: ConnectionPool) -> bytes:
    """Return a request up to its body (RFC 9112, 3)."""
    target = address.target
    lines = {"Host": address.authority, **_HEADERS, **headers}
    proxy = pool.proxy(address.origin) if address.origin.scheme == "http" else None
    if proxy:
        target = str(address)
    if request.body is not None and request.body.length is None:
        lines["Transfer-Encoding"] = "chunked"
    elif request.body is not None or request.method in _WITH_A_BODY:
        lines["Content-Length"] = str(request.body.length if request.body else 0)
    written = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    authorization = proxy.authorization if proxy else ""
    return f"{request.method} {target} HTTP/1.1\r\n{written}{authorization}\r\n".encode("latin-1")


def _settle(pool: ConnectionPool, address: HttpUrl, connection: Connection, *, keep: bool) -> None:
    if keep:
        pool.put(address.origin, connection)
    else:
        connection.close()
