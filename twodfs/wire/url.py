"""Addresses of HTTP, taken apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

PORTS: Final = {"http": 80, "https": 443}

_VISIBLE: Final = "".join(map(chr, range(0x21, 0x7F)))
_HOST = re.compile(r"[0-9A-Za-z._:%-]+")


class HttpOrigin(NamedTuple):
    """The scheme, host and port of a connection (RFC 9110, 4.3.1)."""

    scheme: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class HttpUrl:
    """A URL, taken apart: ``target`` is its path and query as they are written."""

    origin: HttpOrigin
    target: str

    @classmethod
    def parse(cls, url: str) -> HttpUrl:
        """Return the parts of ``url``; its user and fragment are left out, its escapes stay.

        Raises:
            ValueError: it is no http(s) address.
        """
        parts = urlsplit(quote(url, safe=_VISIBLE))
        host, port = parts.hostname or "", parts.port
        if parts.scheme not in PORTS or not _HOST.fullmatch(host):
            raise ValueError(url)
        query = f"?{parts.query}" if parts.query else ""
        return cls(
            HttpOrigin(parts.scheme, host, PORTS[parts.scheme] if port is None else port),
            (parts.path or "/") + query,
        )

    @property
    def authority(self) -> str:
        """The value of the ``Host`` header."""
        host = f"[{self.origin.host}]" if ":" in self.origin.host else self.origin.host
        usual = self.origin.port == PORTS[self.origin.scheme]
        return host if usual else f"{host}:{self.origin.port}"

    def __str__(self) -> str:
        return f"{self.origin.scheme}://{self.authority}{self.target}"
