"""Requests to one registry: challenges met, redirects followed, failures retried."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from http import HTTPStatus
from typing import Final, TypeVar

from twodfs.errors import RegistryError
from twodfs.oci.reference import DOCKER_HUB, is_loopback
from twodfs.registry.authorization import Authorizations, Keychain
from twodfs.registry.exchange import Exchanges, ReceivedAnswer
from twodfs.registry.message import Request, WholeAnswer, read, refusal
from twodfs.registry.retries import Attempts, Retries
from twodfs.wire.failures import BrokenError, WireError
from twodfs.wire.pool import ConnectionPool
from twodfs.wire.url import HttpUrl

T = TypeVar("T")

DOCKER_HUB_HOST: Final = "registry-1.docker.io"


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
        self._retries = retries
        self._exchanges = Exchanges(pool)
        self._authorizations = Authorizations(registry, self._exchanges, keychain)

    @property
    def was_challenged(self) -> bool:
        """Whether the registry has asked for credentials."""
        return self._authorizations.was_asked

    def retry(self, attempt: Callable[[], T], *, is_transfer: bool = False) -> T:
        """Return the result of ``attempt``, making it again as long as it fails for the moment only.

        Every step of the protocol may be: reading, storing by digest, and an upload from its start.
        ``is_transfer`` says that it carries a blob, and may take as long as that does.
        """
        attempts = self.attempts(is_transfer=is_transfer)
        while True:
            try:
                return attempt()
            except RegistryError as error:
                if not attempts.waits_after(error):
                    raise

    def attempts(self, *, is_transfer: bool) -> Attempts:
        """Return the attempts at one thing that may be tried again."""
        return Attempts(self._retries, lambda: self._exchanges.has_answered, is_transfer=is_transfer)

    def fetch(self, request: Request, *expected: int, limit: int) -> WholeAnswer:
        """Return the answer to ``request``, with a body of at most ``limit`` bytes; retried.

        Raises:
            RegistryError: no answer, a bigger one, or its status is not ``expected``.
            AuthError: the registry wants credentials that there are none of.
        """

        def attempt() -> WholeAnswer:
            with self.exchange(request, *expected) as (response, _):
                return WholeAnswer(response.status, response.headers, read(request, response, limit))

        return self.retry(attempt)

    @contextmanager
    def exchange(self, request: Request, *expected: int) -> Iterator[ReceivedAnswer]:
        """Make one attempt at ``request`` and yield the answer, its body unread.

        A connection that breaks within the block fails it, as before the block.

        Raises:
            RegistryError: no answer, or its status is not ``expected``.
            AuthError: the registry wants credentials that there are none of.
        """
        header = self._authorizations.remembered(request.scopes)
        with self._first_arrived(request, header) as arrived:
            challenges = self._challenges(arrived)
            if not challenges:
                yield _expected(request, arrived, expected)
                return
        better = self._authorizations.meet(challenges, request.scopes, header, plain_http=self._plain_http)
        with self._arrived(request, better) as arrived:
            yield _expected(request, arrived, expected)

    def _arrived(self, request: Request, authorization: str | None) -> AbstractContextManager[ReceivedAnswer]:
        return self._exchanges.follow(request, self._moved(request.url), self._origin, authorization)

    @contextmanager
    def _first_arrived(self, request: Request, authorization: str | None) -> Iterator[ReceivedAnswer]:
        """Yield the answer as ``_arrived`` does, over TLS where a registry on this machine speaks that."""
        with ExitStack() as stack:
            try:
                arrived = stack.enter_context(self._arrived(request, authorization))
                is_odd = arrived.response.status == HTTPStatus.BAD_REQUEST
            except RegistryError as error:
                if not (self._may_speak_tls and _is_odd(error.__cause__) and self._turn_to_tls()):
                    raise
                is_odd, arrived = False, stack.enter_context(self._arrived(request, authorization))
            # A server that speaks TLS alone answers plain HTTP with a 400, if with any HTTP.
            if is_odd and self._may_speak_tls and self._turn_to_tls():
                stack.close()
                arrived = stack.enter_context(self._arrived(request, authorization))
            self._may_speak_tls = False
            yield arrived

    def _turn_to_tls(self) -> bool:
        """Speak TLS from now on, if the server does."""
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
        if arrived.response.status != HTTPStatus.UNAUTHORIZED or arrived.address.origin != self._origin:
            return []
        return arrived.response.headers.all("www-authenticate")


def _is_odd(cause: BaseException | None) -> bool:
    """Say whether a server answered, but not in HTTP."""
    return isinstance(cause, BrokenError) or (isinstance(cause, WireError) and not cause.temporary)


def _expected(request: Request, arrived: ReceivedAnswer, expected: tuple[int, ...]) -> ReceivedAnswer:
    if arrived.response.status not in expected:
        raise refusal(request, arrived.response)
    return arrived
