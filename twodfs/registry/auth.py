"""Answer a registry's challenge, without I/O: ``WWW-Authenticate`` in, ``Authorization`` out.

The challenge (RFC 9110, section 11.6.1)::

    WWW-Authenticate = #challenge                       ; comma-separated, and the header may be repeated
    challenge        = auth-scheme [ 1*SP ( token68 / #auth-param ) ]
    auth-param       = token BWS "=" BWS ( token / quoted-string )

``answer`` is a generator that never does I/O: it yields the requests to a token server and is sent their
answers (distribution's "Token Authentication Specification", and its OAuth2 variant for identity tokens)::

    flow = answer(parse_challenges(headers), credentials, registry="ghcr.io")
    request = next(flow)                                # StopIteration carries the Authorization
    request = flow.send(TokenAnswer(status, body))
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import islice
from typing import Final, TypeAlias
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from twodfs.credentials.credentials import Credentials
from twodfs.errors import AuthError, FormatError
from twodfs.oci.documents import parse_object
from twodfs.oci.reference import is_loopback
from twodfs.oci.spelling import Keys

MAX_HEADER_LENGTH: Final = 8192
MAX_CHALLENGES: Final = 16

DEFAULT_TOKEN_LIFETIME: Final = 60.0
"""Seconds a token lives when the server does not say ("Token Authentication Specification", expires_in)."""

_EARLY: Final = 10.0
"""Seconds before its end after which a token is no longer begun with."""

CLIENT_ID: Final = "twodfs"
_ANSWER_KEYS: Final = Keys("token", "access_token", "expires_in", "issued_at", "refresh_token")

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110's "token", no secret
_SEPARATOR = re.compile(r"[\s,]*")
_SCHEME = re.compile(rf"({_TOKEN})(?:[ \t]+|(?=,)|$)")
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*[ \t]*(?:,|$)")
_PARAMETER = re.compile(rf'({_TOKEN})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_ESCAPE = re.compile(r"\\(.)")
_VISIBLE = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge: the scheme and the names of its parameters are in lower case."""

    scheme: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A request to a token server. ``form`` is the body of a POST, None for a GET."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    form: Mapping[str, str] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """The answer of the token server."""

    status: int
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Authorization:
    """A header's value, and how many seconds it is good for; None where it does not expire."""

    header: str = field(repr=False)
    lifetime: float | None = None

    def good_for(self, otherwise: float) -> float:
        """Return the seconds for which new requests are begun with it; ``otherwise`` where it does not expire.

        Not those right before its end, in which a request may still be under way.
        """
        return otherwise if self.lifetime is None else max(self.lifetime - _EARLY, self.lifetime / 2)


Flow: TypeAlias = Generator[TokenRequest, TokenAnswer, Authorization]


