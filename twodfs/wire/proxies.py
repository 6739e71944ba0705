"""The HTTP proxy that the environment names for an address, by the rules of Go's programs, as Docker is one.

``HTTPS_PROXY`` is for TLS and ``HTTP_PROXY`` for plain HTTP; in small letters as well, and capitals win.
``NO_PROXY`` lists, between commas, hosts that are asked without one (golang.org/x/net/http/httpproxy)::

    *                     everything
    example.com           this host and all below it
    .example.com          all below it alone, as *.example.com
    192.0.2.1, [2001:db8::1]:5000
    192.0.2.0/24          addresses as they are written; no name is looked up for it
    example.com:5000      any of these but the network, at one port

This machine (``localhost``, 127.0.0.0/8 and ::1) is never asked through a proxy.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from twodfs.oci.reference import is_loopback
from twodfs.wire.failures import WireError

_PORT: Final = 80
_VARIABLES: Final = {"http": "HTTP_PROXY", "https": "HTTPS_PROXY"}


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy. ``authorization`` is the header line that it wants, or empty."""

    host: str
    port: int
    authorization: str

    @classmethod
    def parse(cls, url: str) -> Proxy:
        """Return the proxy that the environment writes as ``url``.

        Raises:
            WireError: it is none that can be spoken to.
        """
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            host, port = parts.hostname, parts.port or _PORT
        except ValueError:  # as of a port beyond 65535
            host, port = None, 0
        if not host or parts.scheme != "http":
            raise WireError("the proxy that the environment names is no http:// address")
        return cls(host, port, _authorization(parts))


def proxy_url(scheme: str, host: str, port: int, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the proxy that ``environment`` names for an origin; None where it is asked without one."""
    if is_loopback(f"[{host}]"):
        return None
    if sys.platform == "darwin" and not any(name.lower().endswith("_proxy") for name in environment):
        return _of_the_system(scheme, host)
    name = _VARIABLES[scheme]
    # To a CGI program, HTTP_PROXY is the client's header "Proxy".
    is_forged = name == "HTTP_PROXY" and "REQUEST_METHOD" in environment
    url = ("" if is_forged else environment.get(name)) or environment.get(name.lower())
    exceptions = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    return url if url and not _is_excepted(host.lower(), port, exceptions) else None


def _is_excepted(host: str, port: int, exceptions: str) -> bool:
    address = _address(host)
    for one in exceptions.lower().split(","):
        entry = one.strip()
        if entry == "*":
            return True
        if "/" in entry:
            if address is not None and _is_within(address, entry):
                return True
            continue
        name, wanted_port = _split_port(entry)
        if wanted_port in ("", str(port)) and name and _is_named(host, address, name):
            return True
    return False


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _is_named(host: str, address: _Address | None, name: str) -> bool:
    if (listed := _address(name)) is not None:
        return listed == address
    below = name.removeprefix("*")
    if below.startswith("."):
        return host.endswith(below)
    return host == name or host.endswith(f".{name}")


def _is_within(address: _Address, network: str) -> bool:
    try:
        return address in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _address(text: str) -> _Address | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _split_port(entry: str) -> tuple[str, str]:
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        return name, rest.removeprefix(":")
    name, colon, port = entry.rpartition(":")
    return (name, port) if colon and ":" not in name else (entry, "")


def _of_the_system(scheme: str, host: str) -> str | None:
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 - takes 20 ms to load

    return None if proxy_bypass(host) else getproxies().get(scheme)


def _authorization(parts: SplitResult) -> str:
    if parts.username is None:
        return ""
    import base64  # noqa: PLC0415 - few proxies ask

    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return f"Proxy-Authorization: Basic {base64.b64encode(pair.encode()).decode('ascii')}\r\n"
