"""The registry as a whole: its API, its clock, its connections, its authentication."""

from __future__ import annotations

import ssl
import time
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final
from urllib.parse import SplitResult, urlsplit

import aiohttp
import orjson
from aiohttp import hdrs

from proxy.doctor.client import (
    ProbeAnswer,
    RegistryProbe,
    anonymous,
    ask_token_server,
    authority,
    http_address,
    realm_of,
)
from proxy.doctor.finding import Finding, ok, problem, skipped, warning
from proxy.upstream.replies import UpstreamError
from twodfs.errors import AuthError
from twodfs.oci.reference import is_loopback
from twodfs.registry.auth import answer

_PING: Final = "/v2/"
_VERSION_HEADER: Final = "Docker-Distribution-Api-Version"
_VERSION: Final = "registry/2.0"
_REDIRECTS: Final = range(300, 400)
_MOST_SKEW: Final = 30.0
_SCHEMES: Final = ("bearer", "basic")
_NOT_FOR_STRANGERS: Final = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


async def check_registry(registry: RegistryProbe) -> tuple[list[Finding], ProbeAnswer | None]:
    """Ask for ``/v2/`` (distribution-spec, "Determining Support").

    Returns the findings, and the answer where it was one of a registry.
    """
    try:
        ping = await registry.ask("GET", _PING, anonymous(), limit=64 * 1024)
    except UpstreamError as error:
        return [_unreachable(registry.origin, error)], None
    tls = _tls(registry.origin)
    api = _api(registry.origin, ping)
    if ping.status not in (HTTPStatus.OK, HTTPStatus.UNAUTHORIZED):
        return [*tls, api], None
    findings = [*tls, api, _clock(ping, time.time()), _connections(ping)]
    return [*findings, *await _authentication(registry, ping)], ping


def _tls(origin: str) -> list[Finding]:
    return [ok("tls", "the registry's certificate is valid")] if origin.startswith("https:") else []


def _unreachable(origin: str, error: UpstreamError) -> Finding:
    cause = _certificate_error(error)
    if cause is not None:
        return problem(
            "tls",
            f"the certificate of {origin} is not trusted: {cause.verify_message or cause.reason}",
            "set upstream.ca_file to the CA that signed it, or have the registry send its whole chain under "
            "the name that upstream.url uses",
        )
    if _is_tls_trouble(error):
        return problem(
            "tls",
            f"{origin} does not speak TLS, or not as we do",
            "use http:// in upstream.url if the registry has no TLS; else enable TLS 1.2 or 1.3 on it",
        )
    return problem("api", str(error), "look at the registry's own log for what happened")


def _certificate_error(error: BaseException) -> ssl.SSLCertVerificationError | None:
    """Return the interpreter's own error; aiohttp's, of the same class, says less."""
    for one in _causes(error):
        if isinstance(one, ssl.SSLCertVerificationError) and not isinstance(one, aiohttp.ClientError):
            return one
    return None


def _is_tls_trouble(error: BaseException) -> bool:
    return any(isinstance(one, ssl.SSLError) for one in _causes(error))


def _causes(error: BaseException) -> list[BaseException]:
    """Return the error and its causes, which the client's sentences leave out."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or one in found:
            continue
        found.append(one)
        waiting += [one.__cause__, one.__context__, getattr(one, "certificate_error", None)]
        waiting += [getattr(one, "os_error", None)]
    return found


def _api(origin: str, ping: ProbeAnswer) -> Finding:
    if ping.status not in (HTTPStatus.OK, HTTPStatus.UNAUTHORIZED):
        return _no_api(origin, ping)
    versions = " ".join(ping.headers.getall(_VERSION_HEADER, ())).split()
    if versions and _VERSION not in versions:
        return problem(
            "api",
            f"{origin}{_PING} speaks another version of the API: {', '.join(versions)}",
            f"{_VERSION} is what is needed: let upstream.url name a registry that has it",
        )
    if _is_registry_answer(ping, is_told=bool(versions)):
        told = f"and {_VERSION}" if versions else "as the OCI distribution specification has it"
        return ok("api", f"{_PING} answers {ping.status} {told} ({ping.seconds * 1000:.0f} ms)")
    return problem(
        "api",
        f"{origin}{_PING} answers {ping.status}, but not as a registry does",
        "is this a web page or a login page in front of the registry? Name the registry itself",
    )


def _is_registry_answer(ping: ProbeAnswer, *, is_told: bool) -> bool:
    """Say whether an answer can be a registry's: a challenge, nothing or JSON, and never a page."""
    if ping.status == HTTPStatus.UNAUTHORIZED:
        return is_told or bool(ping.challenges)
    if "html" in ping.headers.get(hdrs.CONTENT_TYPE, ""):
        return False
    if is_told or not ping.body:
        return True
    try:
        orjson.loads(ping.body)
    except orjson.JSONDecodeError:
        return False
    return True