def parse_challenges(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """Return the challenges in every ``WWW-Authenticate`` of an answer, in order, at most 16.

    A header is read as far as it follows the grammar; the rest is ignored.
    """
    found = (challenge for header in headers for challenge in _challenges(header[:MAX_HEADER_LENGTH]))
    return tuple(islice(found, MAX_CHALLENGES))


def _challenges(header: str) -> Iterator[Challenge]:
    scheme, parameters, at = "", dict[str, str](), 0
    while True:
        at = _skip(_SEPARATOR.match, header, at)
        # Before a scheme is known, "realm=x" is no parameter of anything.
        parameter = _PARAMETER.match(header, at) if scheme else None
        if parameter:
            name, quoted, plain = parameter.groups()
            parameters.setdefault(name.lower(), plain if quoted is None else _ESCAPE.sub(r"\1", quoted))
            at = parameter.end()
            continue
        if scheme:
            yield Challenge(scheme, parameters)
        begins = _SCHEME.match(header, at)
        if begins is None:
            return
        scheme, parameters = begins[1].lower(), {}
        at = _skip(_TOKEN68.match, header, begins.end())


def _skip(match_at: Callable[[str, int], re.Match[str] | None], text: str, at: int) -> int:
    match = match_at(text, at)
    return match.end() if match else at


def answer(
    challenges: Sequence[Challenge],
    credentials: Credentials | None,
    *,
    registry: str,
    scopes: Sequence[str] = (),
    plain_http: bool = False,
) -> Flow:
    """Meet one of ``challenges``, asking a token server where it takes one; Bearer goes before Basic.

    Args:
        challenges: those of the registry.
        credentials: the user's for this registry; None to stay anonymous.
        registry: its name in errors.
        scopes: those that the token is for, as ``repository:NAME:pull,push``; the challenge's own is added.
        plain_http: whether the registry itself is spoken to without TLS.

    Returns:
        The header to send to the registry.

    Raises:
        AuthError: credentials are missing or refused, the scheme is unknown, or a token server would get
            them in clear text; the message names the remedy.
    """
    if credentials and credentials.registry_token:
        return _bearer(credentials.registry_token, registry)
    for challenge in challenges:
        if challenge.scheme == "bearer" and "realm" in challenge.parameters:
            guarded = credentials is not None and not plain_http
            realm = _realm(challenge.parameters["realm"], registry, guarded=guarded)
            return (yield from _fetch_token(challenge, realm, credentials, registry, scopes))
    if any(challenge.scheme == "basic" for challenge in challenges):
        if credentials is None or not credentials.is_login:
            raise AuthError(f"{registry} wants a login: run 'twodfs login {registry}' first")
        return Authorization(credentials.basic())
    offered = ", ".join(challenge.scheme for challenge in challenges) or "none"
    raise AuthError(f"{registry} asks for authentication of an unknown kind: {offered}; Bearer and Basic work")


def _realm(text: str, registry: str, *, guarded: bool) -> SplitResult:
    """Return the address of the token server; ``guarded`` when secrets must not travel in clear text."""
    try:
        realm = urlsplit(text)
        host = realm.hostname
    except ValueError:
        host = None
    if host is None or realm.scheme not in ("http", "https"):
        raise AuthError(f"{registry} names a token server that is no http(s) address: {text[:140]!r}")
    if guarded and realm.scheme == "http" and not is_loopback(host):
        raise AuthError(
            f"{registry} sends clients to a token server without TLS ({host}); your credentials were not sent there"
        )
    return realm


def _fetch_token(
    challenge: Challenge,
    realm: SplitResult,
    credentials: Credentials | None,
    registry: str,
    scopes: Sequence[str],
) -> Flow:
    service = challenge.parameters.get("service", "")
    wanted = _merged((*scopes, *challenge.parameters.get("scope", "").split()))
    if credentials and credentials.identity_token:
        reply = yield _oauth_request(realm, service, wanted, credentials.identity_token)
        # Token servers older than the OAuth2 variant know no POST.
        if not (reply.status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED) and credentials.is_login):
            return _token(reply, registry, realm)
    reply = yield _token_request(realm, service, wanted, credentials)
    return _token(reply, registry, realm)


def _merged(scopes: Iterable[str]) -> tuple[str, ...]:
    """Return ``scopes`` with each resource once; registries write its actions in any order."""
    merged: dict[str, dict[str, None]] = {}
    for scope in scopes:
        resource, _, actions = scope.rpartition(":")
        merged.setdefault(resource, {}).update(dict.fromkeys(actions.split(",")))
    return tuple(f"{resource}:{','.join(actions)}" for resource, actions in merged.items())


def _token_request(
    realm: SplitResult, service: str, scopes: Sequence[str], credentials: Credentials | None
) -> TokenRequest:
    query = parse_qsl(realm.query, keep_blank_values=True)
    query += [("service", service)] if service else []
    query += [("scope", scope) for scope in scopes]
    headers = {}
    if credentials and credentials.is_login:
        query.append(("account", credentials.username))
        headers["Authorization"] = credentials.basic()
    return TokenRequest("GET", realm._replace(query=urlencode(query), fragment="").geturl(), headers)


def _oauth_request(realm: SplitResult, service: str, scopes: Sequence[str], identity_token: str) -> TokenRequest:
    form = {
        "grant_type": "refresh_token",
        "service": service,
        "client_id": CLIENT_ID,
        "scope": " ".join(scopes),
        "refresh_token": identity_token,
    }
    return TokenRequest("POST", realm._replace(fragment="").geturl(), form=form)


def _token(reply: TokenAnswer, registry: str, realm: SplitResult) -> Authorization:
    if reply.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise AuthError(
            f"the token server {realm.hostname} refused access to {registry} ({reply.status}): "
            f"check the repository's name, or log in again with 'twodfs login {registry}'"
        )
    if reply.status != HTTPStatus.OK:
        raise AuthError(f"the token server {realm.hostname} of {registry} answered {reply.status}")
    try:
        content = parse_object(reply.body)
        _ANSWER_KEYS.check(content)
    except FormatError:
        content = {}
    lifetime = content.get("expires_in")
    if not isinstance(lifetime, int | float) or lifetime <= 0:
        lifetime = DEFAULT_TOKEN_LIFETIME
    return _bearer(content.get("token") or content.get("access_token"), registry, float(lifetime))


def _bearer(token: object, registry: str, lifetime: float | None = None) -> Authorization:
    # Anything else could break out of the header line.
    if not isinstance(token, str) or not _VISIBLE.fullmatch(token):
        raise AuthError(f"the token for {registry} is missing or malformed")
    return Authorization(f"Bearer {token}", lifetime)
