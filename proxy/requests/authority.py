"""Authorities, ``host[:port]`` as ``Host`` headers, ``ns`` and URLs have them, in one spelling.

RFC 9110, section 7.2, with the grammar of RFC 3986, section 3.2: a name in any case, with or without the dot of the
root, or an IPv6 address in brackets, which has many spellings.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

_AUTHORITY: Final = re.compile(
    r"(?:(?P<name>[A-Za-z0-9._-]+?)\.?|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])(?::(?P<port>[0-9]{0,5}))?"
)
_OF_TARGET: Final = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}


def host_and_port(authority: str) -> tuple[str, str]:
    """Return host, in lower case and without brackets, and port; both empty where it is no authority."""
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        return "", ""
    port = match["port"] or ""
    return (shortest(match["ipv6"]), port) if match["ipv6"] else (match["name"].lower(), port)


def shortest(host: str) -> str:
    """Return an IPv6 address in its shortest form, and any other host in lower case."""
    try:
        return str(ipaddress.IPv6Address(host))
    except ValueError:
        return host.lower()


def spelt(authority: str) -> str:
    """Return an authority in the one spelling; empty where it is none."""
    host, port = host_and_port(authority)
    return _joined(host, port) if host else ""


def of_origin(url: str) -> tuple[str, ...]:
    """Return the authority of an origin; on its scheme's own port in both ways, without and with the port."""
    parts = urlsplit(url)
    host, port = host_and_port(parts.netloc)
    usual = _DEFAULT_PORTS[parts.scheme]
    return (_joined(host, ""), _joined(host, usual)) if port in ("", usual) else (_joined(host, port),)


def of_target(target: str) -> str:
    """Return the authority in a request target in absolute-form; empty for other forms."""
    match = _OF_TARGET.match(target)
    return match[1] if match is not None else ""


def _joined(host: str, port: str) -> str:
    bracketed = f"[{host}]" if ":" in host else host
    return f"{bracketed}:{port}" if port else bracketed
