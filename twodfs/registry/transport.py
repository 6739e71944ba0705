"""Requests to one registry: challenges met, redirects followed, failures retried."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias, TypeVar
from urllib.parse import urlencode, urljoin, urlsplit

from twodfs import __version__
from twodfs.concurrency import scope
from twodfs.errors import RegistryError
from twodfs.oci.reference import DOCKER_HUB, is_loopback
from twodfs.registry.message import TEMPORARY, Answer, Request, describe, read, refusal
from twodfs.wire.connection import Connection, RequestWriter
from twodfs.wire.failures import BrokenError, WireError
from twodfs.wire.pool import ConnectionPool
from twodfs.wire.response import Response
from twodfs.wire.url import HttpUrl

if TYPE_CHECKING:  # loaded once a registry asks who one is
    from twodfs.credentials.credentials import Credentials
    from twodfs.registry.auth import Authorization, Flow, TokenAnswer, TokenRequest

T = TypeVar("T")
Keychain: TypeAlias = Callable[[str], "Credentials | None"]

DOCKER_HUB_HOST: Final = "registry-1.docker.io"
RETRY_SECONDS: Final = 180.0
"""Seconds after which a request that has failed so far is not made again."""
IDLE_SECONDS: Final = 60.0
"""Seconds without a byte after which a transfer counts as dead; a big one may take as long as it moves."""
COMMIT_SECONDS: Final = 900.0
"""Seconds a registry may take from a blob's last byte to its answer: object stores copy it once more."""
MAX_TOKEN_BYTES: Final = 1024 * 1024

_MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KEEPING_THE_METHOD = frozenset({307, 308})
_WITH_A_BODY = frozenset({"POST", "PUT", "PATCH"})
_BAD_REQUEST = 400
_UNAUTHORIZED = 401
_EARLY = 10.0  # seconds before its end that a token is no longer begun with
_HEADERS = {"User-Agent": f"twodfs/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a request is made, and the seconds between.

    The delays grow, and a part of each is left to chance, so that those who failed together do not come back
    together. What a registry asks for with Retry-After is waited as well, so that its 0 is no delay of 0.
    With the defaults they are 40 s at most in all, as long as the registry asks for no others.

    Attributes:
        attempts: of a registry that has answered before.
        first_attempts: of one that has not: the address may be wrong.
        first_delay: seconds.
        longest_delay: seconds, also of a Retry-After.
        in_all: seconds after which nothing is tried again: since a request was first made, or, where it
            carries a blob, of all that was waited.
    """

    attempts: int = 8
    first_attempts: int = 4
    first_delay: float = 0.3
    longest_delay: float = 20.0
    in_all: float = RETRY_SECONDS

    def delay(self, attempt: int, asked: float | None, chance: Callable[[], float] = random.random) -> float:
        """Return the seconds to wait after the failed ``attempt``, counted from 0.

        Args:
            attempt: which one.
            asked: what the registry asks for; None where it asks for nothing.
            chance: returns a number from 0 to 1.
        """
        longest = min(self.first_delay * 2.0**attempt, self.longest_delay)
        return min(asked or 0.0, self.longest_delay) + longest * (0.5 + chance() / 2)


@dataclass(frozen=True, slots=True)
class TextAnswer:
    """A short body."""

    content: bytes

    @property
    def length(self) -> int:
        """Its bytes."""
        return len(self.content)

    def write_to(self, outlet: RequestWriter) -> None:
        """Send it."""
        outlet.write(self.content)


class ReceivedAnswer(NamedTuple):
    """An answer, and the address that gave it."""

    response: Response
    address: HttpUrl


class Timeouts:
    """What is left of the attempts at one thing."""

    def __init__(
        self,
        retries: Retries,
        has_answered: Callable[[], bool],
        *,
        is_transfer: bool = False,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        """Begin with all attempts; ``is_transfer`` says that one may take long, and be well all the same."""
        self._retries = retries
        self._has_answered = has_answered
        self._chance = chance
        self._sleep = sleep
        self._clock = clock
        self._begun = None if is_transfer else clock()
        self._waited = 0.0
        self._failed = 0

    def waits_after(self, error: RegistryError) -> bool:
        """Wait until it may be tried again; say at once when it may not."""
        delay = self._retries.delay(self._failed, error.retry_after, self._chance)
        self._failed += 1
        attempts = self._retries.attempts
        if not self._has_answered():
            attempts = min(attempts, self._retries.first_attempts)
        taken = self._waited if self._begun is None else self._clock() - self._begun
        if not error.temporary or self._failed >= attempts or taken + delay > self._retries.in_all:
            return False
        (self._sleep or scope().sleep)(delay)
        self._waited += delay
        return True


class Transport:
    """One registry's origin, and what it has authorised so far. For any thread."""

    def __init__(
        self,
        pool: ConnectionPool,
        registry: str,
        *,
        plain_http: bool,
        keychain: Keychain,
        retries: Retries,
        tls: bool = False,
    ) -> None:
        """Prepare for ``registry``; with neither ``plain_http`` nor ``tls``, one on this machine chooses."""
        host = DOCKER_HUB_HOST if registry == DOCKER_HUB else registry
        self.registry = registry
        self._plain_http = plain_http or (is_loopback(registry) and not tls)
        # One on this machine is taken to speak plain HTTP, as most do, until it turns out otherwise.
        self._may_speak_tls = self._plain_http and not plain_http
        self.url = f"{'http' if self._plain_http else 'https'}://{host}"
        self._origin = HttpUrl.parse(self.url).origin
        self._pool = pool
        self._keychain = keychain
        self._retries = retries
        self._authorised: dict[tuple[str, ...], tuple[str, float]] = {}
        self._asking = threading.Lock()
        self._has_answered = False

    @property
    def was_challenged(self) -> bool:
        """Whether the registry has asked who the user is."""
        return bool(self._authorised)

    def retry(self, attempt: Callable[[], T], *, is_transfer: bool = False) -> T:
        """Return what ``attempt`` returns, making it again as long as it fails for the moment only.

        Every step of the protocol may be: reading, storing by digest, and an upload from its start.
        ``is_transfer`` says that it carries a blob, and may take as long as that does.
        """
        retrying = self.retrying(is_transfer=is_transfer)
        while True:
            try:
                return attempt()
            except RegistryError as error:
                if not retrying.waits_after(error):
                    raise

    def retrying(self, *, is_transfer: bool) -> Timeouts:
        """Return the retrying for one thing that may be tried again."""
        return Timeouts(self._retries, lambda: self._has_answered, is_transfer=is_transfer)

    def fetch(self, request: Request, *expected: int, limit: int) -> Answer:
        """Return the answer to ``request``, with a body of at most ``limit`` bytes; retried.

        Raises:
            RegistryError: no answer, a bigger one, or its status is not ``expected``.
            AuthError: the registry wants credentials that there are none of.
        """

        def attempt() -> Answer:
            with self.exchange(request, *expected) as (response, _):
                return Answer(response.status, response.headers, read(request, response, limit))

        return self.retry(attempt)

    @contextmanager
    def exchange(self, request: Request, *expected: int) -> Iterator[ReceivedAnswer]:
        """Make one attempt at ``request`` and yield the answer, its body unread.

        A connection that breaks within the block fails it like one that breaks before.

        Raises:
            RegistryError: no answer, or its status is not ``expected``.
            AuthError: the registry wants credentials that there are none of.
        """
        header = self._remembered(request.scopes)
        with self._first_arrived(request, header) as arrived:
            challenges = self._challenges(arrived)
            if not challenges:
                yield _expected(request, arrived, expected)
                return
        with self._arrived(request, self._authorise(request, challenges, header)) as arrived:
            yield _expected(request, arrived, expected)

    @contextmanager
    def _first_arrived(self, request: Request, authorization: str | None) -> Iterator[ReceivedAnswer]:
        """Yield the answer as ``_arrived`` does, over TLS where a registry on this machine speaks that."""
        with ExitStack() as stack:
            try:
                arrived = stack.enter_context(self._arrived(request, authorization))
                is_odd = arrived.response.status == _BAD_REQUEST
            except RegistryError as error:
                if not (self._may_speak_tls and _is_odd(error.__cause__) and self._turn_to_tls()):
                    raise
                is_odd, arrived = False, stack.enter_context(self._arrived(request, authorization))
            # What speaks TLS alone answers plain HTTP with a 400, if with any HTTP.
            if is_odd and self._may_speak_tls and self._turn_to_tls():
                stack.close()
                arrived = stack.enter_context(self._arrived(request, authorization))
            self._may_speak_tls = False
            yield arrived

    def _turn_to_tls(self) -> bool:
        """Speak TLS from now on, if somebody there does."""
        if not self._pool.speaks_tls(self._origin):
            return False
        self._plain_http = self._may_speak_tls = False
        self.url = self.url.replace("http://", "https://", 1)
        self._origin = HttpUrl.parse(self.url).origin
        return True

    def _moved(self, url: str) -> str:
        """Return where ``url``, made before the registry turned out to speak TLS, leads to now."""
        plain = self.url.replace("https://", "http://", 1)
        return self.url + url[len(plain) :] if url.startswith(f"{plain}/") and not self._plain_http else url

    def _challenges(self, arrived: ReceivedAnswer) -> list[str]:
        # Another origin's challenge, behind a redirect, gets no credentials of ours.
        if arrived.response.status != _UNAUTHORIZED or arrived.address.origin != self._origin:
            return []
        return arrived.response.headers.all("www-authenticate")

    def _authorise(self, request: Request, asked: list[str], refused: str | None) -> str | None:
        """Return the header that meets what was ``asked``; the same for all that ask at the same time."""
        from twodfs.registry.auth import answer, parse_challenges  # noqa: PLC0415 - many registries ask nothing

        challenges = parse_challenges(asked)
        if not challenges:
            return refused
        with self._asking:
            current = self._remembered(request.scopes)
            if current is None or current == refused:
                flow = answer(
                    challenges,
                    self._keychain(self.registry),
                    registry=self.registry,
                    scopes=request.scopes,
                    plain_http=self._plain_http,
                )
                current = self._remember(request.scopes, self._drive(flow))
        return current

    def _remembered(self, scopes: tuple[str, ...]) -> str | None:
        header, until = self._authorised.get(scopes, (None, 0.0))
        return header if time.monotonic() < until else None

    def _remember(self, scopes: tuple[str, ...], authorization: Authorization) -> str:
        lifetime = authorization.lifetime
        good_for = float("inf") if lifetime is None else max(lifetime - _EARLY, lifetime / 2)
        self._authorised[scopes] = (authorization.header, time.monotonic() + good_for)
        return authorization.header

    def _drive(self, flow: Flow) -> Authorization:
        """Make the requests that ``flow`` takes."""
        try:
            wanted = next(flow)
            while True:
                wanted = flow.send(self._ask(wanted))
        except StopIteration as done:
            result: Authorization = done.value
            return result

    def _ask(self, wanted: TokenRequest) -> TokenAnswer:
        from twodfs.registry.auth import TokenAnswer  # noqa: PLC0415 - see _authorise

        headers, body = dict(wanted.headers), None
        if wanted.form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = TextAnswer(urlencode(wanted.form).encode("ascii"))
        request = Request(wanted.method, wanted.url, headers=headers, body=body)
        with describe(request), self._once(request, _parsed(request, request.url), headers) as response:
            if response.status in TEMPORARY:
                raise refusal(request, response)
            return TokenAnswer(response.status, read(request, response, MAX_TOKEN_BYTES))

    @contextmanager
    def _arrived(self, request: Request, authorization: str | None) -> Iterator[ReceivedAnswer]:
        """Send ``request``, follow where it leads, and yield the answer."""
        url = self._moved(request.url)
        with describe(request):
            for _ in range(_MAX_REDIRECTS):
                address = _parsed(request, url)
                headers = dict(request.headers)
                if authorization is not None and address.origin == self._origin:
                    headers["Authorization"] = authorization
                with self._once(request, address, headers) as response:
                    target = self._redirected(request, ReceivedAnswer(response, address))
                    if target is None:
                        yield ReceivedAnswer(response, address)
                        return
                url = target
            raise request.failed(f"redirected more than {_MAX_REDIRECTS} times")

    @contextmanager
    def _once(self, request: Request, address: HttpUrl, headers: Mapping[str, str]) -> Iterator[Response]:
        """Send a request to one address; keep the connection where the answer was read to its end."""
        head = _head(request, address, headers, self._pool)
        # What is stored may take long; a question, of a token server as well, is answered at once.
        commit = COMMIT_SECONDS if request.method == "PUT" else IDLE_SECONDS
        is_answered = False
        while not is_answered:
            connection = self._pool.take(address.origin, IDLE_SECONDS)
            keep = False
            try:
                with scope().on_stop(connection.abort):
                    response = connection.exchange(head, request.body, request.method, IDLE_SECONDS, commit)
                    is_answered = self._has_answered = True
                    yield response
                    response.finish()
                    keep = response.is_keepable
            except BrokenError:
                # A kept connection may have ended before the request reached anybody (RFC 9112, 9.3.1). One
                # with a body may have been half an upload, which begins anew at its first step.
                if is_answered or not connection.is_kept or request.body is not None:
                    raise
            finally:
                _settle(self._pool, address, connection, keep=keep)

    def _redirected(self, request: Request, arrived: ReceivedAnswer) -> str | None:
        response = arrived.response
        keeps = request.method in ("GET", "HEAD") or response.status in _KEEPING_THE_METHOD
        location = response.headers.get("location")
        if response.status not in _REDIRECTS or not keeps or not location:
            return None
        return located(request, str(arrived.address), location)


def _is_odd(cause: BaseException | None) -> bool:
    """Say whether somebody was there who answered nothing that is HTTP."""
    return isinstance(cause, BrokenError) or (isinstance(cause, WireError) and not cause.temporary)


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


def _expected(request: Request, arrived: ReceivedAnswer, expected: tuple[int, ...]) -> ReceivedAnswer:
    if arrived.response.status not in expected:
        raise refusal(request, arrived.response)
    return arrived


def _parsed(request: Request, url: str) -> HttpUrl:
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
    if request.body is not None or request.method in _WITH_A_BODY:
        lines["Content-Length"] = str(request.body.length if request.body else 0)
    written = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    authorization = proxy.authorization if proxy else ""
    return f"{request.method} {target} HTTP/1.1\r\n{written}{authorization}\r\n".encode("latin-1")


def _settle(pool: ConnectionPool, address: HttpUrl, connection: Connection, *, keep: bool) -> None:
    if keep:
        pool.put(address.origin, connection)
    else:
        connection.close()
