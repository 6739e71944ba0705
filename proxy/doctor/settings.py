"""The configuration, looked at as a whole: values that are allowed, and do not fit together."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Final
from urllib.parse import SplitResult, urlsplit

from proxy.config import Address, Config, UpstreamConfig
from proxy.doctor.finding import Finding, ok, problem, warning
from twodfs.oci.reference import is_loopback

_CHECK: Final = "settings"
_LONG_TAG_TTL: Final = 60.0
_SHORT_GRACE: Final = 5.0
_SECONDS_A_DAY: Final = 86_400
_PORTS: Final = {"http": 80, "https": 443}


def check_settings(config: Config) -> list[Finding]:
    """Return findings on odd values in ``config``, or one that there are none."""
    return list(_findings(config)) or [ok(_CHECK, "the settings fit together")]


def _findings(config: Config) -> Iterator[Finding]:
    is_public = not _is_loopback(config.listen)
    everyone = (config.upstream, *config.upstreams)
    for one in everyone:
        for finding in _about(one, config):
            yield finding.of(one.name) if len(everyone) > 1 else finding
    if config.public_url is None and config.tls.certificate is None and is_public:
        yield warning(
            _CHECK,
            f"clients reach {config.listen} from elsewhere and public_url is not set",
            "behind a TLS front, set public_url to the https:// origin that clients use: else uploads "
            "are sent to http://",
        )
    if config.public_url is not None and config.public_url.startswith("http://") and is_public:
        yield warning(
            _CHECK,
            f"clients send their credentials to {config.public_url} in clear text",
            "put TLS in front of the proxy and https:// into public_url",
        )
    if config.admin is not None and not _is_loopback(config.admin):
        yield warning(
            _CHECK,
            f"the admin listener {config.admin} answers whoever reaches this machine",
            "fine in a container whose port is not published; else listen on 127.0.0.1, or let a network "
            "policy admit the probes alone",
        )
    yield from _durations(config)


def _about(upstream: UpstreamConfig, config: Config) -> Iterator[Finding]:
    """Yield what is odd about the settings of one registry."""
    for origin in upstream.urls:
        parts = urlsplit(origin)
        if _leads_back(parts, config):
            yield problem(
                _CHECK,
                f"upstream.url is {origin}, which is this proxy's own address",
                "let upstream.url name the registry behind the proxy",
            )
        if parts.scheme == "http" and not is_loopback(parts.netloc):
            yield warning(
                _CHECK,
                f"credentials travel to {origin} in clear text",
                "use https:// for a registry on another machine",
            )
    if upstream.metadata_timeout < upstream.connect_timeout:
        yield warning(
            _CHECK,
            "upstream.metadata_timeout is shorter than upstream.connect_timeout, which never comes to bear",
            "let metadata_timeout be the longer one",
        )


def _durations(config: Config) -> Iterator[Finding]:
    cache = config.cache
    if cache.tag_ttl > _LONG_TAG_TTL:
        yield warning(
            _CHECK,
            f"for {cache.tag_ttl:g} s after a look-up (cache.tag_ttl), a tag that moved and a right that was "
            "revoked go unnoticed",
            "a second or two already takes the load off the registry",
        )
    if cache.recipe_days * _SECONDS_A_DAY < cache.ttl:
        yield warning(
            _CHECK,
            "cache.recipe_days is shorter than cache.ttl: digests are forgotten before their documents",
            "recipes are small; keep them for as long as digests are pinned",
        )
    if config.shutdown_grace < _SHORT_GRACE:
        yield warning(
            _CHECK,
            f"running downloads are cut off {config.shutdown_grace:g} s after SIGTERM",
            "set shutdown_grace to what your largest layer takes, and the supervisor's own patience above it",
        )


def _leads_back(upstream: SplitResult, config: Config) -> bool:
    port = upstream.port or _PORTS[upstream.scheme]
    host = upstream.hostname or ""
    if not config.listen.port or port != config.listen.port:
        return False
    is_here = is_loopback(f"[{host}]" if ":" in host else host)
    return host == config.listen.host or (is_here and (_is_any(config.listen) or _is_loopback(config.listen)))


def _is_loopback(address: Address) -> bool:
    return is_loopback(str(address))


def _is_any(address: Address) -> bool:
    try:
        return ipaddress.ip_address(address.host).is_unspecified
    except ValueError:
        return False
