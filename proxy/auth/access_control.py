"""Admission of clients. Usually the registry decides; with ``upstream.credentials`` the proxy does.

``PassThrough``: the client's own credentials go upstream, and a token that verifies here saves the question.
``AccessControl``: the client authenticates here, by password or token, and the rules list its rights. A request that is
not plainly one of the registry API is refused.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from aiohttp import hdrs, web
from multidict import CIMultiDict

from proxy.auth.identity import Identity, service
from proxy.auth.passwords import Passwords
from proxy.auth.tokens import Claims, TokenError, TokenVerifier
from proxy.config import AuthConfig, RuleConfig
from proxy.globs import expression
from proxy.logs import bind_key_id, bind_user
from proxy.repository import DEFAULT_UPSTREAM, Repository
from proxy.requests.kinds import RegistryRequest
from proxy.requests.scope import CATALOG, Scope, ScopeError

_ANONYMOUS: Final = "anonymous"
_REALM: Final = "twodfs-proxy"


class DeniedError(Exception):
    """The client is not let in; the rest is the answer it gets."""

    def __init__(self, status: int, code: str, message: str, headers: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = CIMultiDict(headers)


class Authenticator(Protocol):
    """Authenticates clients, and decides whether they may enter."""

    async def enter(self, http: web.BaseRequest, request: RegistryRequest, client: str) -> Identity:
        """Return the identity behind ``request``, which came as ``http`` from ``client`` (by its rate limit key).

        Raises:
            DeniedError: it may not.
        """


class PassThrough:
    """The registry decides."""

    def __init__(self, verifier: TokenVerifier | None) -> None:
        self._verifier = verifier

    async def enter(self, http: web.BaseRequest, request: RegistryRequest, client: str) -> Identity:  # noqa: ARG002
        """Return the client's identity, with the rights that a token of the registry proves."""
        identity = Identity.of(http.headers, client)
        if identity.headers:
            bind_key_id(identity.fingerprint)
        if self._verifier is None:
            return identity
        scheme, token = _authorization(http)
        if scheme != "bearer":
            return identity
        try:
            claims = self._verifier.verify(token)
        except TokenError:
            return identity  # the registry decides
        if claims.subject:
            bind_user(claims.subject)
        return replace(identity, rights=claims.rights)


