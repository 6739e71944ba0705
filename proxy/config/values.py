"""The types of single values: addresses, origins, durations."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import orjson
from pydantic import BeforeValidator, Field, PlainSerializer, SecretStr
from yarl import URL

from proxy.config.redis_url import RedisAddress

_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_AUTHORITY: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_MAX_PORT: Final = 65535
_MOST_ORIGINS: Final = 16
_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?(s|m|min|h|d|w)")
_UNITS: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LONGEST_DURATION: Final = 10 * 366 * 86_400
_VISIBLE: Final = re.compile(r"[!#-~]{1,2048}")  # no quote: it is sent within quotes

UPSTREAM_NAME: Final = r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


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
        valid_host = _is_ipv6(host) if bracketed else is_name(host)
        if not (colon and valid_host and port.isascii() and port.isdigit() and int(port) <= _MAX_PORT):
            raise ValueError(f"expected host:port or [ipv6]:port with a port of 0 to {_MAX_PORT}")
        return cls(host, int(port))

    @property
    def takes_both_families(self) -> bool:
        """Whether it is ``[::]``, where clients with IPv4 are welcome, too, as with other servers."""
        return _canonical(self.host) == "::"

    def overlaps(self, other: Address) -> bool:
        """Say whether a connection to one of the two can reach the other."""
        if self.port != other.port or not self.port:
            return False
        hosts = {_canonical(self.host), _canonical(other.host)}
        return len(hosts) == 1 or bool(hosts & _EVERYWHERE)

    def reaches(self, listener: Address) -> bool:
        """Say whether a connection from here to this address is one to ``listener``, by their names."""
        if self.port != listener.port:
            return False
        host, listens = _canonical(self.host), _canonical(listener.host)
        return host == listens or (listens in _EVERYWHERE and _is_loopback(host)) or host in _EVERYWHERE

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


_EVERYWHERE: Final = {"0.0.0.0", "::"}  # noqa: S104 - to tell them, not to bind them


def _canonical(host: str) -> str:
    try:
        return str(ipaddress.ip_address("127.0.0.1" if host.lower() == "localhost" else host))
    except ValueError:
        return host.lower()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_name(host: str) -> bool:
    """Say whether ``host`` is a name or an IPv4 address that can be looked up: ``xn--a`` is no name."""
    try:
        host.encode("idna")
        return _HOST.fullmatch(host) is not None and URL.build(scheme="http", host=host).host is not None
    except ValueError:
        return False


def _is_authority(text: str) -> bool:
    """Say whether ``text``, which has the form of ``host[:port]``, can be one; names may have a ``_``."""
    host, port = urlsplit(f"//{text}").hostname or "", text.rpartition(":")[2]
    has_port = not text.endswith("]") and ":" in text
    is_port = not has_port or int(port) <= _MAX_PORT
    return is_port and (_is_ipv6(host) or is_name(host.replace("_", "-").strip("-.")))


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
    valid_host = parts.hostname and (is_name(parts.hostname) or _is_ipv6(parts.hostname))
    if parts.scheme not in ("http", "https") or not valid_host or not port_is_valid:
        raise ValueError("expected http://host[:port] or https://host[:port]")
    if parts.path or parts.query or parts.fragment:
        raise ValueError("expected an origin, without a path: the registry's API is at /v2/ of it")
    return text


def _origins(value: object) -> str:
    """Return one origin, or several with commas between."""
    origins = [_origin(text) for text in _words(value)]
    if not 1 <= len(origins) <= _MOST_ORIGINS:
        raise ValueError(f"expected one origin, or up to {_MOST_ORIGINS} with commas between")
    if len(set(origins)) != len(origins):
        raise ValueError("expected each origin once")
    if len({urlsplit(one).scheme for one in origins}) > 1:
        raise ValueError("expected all origins with http or all with https: they get the same credentials")
    return ", ".join(origins)


def _redis_url(value: object) -> object:
    text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    if text:
        nodes = RedisAddress.parse(text).nodes
        hosts = [host for host, _ in nodes] or [urlsplit(text).hostname or "localhost"]
        if not all(_is_ipv6(host) or is_name(host.replace("_", "-")) for host in hosts):
            raise ValueError("expected hosts that can be looked up")
    return value


def _words(value: object) -> list[str]:
    """Return the items of a list, as text."""
    items = _list(value)
    if not isinstance(items, list | tuple):
        raise ValueError("expected a list, or items with commas between them")  # noqa: TRY004 - pydantic's protocol
    return [text for item in items if (text := str(item).strip())]


def _networks(value: object) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(text) for text in _words(value))
    except ValueError as error:
        raise ValueError(f"expected networks like 10.0.0.0/8 or fd00::/8: {error}") from None


def _hosts(value: object) -> tuple[str, ...]:
    hosts = tuple(text.lower() for text in _words(value))
    for host in hosts:
        name = host.removeprefix("*.")
        if not (is_name(name) or _is_ipv6(name)):
            raise ValueError("expected host names like s3.example.org or *.example.org, without ports")
    return hosts


def _hosts_and_ports(value: object) -> tuple[str, ...]:
    hosts = tuple(text.lower() for text in _words(value))
    for host in hosts:
        if not (_AUTHORITY.fullmatch(host) and _is_authority(host)):
            raise ValueError("expected host or host:port, as docker.io or registry.example.org:5000")
    return hosts


def _authority(value: object) -> object:
    if value and not (_AUTHORITY.fullmatch(str(value)) and _is_authority(str(value))):
        raise ValueError("expected host or host:port, as registry.example.org:5000")
    return value


def _file(value: object) -> object:
    return None if value == "" else value


def _realm_host(value: object) -> str:
    """Return a ``host`` or ``host:port`` in lower case, as ``auth.realm_hosts`` lists them."""
    text = str(value).lower()
    if text.rpartition(":")[0]:
        return str(Address.parse(text))
    if not is_name(text):
        raise ValueError("expected host or host:port")
    return text


def _token_service(value: object) -> str:
    text = str(value)
    parts = urlsplit(text)
    valid_host = parts.hostname and (is_name(parts.hostname) or _is_ipv6(parts.hostname))
    if parts.scheme not in ("http", "https") or not valid_host or "@" in parts.netloc or parts.fragment:
        raise ValueError("expected http(s)://host[:port]/path, where clients get their tokens")
    if not _VISIBLE.fullmatch(text):
        raise ValueError("expected no spaces and no quotes")
    return text


def _duration(value: object) -> object:
    """Return the seconds of a number, with or without a unit: ``7d``, ``90 min``, ``3600``."""
    if not isinstance(value, str):
        return value
    if (match := _DURATION.fullmatch(value.strip())) is not None:
        return float(match[1]) * _UNITS[match[2]]
    try:
        return float(value)
    except ValueError:
        raise ValueError("expected seconds, or a number with s, m, min, h, d or w behind it, as 7d") from None


def _list(value: object) -> object:
    """Return the list in an environment variable or a flag: JSON, or values with commas between."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            raise ValueError("expected a JSON list, or values with commas between") from None
    return [part.strip() for part in value.split(",") if part.strip()]


