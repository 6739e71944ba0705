"""What a single value may be: addresses, origins, durations."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, PlainSerializer, SecretStr
from redis.asyncio.connection import parse_url

_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_REDIS_OPTIONS: Final = {"host", "port", "db", "username", "password", "path", "connection_class"}
_MAX_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class Address:
    """Where a listener binds. Port 0 lets the system pick a free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: object) -> Address:
        """Return the address that ``text`` (``host:port`` or ``[v6]:port``) writes.

        Raises:
            ValueError: it has another form.
        """
        host, colon, port = str(text).rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        host = host[1:-1] if bracketed else host
        valid_host = _is_ipv6(host) if bracketed else _HOST.fullmatch(host)
        if not (colon and valid_host and port.isascii() and port.isdigit() and int(port) <= _MAX_PORT):
            raise ValueError(f"expected host:port or [ipv6]:port with a port of 0 to {_MAX_PORT}")
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6  # noqa: PLR2004 - the protocol's own number
    except ValueError:
        return False


def _address(value: object) -> Address:
    return value if isinstance(value, Address) else Address.parse(value)


def _address_or_none(value: object) -> Address | None:
    return None if value is None or value == "none" else _address(value)


def _origin(value: object) -> str:
    """Return a URL without a path: registries answer at ``/v2/`` of an origin, never below a prefix."""
    text = str(value).rstrip("/")
    parts = urlsplit(text)
    try:
        port_is_valid = parts.port is None or 0 < parts.port <= _MAX_PORT
    except ValueError:
        port_is_valid = False
    if "@" in parts.netloc:
        raise ValueError("expected no user or password in the URL; clients bring their own credentials")
    valid_host = parts.hostname and (_HOST.fullmatch(parts.hostname) or _is_ipv6(parts.hostname))
    if parts.scheme not in ("http", "https") or not valid_host or not port_is_valid:
        raise ValueError("expected http://host[:port] or https://host[:port]")
    if parts.path or parts.query or parts.fragment:
        raise ValueError("expected an origin, without a path: the registry's API is at /v2/ of it")
    return text


def _redis_url(value: object) -> object:
    text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    if not text:
        return value
    try:
        options = parse_url(text)
    except ValueError:
        options = None
    if options is None or not set(options) <= _REDIS_OPTIONS:
        raise ValueError(
            "expected redis://[user:password@]host[:port][/db], rediss://… or unix:///path[?db=1]"
        )
    return value


def _seconds(*, least: float) -> Any:
    return Field(ge=least, le=86_400)


ListenAddress = Annotated[Address, BeforeValidator(_address), PlainSerializer(str)]
OptionalAddress = Annotated[
    Address | None,
    BeforeValidator(_address_or_none),
    PlainSerializer(lambda one: str(one) if one else "none"),
]
Origin = Annotated[str, BeforeValidator(_origin)]
RedisUrl = Annotated[SecretStr, BeforeValidator(_redis_url)]
Seconds = Annotated[float, _seconds(least=0.001)]
SecondsOrZero = Annotated[float, _seconds(least=0)]
Share = Annotated[float, Field(ge=0, le=1)]
