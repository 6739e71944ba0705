"""The registry as a whole: its API, its clock, its connections, its authentication."""

from __future__ import annotations

import ssl
import time
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp import hdrs

from proxy.doctor.client import Heard, Patient, anonymous, realm_of
from proxy.doctor.finding import Finding, ok, problem, skipped, warning
from proxy.upstream.replies import UpstreamError
from twodfs.reference import is_loopback

_PING: Final = "/v2/"
_VERSION_HEADER: Final = "Docker-Distribution-Api-Version"
_VERSION: Final = "registry/2.0"
_OK: Final = 200
_UNAUTHORIZED: Final = 401
_REDIRECTS: Final = range(300, 400)
_SERVER_ERROR: Final = 500
_MOST_SKEW: Final = 30.0
_SCHEMES: Final = ("bearer", "basic")


async def check_registry(patient: Patient) -> tuple[list[Finding], Heard | None]:
    """Ask for ``/v2/`` (distribution-spec, "Determining Support").

    Returns the findings, and the answer where it was one of a registry.
    """
    try:
        heard = await patient.ask("GET", _PING, anonymous(), limit=64 * 1024)
    except UpstreamError as error:
        return [_unreachable(patient.origin, error)], None
    tls = _tls(patient.origin)
    api = _api(patient.origin, heard)
    if heard.status not in (_OK, _UNAUTHORIZED):
        return [*tls, api], None
    findings = [*tls, api, _clock(heard, time.time()), _connections(heard)]
    return [*findings, *_authentication(patient.origin, heard)], heard


def _tls(origin: str) -> list[Finding]:
    return [ok("tls", "the registry's certificate is valid")] if origin.startswith("https:") else []


def _unreachable(origin: str, error: UpstreamError) -> Finding:
    cause = _certificate_error(error)
    if cause is not None:
        return problem(
            "tls",
            f"the certificate of {origin} is not trusted: {cause.verify_message or cause.reason}",
            "add the CA of the registry to the trusted ones of the proxy (SSL_CERT_FILE names a bundle), or "
            "have the registry send its whole chain under the name that upstream.url uses",
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
    """Return the error and what led to it, which the client's sentences leave out."""
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


def _api(origin: str, heard: Heard) -> Finding:
    if heard.status not in (_OK, _UNAUTHORIZED):
        return _no_api(origin, heard)
    version = heard.headers.get(_VERSION_HEADER)
    if version == _VERSION:
        return ok("api", f"{_PING} answers {heard.status} and {version} ({heard.seconds * 1000:.0f} ms)")
    is_page = "html" in heard.headers.get(hdrs.CONTENT_TYPE, "")
    if heard.challenges if heard.status == _UNAUTHORIZED else not is_page:
        return ok("api", f"{_PING} answers {heard.status}, as the OCI distribution specification has it")
    return problem(
        "api",
        f"{origin}{_PING} answers {heard.status}, but not as a registry does",
        "is this a web page or a login page in front of the registry? Name the registry itself",
    )


def _no_api(origin: str, heard: Heard) -> Finding:
    if heard.status in _REDIRECTS:
        target = urlsplit(heard.headers.get(hdrs.LOCATION, ""))
        goes = f"{target.scheme}://{target.hostname}" if target.hostname else "elsewhere"
        return problem(
            "api",
            f"{origin}{_PING} redirects to {goes}",
            "let upstream.url name the place where it leads to",
        )
    if heard.status >= _SERVER_ERROR:
        return problem(
            "api", f"{origin}{_PING} answers {heard.status}", "look at the registry's log: it fails by itself"
        )
    return problem(
        "api",
        f"{origin}{_PING} answers {heard.status}: this is no registry's API",
        "let upstream.url name the registry's origin, without a path; its API is at /v2/",
    )


def _clock(heard: Heard, now: float) -> Finding:
    text = heard.headers.get(hdrs.DATE)
    try:
        there = parsedate_to_datetime(text or "").timestamp()
    except ValueError:
        return skipped("clock", "the registry sends no Date to compare clocks with")
    skew = now - there - heard.seconds / 2
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


def _connections(heard: Heard) -> Finding:
    if heard.is_kept:
        return ok("keep-alive", "the registry keeps connections open between requests")
    return warning(
        "keep-alive",
        "the registry closes the connection after each answer",
        "enable keep-alive on it, or on what stands before it: each request pays for a new connection now",
    )


def _authentication(origin: str, heard: Heard) -> list[Finding]:
    if heard.status == _OK:
        return [ok("auth", "the registry asks nobody who they are (/v2/ answers 200)")]
    known = [one for one in heard.challenges if one.scheme in _SCHEMES]
    if not known:
        offered = ", ".join(one.scheme for one in heard.challenges) or "none"
        return [
            problem(
                "auth",
                f"the registry's challenge has no scheme that clients know: {offered}",
                "let the registry offer Bearer or Basic in WWW-Authenticate",
            )
        ]
    realm = realm_of(heard.challenges)
    if realm is None:
        return [ok("auth", "the registry asks for a name and password (Basic)")]
    return [_realm(origin, realm)]


def _realm(origin: str, realm: str) -> Finding:
    parts, registry = urlsplit(realm), urlsplit(origin).netloc
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return problem(
            "auth", "the token realm is no http(s) address", "correct the registry's auth.token.realm"
        )
    if parts.scheme == "http" and not is_loopback(parts.netloc):
        return warning(
            "auth",
            f"tokens come from {parts.netloc} in clear text",
            "clients send their passwords there: put TLS on the token server",
        )
    if parts.netloc == registry:
        return ok("auth", "the registry asks for tokens (Bearer) and gives them out itself")
    return ok(
        "auth",
        f"the registry asks for tokens (Bearer), given out by {parts.netloc}: clients must reach that, too",
    )
