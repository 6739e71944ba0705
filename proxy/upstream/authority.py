"""The proxy's own credentials for the registry (``upstream.credentials``), as a header.

A Bearer token is fetched for exactly the scopes of the request it goes with, so a request cannot do more
upstream than the request was admitted for. The registry's own challenge is learnt with a question to ``/v2/``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Final

import aiohttp
from aiohttp import hdrs
from cachetools import LRUCache
from multidict import CIMultiDict
from yarl import URL

from proxy.auth.credentials import CredentialsError, Source
from proxy.auth.realm import RealmError, RealmPolicy
from proxy.requests.scope import Scope
from proxy.single_flight import SingleFlight
from proxy.upstream.origins import OriginPool
from proxy.upstream.session import Asked
from twodfs.errors import AuthError
from twodfs.registry.auth import (
    Authorization,
    Challenge,
    Flow,
    TokenAnswer,
    TokenRequest,
    answer,
    parse_challenges,
)

_MAX_TOKEN_ANSWER: Final = 2**20
_MOST_TOKENS: Final = 4096
_ASKED_AGAIN: Final = 60.0
"""Seconds after which the source of a password is asked again: the secret may have changed."""
_RENEWAL_INTERVAL: Final = 5.0
"""Seconds between renewals for the same scopes: a repository that is refused must not become a storm."""

_PASSING: Final = frozenset({"scope", "error", "error_description", "error_uri"})
_Question = tuple[str, ...]
_Challenges = tuple[Challenge, ...]
AskRealm = Callable[[str, URL, CIMultiDict[str], Any], Asked]
"""Sends a request with its headers and form; redirects are not followed."""


class Authority:
    """Answers the registry's challenges with the proxy's own credentials."""

    def __init__(
        self,
        ask: AskRealm,
        origins: OriginPool,
        source: Source,
        policy: RealmPolicy,
        *,
        timeout: float,
    ) -> None:
        """``ask`` asks them; ``timeout``: seconds for one answer of the registry or its token server."""
        self._send = ask
        self._origins = origins
        self._origin = URL(origins.all[0].url)
        self._source = source
        self._policy = policy
        self._timeout = timeout
        self._challenges: _Challenges | None = None
        self._headers: LRUCache[_Question, tuple[str, float]] = LRUCache(_MOST_TOKENS)
        self._renewed: LRUCache[_Question, tuple[str | None, float]] = LRUCache(_MOST_TOKENS)
        self._single_flight: SingleFlight[str | None] = SingleFlight()
        self._refreshed_at = -_RENEWAL_INTERVAL

    async def header(self, scopes: Sequence[Scope]) -> str | None:
        """Return the ``Authorization`` for a request that needs ``scopes``; None where none is wanted.

        Raises:
            CredentialsError: they cannot be obtained.
        """
        question = tuple(map(str, scopes))
        known = self._headers.get(question)
        if known is not None and time.monotonic() < known[1]:
            return known[0]
        return await self._single_flight.do(question, lambda: self._fetch(question))

    async def after_refusal(
        self, scopes: Sequence[Scope], refused: str | None, challenges: Sequence[str]
    ) -> str | None:
        """Return another header after the registry refused one; None when there is no hope for a better.

        Args:
            scopes: those that the request needs.
            refused: the header it went with.
            challenges: the ``WWW-Authenticate`` of the refusal.

        Raises:
            CredentialsError: they cannot be obtained.
        """
        question = tuple(map(str, scopes))
        asked = _lasting(parse_challenges(challenges))
        if asked and asked != self._challenges:
            # The challenge of one refusal need not be the registry's challenge elsewhere.
            self._challenges = None
        now = time.monotonic()
        header, _ = self._headers.get(question, (None, 0.0))
        if header is not None and header != refused:
            return header  # another request has renewed it meanwhile
        before, renewed_at = self._renewed.get(question, (None, -_RENEWAL_INTERVAL))
        if now - renewed_at < _RENEWAL_INTERVAL or (refused is not None and before == refused):
            return None  # the renewed header was refused, too
        self._renewed[question] = None, now
        fresh = now - self._refreshed_at >= _RENEWAL_INTERVAL
        if fresh:
            self._refreshed_at = now
        renewed = await self._single_flight.do(question, lambda: self._fetch(question, asked, fresh=fresh))
        if renewed == refused:
            return None  # a password that did not change is refused again
        self._renewed[question] = renewed, now
        return renewed

    async def _fetch(self, question: _Question, asked: _Challenges = (), *, fresh: bool = False) -> str | None:
        """Return a new header for the challenges in ``asked``; empty: for those of the registry's root."""
        challenges = asked or self._challenges
        if challenges is None:
            challenges = self._challenges = await self._probe()
        if not challenges:
            return None
        registry = self._origin.authority
        credentials = await self._source(fresh)
        if credentials is None:
            raise CredentialsError(f"Docker's configuration has none for {registry}")
        try:
            flow = answer(
                challenges,
                credentials,
                registry=registry,
                scopes=question,
                plain_http=self._origin.scheme == "http",
            )
            authorization = await self._drive(flow)
        except (AuthError, RealmError) as error:
            raise CredentialsError(_for_operators(str(error))) from None
        self._headers[question] = (authorization.header, time.monotonic() + authorization.good_for(_ASKED_AGAIN))
        return authorization.header

    async def _probe(self) -> _Challenges:
        """Return the registry's challenges at the API's root (distribution-spec, "Determining Support")."""
        order = self._origins.order()
        for origin in order:
            try:
                status, headers, _ = await self._ask(TokenRequest("GET", f"{origin.url}/v2/"))
                break
            except CredentialsError:
                if origin is order[-1]:
                    raise
        if status != HTTPStatus.UNAUTHORIZED:  # a registry that asks for nothing here may do so elsewhere
            return ()
        return _lasting(parse_challenges(headers))

    async def _drive(self, flow: Flow) -> Authorization:
        """Make the requests that ``flow`` takes, each to a realm that may see our credentials."""
        try:
            wanted = next(flow)
            while True:
                self._policy.check(wanted.url)
                status, _, body = await self._ask(wanted)
                wanted = flow.send(TokenAnswer(status, body))
        except StopIteration as done:
            result: Authorization = done.value
            return result

    async def _ask(self, wanted: TokenRequest) -> tuple[int, list[str], bytes]:
        url = URL(wanted.url, encoded=True)
        place = f"{url.scheme}://{url.authority}{url.path}"
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._send(
                    wanted.method,
                    url,
                    CIMultiDict({**wanted.headers, hdrs.ACCEPT_ENCODING: "identity"}),
                    wanted.form,
                ) as response,
            ):
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > _MAX_TOKEN_ANSWER:
                        raise CredentialsError(f"{place} answered more than {_MAX_TOKEN_ANSWER} bytes")
                return response.status, response.headers.getall(hdrs.WWW_AUTHENTICATE, []), bytes(body)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            problem = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
            raise CredentialsError(f"{place} cannot be asked: {problem}") from None


def _for_operators(problem: str) -> str:
    """Return ``problem`` without its advice to log in, which is for people at a terminal."""
    what, _, advice = problem.rpartition(": ")
    return f"{what}: check upstream.credentials" if "twodfs login" in advice else problem


def _lasting(challenges: Sequence[Challenge]) -> _Challenges:
    """Return ``challenges`` without the parameters that concern one request alone."""
    return tuple(
        Challenge(one.scheme, {name: one.parameters[name] for name in one.parameters if name not in _PASSING})
        for one in challenges
    )
