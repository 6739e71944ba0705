"""Where Redis is: one server, a master that Sentinels name, or a cluster.

::

    url       = "redis://" … / "rediss://" … / "unix://" …        ; one server, as redis-py reads it
              / scheme "+sentinel://" [login] nodes "/" service [ "/" db ] [ "?" sentinel-login ]
              / scheme "+cluster://"  [login] nodes
    scheme    = "redis" / "rediss"                                ; rediss: TLS, to the Sentinels as well
    login     = [ user ] ":" password "@"                         ; percent-encoded
    nodes     = node *( "," node )
    node      = host [ ":" port ]                                 ; 6379, a Sentinel's port is 26379
    sentinel-login = "sentinel_username=" user "&sentinel_password=" password
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

_SERVER_OPTIONS: Final = {"host", "port", "db", "username", "password", "path", "connection_class"}
_SENTINEL_OPTIONS: Final = {"sentinel_username", "sentinel_password"}
_SERVICE: Final = re.compile(r"/(?P<service>[A-Za-z0-9_.-]+)(?:/(?P<db>[0-9]{1,4}))?/?")
_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]")
_EXPECTED: Final = (
    "expected redis://[user:password@]host[:port][/db], rediss://…, unix:///path[?db=1], "
    "redis+sentinel://[user:password@]host:port,…/service[/db] or redis+cluster://[user:password@]host:port,…"
)


class Topology(Enum):
    """How many servers there are, and the way to the one to ask."""

    SERVER = "server"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


_KINDS: Final = {
    (scheme, kind.value): kind for scheme in ("redis", "rediss") for kind in (Topology.SENTINEL, Topology.CLUSTER)
}
_DEFAULT_PORTS: Final = {Topology.SENTINEL: 26_379, Topology.CLUSTER: 6379}


@dataclass(frozen=True, slots=True)
class Login:
    """An ACL user; both None: the default user."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """A URL of Redis, taken apart. ``url`` itself is for one server, ``nodes`` for the others."""

    topology: Topology
    is_tls: bool
    url: str = field(repr=False)
    nodes: tuple[tuple[str, int], ...] = ()
    login: Login = Login()
    service: str = ""
    db: int = 0
    sentinel_login: Login = Login()

    @classmethod
    def parse(cls, text: str) -> RedisAddress:
        """Return the address in ``text``.

        Raises:
            ValueError: it breaks the grammar; nothing of it is in the message.
        """
        scheme, _, rest = text.partition("://")
        base, _, kind = scheme.partition("+")
        if not kind:
            return _server(text)
        try:
            topology = _KINDS[base, kind]
            parts = urlsplit(f"{base}://{rest}")
            nodes = tuple(_nodes(parts.netloc.rpartition("@")[2], _DEFAULT_PORTS[topology]))
            service, db = _service(topology, parts.path)
            sentinel_login = _sentinel_login(topology, parts.query)
        except (ValueError, KeyError):
            raise ValueError(_EXPECTED) from None
        return cls(topology, base == "rediss", text, nodes, _login(parts.netloc), service, db, sentinel_login)


def _server(text: str) -> RedisAddress:
    from redis.asyncio.connection import parse_url  # noqa: PLC0415 - a third of the start of those without Redis

    try:
        options = parse_url(text)
    except ValueError:
        options = None
    if options is None or not set(options) <= _SERVER_OPTIONS:
        raise ValueError(_EXPECTED)
    return RedisAddress(Topology.SERVER, text.startswith("rediss"), text)


def _nodes(text: str, default_port: int) -> Iterator[tuple[str, int]]:
    for node in text.split(","):
        host, port = (node, "") if node.endswith("]") else _split_port(node)
        if not _HOST.fullmatch(host) or not (port or str(default_port)).isdecimal():
            raise ValueError
        yield host.strip("[]"), int(port or default_port)


def _split_port(node: str) -> tuple[str, str]:
    host, colon, port = node.rpartition(":")
    return (host, port) if colon else (node, "")


def _login(netloc: str) -> Login:
    user_info, at, _ = netloc.rpartition("@")
    username, _, password = user_info.partition(":")
    return Login(unquote(username) or None, unquote(password) or None) if at else Login()


def _service(topology: Topology, path: str) -> tuple[str, int]:
    if topology is Topology.CLUSTER:
        if path.strip("/"):
            raise ValueError
        return "", 0
    match = _SERVICE.fullmatch(path)
    if match is None:
        raise ValueError
    return match["service"], int(match["db"] or 0)


def _sentinel_login(topology: Topology, query: str) -> Login:
    options = dict(parse_qsl(query, strict_parsing=bool(query)))
    if options and (topology is not Topology.SENTINEL or not set(options) <= _SENTINEL_OPTIONS):
        raise ValueError
    return Login(options.get("sentinel_username"), options.get("sentinel_password"))
