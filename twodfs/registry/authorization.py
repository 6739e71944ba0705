"""Scopes that a registry has authorised, and the way to more: its challenges met, tokens fetched."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import urlencode

from twodfs.registry.exchange import Exchanges, TextBody, parsed_url
from twodfs.registry.message import TEMPORARY, Request, described, read, refusal

if TYPE_CHECKING:  # loaded once a registry asks for credentials
    from twodfs.credentials.credentials import Credentials
    from twodfs.registry.auth import Authorization, Flow, TokenAnswer, TokenRequest

Keychain: TypeAlias = Callable[[str], "Credentials | None"]
"""Finds the user's credentials for a registry."""

MAX_TOKEN_BYTES: Final = 1024 * 1024


class Authorizations:
    """The headers that a registry takes, by the scopes that they are good for. For any thread."""

    def __init__(self, registry: str, exchanges: Exchanges, keychain: Keychain) -> None:
        """Begin with none for ``registry``."""
        self._registry = registry
        self._exchanges = exchanges
        self._keychain = keychain
        self._authorised: dict[tuple[str, ...], tuple[str, float]] = {}
        self._asking = threading.Lock()

    @property
    def was_asked(self) -> bool:
        """Whether the registry has asked for credentials, and got them."""
        return bool(self._authorised)

    def remembered(self, scopes: tuple[str, ...]) -> str | None:
        """Return the header for ``scopes`` that is still good; None where there is none."""
        header, until = self._authorised.get(scopes, (None, 0.0))
        return header if time.monotonic() < until else None

    def _remember(self, scopes: tuple[str, ...], authorization: Authorization) -> str:
        self._authorised[scopes] = (authorization.header, time.monotonic() + authorization.good_for(float("inf")))
        return authorization.header

    def meet(self, asked: list[str], scopes: tuple[str, ...], refused: str | None, *, plain_http: bool) -> str | None:
        """Return the header that meets the challenges ``asked``; the same for all that ask at the same time.

        Args:
            asked: the lines of ``WWW-Authenticate``.
            scopes: those that the header is needed for.
            refused: the header that was sent before; returned where nothing was asked.
            plain_http: whether the registry is spoken to without TLS.

        Raises:
            AuthError: there are no credentials for it, or they are refused.
            RegistryError: the token server fails.
        """
        from twodfs.registry.auth import answer, parse_challenges  # noqa: PLC0415 - many registries ask nothing

        challenges = parse_challenges(asked)
        if not challenges:
            return refused
        with self._asking:
            current = self.remembered(scopes)
            if current is None or current == refused:
                flow = answer(
                    challenges,
                    self._keychain(self._registry),
                    registry=self._registry,
                    scopes=scopes,
                    plain_http=plain_http,
                )
                current = self._remember(scopes, self._drive(flow))
        return current

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
        from twodfs.registry.auth import TokenAnswer  # noqa: PLC0415 - see ``meet``

        headers, body = dict(wanted.headers), None
        if wanted.form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = TextBody(urlencode(wanted.form).encode("ascii"))
        request = Request(wanted.method, wanted.url, headers=headers, body=body)
        with described(request), self._exchanges.once(request, parsed_url(request, request.url), headers) as response:
            if response.status in TEMPORARY:
                raise refusal(request, response)
            return TokenAnswer(response.status, read(request, response, MAX_TOKEN_BYTES))