def _no_api(origin: str, ping: ProbeAnswer) -> Finding:
    if ping.status in _REDIRECTS:
        target = http_address(ping.headers.get(hdrs.LOCATION, ""))
        goes = "elsewhere" if target is None else f"{target.scheme}://{authority(target)}"
        return problem(
            "api",
            f"{origin}{_PING} redirects to {goes}",
            "let upstream.url name the place where it leads to",
        )
    if ping.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return problem(
            "api", f"{origin}{_PING} answers {ping.status}", "look at the registry's log: it fails by itself"
        )
    if ping.status == HTTPStatus.TOO_MANY_REQUESTS:
        return problem(
            "api",
            f"{origin}{_PING} answers {ping.status}: it takes no more requests from here for now",
            "let the registry, or what limits requests before it, allow the proxy what its clients need: it "
            "asks for all of them",
        )
    if ping.status == HTTPStatus.FORBIDDEN:
        return problem(
            "api",
            f"{origin}{_PING} answers {ping.status}: it lets nobody in from here",
            "let the registry's firewall, or the front before it, admit this machine; who only lacks "
            "credentials hears 401",
        )
    return problem(
        "api",
        f"{origin}{_PING} answers {ping.status}: this is no registry's API",
        "let upstream.url name the registry's origin, without a path; its API is at /v2/",
    )


def _clock(ping: ProbeAnswer, now: float) -> Finding:
    text = ping.headers.get(hdrs.DATE)
    try:
        there = parsedate_to_datetime(text or "").timestamp()
    except ValueError:
        return skipped("clock", "the registry sends no Date to compare clocks with")
    skew = now - there - ping.seconds / 2
    if abs(skew) > _MOST_SKEW:
        relation = "ahead of" if skew > 0 else "behind"
        return warning(
            "clock",
            f"this machine's clock is {abs(skew):,.0f} s {relation} the registry's",
            "run a time service on both: tokens and signed URLs are refused when clocks differ",
        )
    return ok(
        "clock",
        f"the clocks differ by less than {max(1, round(abs(skew)))} s"
        if abs(skew) <= 1
        else f"the clocks differ by {abs(skew):.0f} s",
    )


def _connections(ping: ProbeAnswer) -> Finding:
    if ping.is_kept:
        return ok("keep-alive", "the registry keeps connections open between requests")
    return warning(
        "keep-alive",
        "the registry closes the connection after each answer",
        "enable keep-alive on it, or on what stands before it: each request pays for a new connection now",
    )


async def _authentication(registry: RegistryProbe, ping: ProbeAnswer) -> list[Finding]:
    if ping.status == HTTPStatus.OK:
        return [ok("auth", "the registry asks nobody who they are (/v2/ answers 200)")]
    known = [one for one in ping.challenges if one.scheme in _SCHEMES]
    if not known:
        offered = ", ".join(one.scheme for one in ping.challenges) or "none"
        return [
            problem(
                "auth",
                f"the registry's challenge has no scheme that clients know: {offered}",
                "let the registry offer Bearer or Basic in WWW-Authenticate",
            )
        ]
    if all(one.scheme != "bearer" for one in known):
        return [ok("auth", "the registry asks for a name and password (Basic)")]
    parts = http_address(realm_of(ping.challenges) or "")
    if parts is None:
        return [
            problem(
                "auth",
                "the registry's Bearer challenge names no token realm, or one that is no http(s) address",
                "correct the registry's auth.token.realm",
            )
        ]
    return [_realm(registry.origin, parts), await _tokens(registry, ping)]


async def _tokens(registry: RegistryProbe, ping: ProbeAnswer) -> Finding:
    """Ask for an anonymous token without scopes."""
    flow = answer(ping.challenges, None, registry=urlsplit(registry.origin).netloc)
    wanted = next(flow)
    host = authority(urlsplit(wanted.url))
    try:
        reply = await ask_token_server(registry, wanted)
    except AuthError as error:
        return warning(
            "tokens",
            f"from here, {error}",
            "see that it runs and that clients reach it; the proxy has to as well, with auth.realm or "
            "upstream.credentials",
        )
    if reply.status in _NOT_FOR_STRANGERS:
        return ok("tokens", f"the token server {host} answers, and has none for strangers ({reply.status})")
    if reply.status == HTTPStatus.TOO_MANY_REQUESTS:
        return warning(
            "tokens",
            f"the token server {host} answers {reply.status}: it takes no more requests from here for now",
            "let it allow what clients need, who ask it for each repository",
        )
    try:
        flow.send(reply)
    except AuthError as error:
        return problem("tokens", str(error), "look at the token server's log, and at auth.token.realm")
    except StopIteration:
        pass
    return ok("tokens", f"the token server {host} gives out tokens")


def _realm(origin: str, parts: SplitResult) -> Finding:
    registry, place = urlsplit(origin).netloc, authority(parts)
    if parts.scheme == "http" and not is_loopback(place):
        return warning(
            "auth",
            f"tokens come from {place} in clear text",
            "clients send their passwords there: put TLS on the token server",
        )
    if place == registry:
        return ok("auth", "the registry asks for tokens (Bearer) and gives them out itself")
    return ok(
        "auth",
        f"the registry asks for tokens (Bearer), given out by {place}: clients must reach that, too",
    )