class AccessControl:
    """The proxy decides: requests go upstream with the proxy's own credentials."""

    def __init__(
        self,
        config: AuthConfig,
        verifier: TokenVerifier | None,
        passwords: Passwords | None,
        upstream: str = DEFAULT_UPSTREAM,
        registry: str = "",
    ) -> None:
        """``upstream``: the registry that clients are let in to; ``registry``: what rules call it."""
        self._upstream = upstream
        self._verifier = verifier
        self._passwords = passwords
        self._allow_anonymous = config.clients.allow_anonymous
        rules = config.clients.rules
        self._rules = tuple(AccessRule.of(one) for one in rules if one.is_for(registry))
        if not rules:  # where none of some is for this registry, nobody may do anything
            self._rules = (_READ_EVERYTHING,)
        self._token_service = config.token.realm
        self._audience = config.token.audience

    async def enter(self, http: web.BaseRequest, request: RegistryRequest, client: str) -> Identity:
        """Return the identity under which the request goes upstream: ours, with the client's rights.

        Raises:
            DeniedError: the client is not authenticated, or may not do this.
        """
        user, claims = await self._authenticated(http, request, client)
        bind_user(_ANONYMOUS if user is None else user)
        if len(http.headers.getall(hdrs.CONTENT_TYPE, ())) > 1:
            raise DeniedError(400, "UNSUPPORTED", "the request has more than one Content-Type")
        try:
            wanted = request.scopes(http.headers.get(hdrs.CONTENT_TYPE, ""))
        except ScopeError as error:
            raise DeniedError(403, "DENIED", f"not let in: {error}") from None
        for scope in wanted:
            if not self._allows(user, claims, scope):
                if claims is not None:
                    raise self._challenge("the token does not grant this", wanted, error="insufficient_scope")
                if user is None and self._can_log_in:
                    raise self._challenge("log in first: this is not for everyone", wanted)
                raise DeniedError(
                    403,
                    "DENIED",
                    f"{user or _ANONYMOUS} may not do this: no rule of the proxy allows {scope}",
                )
        rights = {
            Repository(self._upstream, scope.name): frozenset(scope.actions)
            for scope in wanted
            if scope.kind == "repository"
        }
        for repository, actions in rights.items():
            # The right to delete does not include the right to learn what exists.
            if "pull" not in actions and self._allows(user, claims, Scope("repository", repository.name, ("pull",))):
                rights[repository] = actions | {"pull"}
        return service(rights, client)

    def _allows(self, user: str | None, claims: Claims | None, scope: Scope) -> bool:
        if claims is not None:
            return _claimed(claims, scope, self._upstream)
        return any(rule.allows(user, scope) for rule in self._rules)

    @property
    def _can_log_in(self) -> bool:
        return self._passwords is not None or self._verifier is not None

    async def _authenticated(
        self, http: web.BaseRequest, request: RegistryRequest, client: str
    ) -> tuple[str | None, Claims | None]:
        """Return the user (None: anonymous) and the claims of its token (None: it came without)."""
        scheme, value = _authorization(http)
        if (not scheme or not self._can_log_in) and self._allow_anonymous:
            return None, None
        if scheme == "basic" and self._passwords is not None:
            user, password = _user_and_password(value)
            if await self._passwords.are_right(user, password, client):
                return user, None
            raise self._challenge("the username or password is wrong", ())
        if scheme == "bearer" and self._verifier is not None:
            try:
                claims = self._verifier.verify(value)
            except TokenError as error:
                raise self._challenge(str(error), _wanted_scopes(http, request), error="invalid_token") from None
            return claims.subject, claims
        raise self._challenge("authentication required", _wanted_scopes(http, request))

    def _challenge(self, message: str, wanted: Iterable[Scope], *, error: str = "") -> DeniedError:
        """Return the answer that says how to log in (RFC 9110, section 11.6.1; RFC 6750, section 3)."""
        headers = []
        if self._token_service is not None and self._verifier is not None:
            scope = " ".join(map(str, wanted))
            parameters = {
                "realm": self._token_service,
                "service": self._audience,
                "scope": scope,
                "error": error,
            }
            text = ",".join(f'{name}="{value}"' for name, value in parameters.items() if value)
            headers.append((hdrs.WWW_AUTHENTICATE, f"Bearer {text}"))
        if self._passwords is not None:
            headers.append((hdrs.WWW_AUTHENTICATE, f'Basic realm="{_REALM}", charset="UTF-8"'))
        return DeniedError(401, "UNAUTHORIZED", message, headers)


@dataclass(frozen=True, slots=True)
class AccessRule:
    """The actions that some users may take in some repositories."""

    users: tuple[str, ...]
    repositories: tuple[re.Pattern[str], ...]
    actions: frozenset[str]
    is_everywhere: bool

    @classmethod
    def of(cls, config: RuleConfig) -> AccessRule:
        """Return the rule as it is configured."""
        patterns = tuple(re.compile(expression(one)) for one in config.repositories)
        return cls(config.users, patterns, frozenset(config.actions), "**" in config.repositories)

    def allows(self, user: str | None, scope: Scope) -> bool:
        """Say whether it lets ``user`` (None: anonymous) have ``scope``."""
        if user is None:
            is_meant = _ANONYMOUS in self.users
        else:
            is_meant = any(fnmatch.fnmatchcase(user, one) for one in self.users)
        if scope == CATALOG:
            # It names every repository, so it is for users who may read every one.
            return is_meant and self.is_everywhere and "pull" in self.actions
        return (
            is_meant
            and scope.kind == "repository"
            and self.actions.issuperset(scope.actions)
            and any(one.fullmatch(scope.name) for one in self.repositories)
        )


_READ_EVERYTHING: Final = AccessRule(("*", _ANONYMOUS), (re.compile(".*"),), frozenset({"pull"}), is_everywhere=True)


def _claimed(claims: Claims, scope: Scope, upstream: str) -> bool:
    if scope == CATALOG:
        return claims.catalog
    return claims.rights.get(Repository(upstream, scope.name), frozenset()).issuperset(scope.actions)


def _wanted_scopes(http: web.BaseRequest, request: RegistryRequest) -> tuple[Scope, ...]:
    """Return the scopes that a token would have to grant, so that the challenge can say it."""
    try:
        return request.scopes(http.headers.get(hdrs.CONTENT_TYPE, ""))
    except ScopeError:
        return ()


def _authorization(http: web.BaseRequest) -> tuple[str, str]:
    """Return scheme, in lower case, and the rest; empty without the header."""
    scheme, _, value = http.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return scheme.lower(), value.strip()


def _user_and_password(encoded: str) -> tuple[str, str]:
    try:
        user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeError, ValueError):
        return "", ""
    return user, password
