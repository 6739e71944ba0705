"""Answers of the registry that are read as a whole, and why there was none, in sentences."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.metrics.catalogue import UPSTREAM_ERRORS, UPSTREAM_SECONDS
from proxy.repository import DEFAULT_UPSTREAM
from proxy.tracing.spans import trace_id
from proxy.upstream.errors import describe
from proxy.upstream.redirects import RedirectError
from proxy.wire.back_pressure import hurry

Take = Callable[[bytes], Awaitable[None]]

NO_HEADERS: Final = CIMultiDictProxy(CIMultiDict[str]())
MAX_REFUSAL: Final = 64 * 1024
"""Bytes kept of an error answer; error documents are small."""


STALE: Final = '110 - "Response is Stale"'
"""The ``Warning`` of an answer that the registry gave before, and cannot be asked for now (RFC 7234, 5.5.1)."""
_STALE_CODE: Final = "110 "
GIVEN: Final = frozenset({HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT})
"""Statuses of answers that give what was asked for, or a part of it."""
REFUSALS: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
"""Statuses of a no to the credentials that came with a question."""
_STATUSES: Final = range(200, 600)


class UpstreamError(Exception):
    """The registry could not be asked, or answered against the protocol; ``status`` is the one that clients get."""

    def __init__(self, message: str, *, status: int = 502) -> None:
        super().__init__(message)
        self.status = status


class UnreachableError(UpstreamError):
    """No connection came about: nothing was sent, so any request may go to another origin."""


class BrokeOffError(UpstreamError):
    """The connection ended before the answer did: a request that only reads may go to another origin."""


class TooLongError(UpstreamError):
    """The registry's answer is longer than it may be; it answers all the same."""


class UnknownNowError(UpstreamError):
    """The registry cannot be asked, and nothing is known of what it would have said."""

    def __init__(self, message: str) -> None:
        super().__init__(message, status=503)


class RefusedError(Exception):
    """The registry refused, or answered with an error; its own words are in ``reply``."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"the registry answered {reply.status}")
        self.reply = reply


class HeldWriteError(RefusedError):
    """A write whose answer the client has yet to get, since it asks for more; ``body`` is all of it."""

    def __init__(self, reply: Reply, body: bytes) -> None:
        super().__init__(reply)
        self.body = body


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer of the registry."""

    status: int
    reason: str
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def media_type(self) -> str:
        """Of the body, without parameters."""
        return self.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip()

    @property
    def is_stale(self) -> bool:
        """Whether it is what the registry said before, since it cannot be asked now."""
        return any(warning.startswith(_STALE_CODE) for warning in self.headers.getall(hdrs.WARNING, ()))


def check_found(response: aiohttp.ClientResponse) -> None:
    """Refuse an error of another host in place of a blob: it is not the registry's answer."""
    if response.status not in (200, 206, 304, 412, 416):
        raise UpstreamError(f"the registry redirects to {response.url.host} for this, which answers {response.status}")


async def read(response: aiohttp.ClientResponse, limit: int, take: Take | None) -> Reply:
    """Read the answer, into ``take`` where it is a success; with a ``limit`` of 0 that is left unread."""
    if response.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity" and response.ok:
        raise UpstreamError(f"the registry's answer for {response.url.path} is compressed, which was not asked for")
    bound = limit if response.ok else MAX_REFUSAL
    if not bound:
        return Reply(response.status, response.reason or "", response.headers, b"")
    hurry(response)
    chunks: list[bytes] = []
    size = 0
    try:
        while chunk := await response.content.readany():
            size += len(chunk)
            if size > bound:
                raise TooLongError(  # noqa: TRY301 - as the registry's own faults
                    f"the registry's answer for {response.url.path} is longer than {bound} bytes"
                )
            if take is not None and response.ok:
                await take(chunk)
            else:
                chunks.append(chunk)
    except BaseException:
        # The error leads here; code that keeps it for a while must not keep these bytes.
        chunks.clear()
        chunk = b""
        raise
    return Reply(response.status, response.reason or "", response.headers, b"".join(chunks))


