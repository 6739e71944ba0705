"""Which registry a request is for, and its target there.

In this order: containerd's ``?ns=HOST``, the ``Host`` header, the first part of the repository's name, else the
default. ``ns`` is a closed list: a host that no registry of ours stands for is an error, never an address to dial.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from aiohttp import web

from proxy.config import HUB, UpstreamConfig
from proxy.repository import DEFAULT_UPSTREAM
from proxy.requests.grammar import GrammarError, TargetError, origin_form

_API: Final = "/v2/"
_OFFICIAL: Final = re.compile(r"/v2/([^/]+)/((?:manifests|blobs|tags|referrers)/.*)", re.DOTALL)
_LIBRARY: Final = "library"
_NAMESPACE: Final = "ns"
_FROM: Final = "from"


@dataclass(frozen=True, slots=True)
class ChosenRegistry:
    """The registry that a request is for.

    Attributes:
        upstream: its name, as ``Repository.upstream`` has it.
        target: of the request, as that registry knows it.
        prefix: the part of the path that named it, to be put back into addresses for this client.
        namespace: the ``ns`` that named it; the same.
    """

    upstream: str
    target: str
    prefix: str = ""
    namespace: str = ""

    @property
    def is_named(self) -> bool:
        """Whether addresses for this client have to say which registry they are of."""
        return bool(self.prefix or self.namespace)

    def as_ours(self, target: str) -> str:
        """Return a path and query of the registry as this client reaches it through the proxy."""
        if self.prefix and (target.startswith(_API) or target == _API.rstrip("/")):
            target = f"/v2/{self.prefix}/{target[len(_API) :]}"
        if self.namespace:
            path, _, query = target.partition("?")
            others = [part for part in query.split("&") if part and not _is(part, _NAMESPACE)]
            target = f"{path}?{'&'.join([*others, f'{_NAMESPACE}={self.namespace}'])}"
        return target


CHOSEN: Final = web.RequestKey("CHOSEN", ChosenRegistry)
"""Where a request keeps which registry it is for, where addresses have to say that."""


class RegistryChoice:
    """Tells the registries of one proxy apart."""

    def __init__(self, registries: Mapping[str, UpstreamConfig]) -> None:
        """``registries``: by the name that ``Repository.upstream`` has; the default one among them."""
        self._is_plain = len(registries) == 1 and not any(
            one.prefix or one.hosts or one.namespaces for one in registries.values()
        )
        self._namespaces = {name: key for key, one in registries.items() for name in one.own_namespaces}
        self._namespaces |= {name: key for key, one in registries.items() for name in one.namespaces}
        self._hosts = {host: key for key, one in registries.items() for host in one.hosts if not host.startswith("*.")}
        self._domains = sorted(
            ((host[1:], key) for key, one in registries.items() for host in one.hosts if host.startswith("*.")),
            key=lambda pair: -len(pair[0]),
        )
        self._prefixes = sorted(
            ((one.prefix, key) for key, one in registries.items() if one.prefix), key=lambda pair: -len(pair[0])
        )
        self._hubs = frozenset(key for key, one in registries.items() if HUB in (*one.own_namespaces, *one.namespaces))

    def choose(self, raw_target: str, host: str) -> ChosenRegistry:
        """Return the registry that a request is for.

        Args:
            raw_target: of the request.
            host: its ``Host`` header, or the one that a trusted proxy says it had.

        Raises:
            GrammarError: its ``ns`` is none of ours.
        """
        if self._is_plain:
            return ChosenRegistry(DEFAULT_UPSTREAM, raw_target)
        try:
            target = origin_form(raw_target)
        except TargetError:
            return ChosenRegistry(DEFAULT_UPSTREAM, raw_target)
        target, namespace = _without_namespace(target)
        if namespace is not None:
            key = self._namespaces.get(namespace.lower())
            if key is None:
                raise UnknownNamespaceError(namespace)
            return self._at(key, target, namespace=namespace)
        key = self._by_host(host)
        if key is not None:
            return self._at(key, target)
        for prefix, named in self._prefixes:
            rest = target.removeprefix(f"{_API}{prefix}")
            if rest != target and rest[:1] in ("/", "?", ""):
                return self._at(named, _without_prefix(rest.removeprefix("/"), prefix), prefix=prefix)
        return self._at(DEFAULT_UPSTREAM, target)

    def _at(self, key: str, target: str, *, prefix: str = "", namespace: str = "") -> ChosenRegistry:
        official = _OFFICIAL.fullmatch(target) if key in self._hubs else None
        if official is not None and official[1] != _LIBRARY:
            target = f"{_API}{_LIBRARY}/{official[1]}/{official[2]}"
        return ChosenRegistry(key, target, prefix, namespace)

    def _by_host(self, host: str) -> str | None:
        name = _bare(host)
        if not name:
            return None
        exact = self._hosts.get(name)
        return exact if exact is not None else next((key for end, key in self._domains if name.endswith(end)), None)


class UnknownNamespaceError(GrammarError):
    """The request is for a registry that this proxy does not stand for."""

    def __init__(self, namespace: str) -> None:
        super().__init__(
            "NAME_UNKNOWN",
            f"no registry of this proxy is {namespace[:140]!r}; upstream.namespaces lists those that it stands for",
        )


def _bare(host: str) -> str:
    """Return a ``Host`` without its port, in lower case; an IPv6 address without its brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].rstrip(".").lower()


def _is(part: str, name: str) -> bool:
    return part == name or part.startswith(f"{name}=")


def _without_namespace(target: str) -> tuple[str, str | None]:
    """Return a target without its ``ns``, and that; None where it has none."""
    path, mark, query = target.partition("?")
    if not mark or _NAMESPACE not in query:
        return target, None
    parts = query.split("&")
    named = [unquote(part.partition("=")[2]) for part in parts if _is(part, _NAMESPACE)]
    if not named:
        return target, None
    if len(set(named)) > 1:
        raise GrammarError("UNSUPPORTED", "the request names two registries in ns")
    others = "&".join(part for part in parts if not _is(part, _NAMESPACE))
    return (f"{path}?{others}" if others else path), named[0]


def _without_prefix(rest: str, prefix: str) -> str:
    """Return a target of a registry without the prefix, in the repository that a blob is mounted from, too.

    A repository of another registry cannot be mounted from: without its name the client is asked for the blob.
    """
    path, mark, query = rest.partition("?")
    if mark and _FROM in query:
        parts = []
        for part in query.split("&"):
            name = unquote(part.partition("=")[2])
            if not _is(part, _FROM):
                parts.append(part)
            elif name.startswith(f"{prefix}/"):
                parts.append(f"{_FROM}={name[len(prefix) + 1 :]}")
        query = "&".join(parts)
    return f"{_API}{path}{'?' if query else ''}{query}"