def _tables(value: object) -> object:
    """Return the tables in an environment variable: JSON. What is wrong with it is not shown, it may have secrets."""
    try:
        tables = orjson.loads(value) if isinstance(value, str) else value
    except orjson.JSONDecodeError:
        tables = None
    if not isinstance(tables, list | tuple):
        raise ValueError('expected a JSON list of tables, as [{"name":"hub","url":"https://registry-1.docker.io"}]')  # noqa: TRY004 - pydantic's protocol
    return tables


def _seconds(*, least: float) -> Any:
    return Field(ge=least, le=86_400)


ListenAddress = Annotated[Address, BeforeValidator(_address), PlainSerializer(str)]
OptionalAddress = Annotated[
    Address | None,
    BeforeValidator(_address_or_none),
    PlainSerializer(lambda one: str(one) if one else "none"),
]
HostAndPort = Annotated[str, BeforeValidator(_authority)]
RegistryName = Annotated[str | None, BeforeValidator(_authority)]
File = Annotated[Path | None, BeforeValidator(_file)]
Hosts = Annotated[tuple[str, ...], BeforeValidator(_hosts)]
Networks = Annotated[
    tuple[Network, ...],
    BeforeValidator(_networks),
    PlainSerializer(lambda networks: [str(one) for one in networks]),
]
Paths = Annotated[
    tuple[Path, ...],
    BeforeValidator(_words),
    PlainSerializer(lambda paths: [str(one) for one in paths]),
]
HostsAndPorts = Annotated[tuple[str, ...], BeforeValidator(_hosts_and_ports)]
PathPrefix = Annotated[str, Field(pattern=r"^(?:[a-z0-9]+(?:[._-][a-z0-9]+)*(?:/[a-z0-9]+(?:[._-][a-z0-9]+)*)*)?$")]
UpstreamName = Annotated[str, Field(max_length=63, pattern=rf"^(?:{UPSTREAM_NAME})?$")]
Listed = BeforeValidator(_list)
Tables = BeforeValidator(_tables)
RealmHost = Annotated[str, BeforeValidator(_realm_host)]
OriginUrl = Annotated[str, BeforeValidator(_origin)]
OriginList = Annotated[str, BeforeValidator(_origins)]
TokenService = Annotated[str, BeforeValidator(_token_service)]
RedisUrl = Annotated[SecretStr, BeforeValidator(_redis_url)]
Seconds = Annotated[float, _seconds(least=0.001)]
SecondsOrZero = Annotated[float, _seconds(least=0)]
Duration = Annotated[
    float,
    Field(ge=0, le=_LONGEST_DURATION, json_schema_extra={"format": "time with a unit"}),
    BeforeValidator(_duration),
]
Share = Annotated[float, Field(ge=0, le=1)]