def check_given(response: aiohttp.ClientResponse, *, is_conditional: bool = False) -> None:
    """Refuse an answer that neither gives nor refuses: no content, or "not modified" where no condition was made."""
    if is_conditional and response.status == HTTPStatus.NOT_MODIFIED:
        return
    if response.status < HTTPStatus.BAD_REQUEST and response.status not in (200, 206):
        raise UpstreamError(
            f"the registry answers {response.status} for {response.url.path}, which is neither what was "
            "asked for nor a refusal"
        )


def check_head(response: aiohttp.ClientResponse) -> None:
    """Refuse a status that no client could make sense of, or that is for this hop alone (RFC 9110, 15).

    And a coding beside chunked (RFC 9112, 7), which is for this hop, too, and would be lost on the next.
    """
    codings = ", ".join(response.headers.getall(hdrs.TRANSFER_ENCODING, ["chunked"]))
    if codings.strip().lower() != "chunked":
        raise UpstreamError("the registry answers in a transfer coding that nobody asked for")
    if response.status not in _STATUSES:
        raise UpstreamError(f"the registry answers with the status {response.status}, which HTTP does not have")


def _about_tls(error: aiohttp.ClientConnectorError, upstream: str) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = getattr(error.certificate_error, "verify_message", "") or str(error.certificate_error)
        hint = (
            "set upstream.server_name to a name that is in it"
            if "mismatch" in reason or "not valid for" in reason
            else "set upstream.ca_file to the CA that signed it"
        )
        return f"the certificate of the registry at {upstream} is not trusted: {reason.rstrip('.')}; {hint}"
    reason = error.os_error.reason if isinstance(error.os_error, ssl.SSLError) else str(error.os_error)
    return f"no TLS could be agreed on with the registry at {upstream}: {reason}"


@contextlib.contextmanager
def explained(origin: str, operation: str, upstream: str = DEFAULT_UPSTREAM) -> Iterator[None]:
    """Turn the library's errors into sentences about the registry, and count both time and errors.

    Args:
        origin: its address, for people.
        operation: as the metric names it.
        upstream: the registry's name, as ``Repository.upstream`` has it.
    """
    started = time.perf_counter()
    try:
        yield
    except UpstreamError:
        UPSTREAM_ERRORS.of("answer", upstream).add()
        raise
    except RedirectError as error:
        UPSTREAM_ERRORS.of("redirect", upstream).add()
        raise UpstreamError(str(error)) from None
    except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
        UPSTREAM_ERRORS.of("tls", upstream).add()
        raise UnreachableError(_about_tls(error, origin)) from None
    except aiohttp.ConnectionTimeoutError:
        UPSTREAM_ERRORS.of("connect_timeout", upstream).add()
        raise UnreachableError(f"the registry at {origin} does not accept connections", status=504) from None
    except TimeoutError:
        UPSTREAM_ERRORS.of("timeout", upstream).add()
        raise UpstreamError(f"the registry at {origin} does not answer in time", status=504) from None
    except aiohttp.ClientConnectorError as error:
        UPSTREAM_ERRORS.of("unreachable", upstream).add()
        problem = error.strerror or str(error)
        raise UnreachableError(f"the registry at {origin} cannot be reached: {problem}") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        UPSTREAM_ERRORS.of("broke_off", upstream).add()
        problem = describe(error)
        if origin.startswith("https:") and isinstance(error, aiohttp.ServerDisconnectedError):
            # In TLS 1.3 a client learns only after the handshake that its certificate is missing.
            problem += "; if it wants a client certificate, set upstream.client_certificate"
        raise BrokeOffError(f"the registry at {origin} broke off: {problem}") from None
    finally:
        UPSTREAM_SECONDS.of(operation, upstream).observe(time.perf_counter() - started, trace_id())
