"""What goes to a registry and what comes back, failures put into words."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import aiohttp
from aiohttp import hdrs
from yarl import URL

from twodfs.errors import FormatError, RegistryError
from twodfs.oci import parse_object

Body: TypeAlias = Callable[[], AsyncIterator[bytes]]

MAX_ERROR_BYTES: Final = 64 * 1024
TEMPORARY: Final = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


@dataclass(frozen=True, slots=True)
class Request:
    """One request. ``body`` opens its content anew for each attempt; ``length`` are its bytes."""

    method: str
    url: URL
    scopes: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    length: int = 0

    @property
    def shown_url(self) -> str:
        """The address without user and query: upload locations and signed redirects carry secrets there."""
        return str(self.url.with_user(None).with_query(None).with_fragment(None))

    def failed(self, problem: str, **more: Any) -> RegistryError:
        """Return the error that says so; ``more`` are its attributes."""
        return RegistryError(problem, method=self.method, url=self.shown_url, **more)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; ``media_type`` is its Content-Type without parameters."""

    status: int
    headers: Mapping[str, str]
    media_type: str
    body: bytes = field(repr=False)


async def read(request: Request, response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Return the body of ``response``.

    Raises:
        RegistryError: it has more than ``limit`` bytes.
    """
    body = await _first(response, limit + 1)
    if len(body) > limit:
        raise request.failed(f"answered more than {limit} bytes, which is all that is read here")
    return body


async def _first(response: aiohttp.ClientResponse, size: int) -> bytes:
    chunks = []
    async for chunk in response.content.iter_any():
        chunks.append(chunk[:size])
        size -= len(chunk)
        if size <= 0:
            break
    return b"".join(chunks)


@contextmanager
def in_words(request: Request) -> Iterator[None]:
    """Turn the failures of a connection into a ``RegistryError``."""
    try:
        yield
    except aiohttp.ClientConnectorCertificateError as error:
        reason = getattr(error.certificate_error, "verify_message", "") or "not valid"
        raise request.failed(f"the registry's certificate is not trusted: {reason}") from error
    except aiohttp.ClientSSLError as error:
        raise request.failed(
            "no TLS could be agreed on; a registry that speaks plain HTTP takes --plain-http"
        ) from error
    except aiohttp.InvalidURL as error:
        raise request.failed("this is no address that can be asked") from error
    except TimeoutError as error:
        raise request.failed("the registry does not answer in time", temporary=True) from error
    except aiohttp.ClientConnectorError as error:
        problem = f"cannot connect: {error.os_error.strerror or error.os_error}"
        raise request.failed(problem, temporary=True) from error
    except aiohttp.ClientError as error:
        raise request.failed(f"the connection broke: {type(error).__name__}", temporary=True) from error


async def refusal(request: Request, response: aiohttp.ClientResponse) -> RegistryError:
    """Return the error in ``response``: the distribution-spec's "Error Codes" where it follows them."""
    body = await _first(response, MAX_ERROR_BYTES)
    code, message = _first_error(body)
    asked = response.headers.get(hdrs.RETRY_AFTER, "")
    return request.failed(
        message or response.reason or "refused",
        status=response.status,
        code=code,
        temporary=response.status in TEMPORARY,
        retry_after=float(asked) if asked.isdecimal() else None,
    )


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
    return _CONTROL.sub(" ", value)[:length] if isinstance(value, str) else ""
