"""Requests to a registry and its answers, failures put into words."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

from twodfs.concurrency import scope
from twodfs.errors import FormatError, RegistryError
from twodfs.oci.documents import parse_object
from twodfs.printable import printable
from twodfs.wire.connection import OutgoingBody
from twodfs.wire.failures import WireError
from twodfs.wire.response import Headers, Response

MAX_ERROR_BYTES: Final = 64 * 1024
TEMPORARY: Final = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
"""Statuses after which the same request may succeed."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


@dataclass(frozen=True, slots=True)
class Request:
    """One request. ``body`` is sent anew for each attempt."""

    method: str
    url: str
    scopes: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: OutgoingBody | None = None

    @property
    def shown_url(self) -> str:
        """The address without user and query: upload locations and signed redirects carry secrets there."""
        parts = urlsplit(self.url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()

    def failed(self, problem: str, **more: Any) -> RegistryError:
        """Return the error that says so; ``more`` are its attributes."""
        return RegistryError(problem, method=self.method, url=self.shown_url, **more)


@dataclass(frozen=True, slots=True)
class WholeAnswer:
    """A whole answer."""

    status: int
    headers: Headers
    body: bytes = field(repr=False)

    @property
    def media_type(self) -> str:
        """Its Content-Type without parameters."""
        return self.headers.get("content-type").partition(";")[0].strip().lower()


def read(request: Request, response: Response, limit: int) -> bytes:
    """Return the body of ``response``.

    Raises:
        RegistryError: it has more than ``limit`` bytes.
    """
    body = response.read(limit + 1)
    if len(body) > limit:
        raise request.failed(f"answered more than {limit} bytes, which is all that is read here")
    return body


@contextmanager
def described(request: Request) -> Iterator[None]:
    """Turn the failures of a connection into a ``RegistryError``."""
    try:
        yield
    except WireError as error:
        scope().check()  # it may have been ended here
        raise request.failed(error.problem, temporary=error.temporary) from error


def refusal(request: Request, response: Response) -> RegistryError:
    """Return the error in ``response``: the distribution-spec's "Error Codes" where it follows them."""
    code, message = _first_error(response.read(MAX_ERROR_BYTES)[:MAX_ERROR_BYTES])
    return request.failed(
        message or _printable(response.reason, 200) or "refused",
        status=response.status,
        code=code,
        temporary=response.status in TEMPORARY,
        retry_after=_seconds(response.headers.get("retry-after")),
    )


def _seconds(asked: str) -> float | None:
    """Return the seconds that a Retry-After asks for, None when it asks for none (RFC 9110, 10.2.3)."""
    if asked.isascii() and asked.isdecimal():
        return float(asked)
    if not asked:
        return None
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - registries ask for seconds as a rule

    try:
        return max(parsedate_to_datetime(asked).timestamp() - time.time(), 0)
    except (ValueError, OverflowError):
        return None


def _first_error(body: bytes) -> tuple[str, str]:
    try:
        errors = parse_object(body).get("errors")
    except FormatError:
        return "", ""
    first = errors[0] if isinstance(errors, list) and errors else None
    if not isinstance(first, dict):
        return "", ""
    return _printable(first.get("code"), 64), _printable(first.get("message"), 500)


def _printable(value: object, length: int) -> str:
    return printable(_CONTROL.sub(" ", value)[:length]) if isinstance(value, str) else ""
