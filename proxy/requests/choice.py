"""Which registry a request is for, and its target there.

In this order: containerd's ``?ns=HOST``, the ``Host`` header, the first part of the repository's name, else the
default. ``ns`` is a closed list: a host that no registry of ours stands for is an error, never an address to dial.
Before all of these come addresses that the proxy itself gave out for one of several registries::

    /twodfs/token/NAME             its token endpoint; repositories are called as it calls them
    /twodfs/token/NAME/PREFIX      the same, for clients that call them PREFIX/REPOSITORY
    /twodfs/registry/NAME/PATH     a path of its own outside the API, as of uploads, for those clients
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote, unquote_plus, urlsplit

from aiohttp import web

from proxy.config import UpstreamConfig
from proxy.repository import DEFAULT_UPSTREAM
from proxy.requests import authority
from proxy.requests.grammar import GrammarError, TargetError, origin_form
from proxy.requests.kinds import TOKEN_PATH

_API: Final = "/v2/"
_ROOT: Final = "/v2"
_OUTSIDE_API: Final = "/twodfs/registry"

_HUB: Final = "docker.io"
_HUB_HOSTS: Final = frozenset({"registry-1.docker.io", "index.docker.io", _HUB})
_OFFICIAL: Final = re.compile(r"/v2/([^/]+)/((?:manifests|blobs|tags|referrers)/.*)", re.DOTALL)
_LIBRARY: Final = "library"
_NAMESPACE: Final = "ns"
_FROM: Final = "from"
_MOUNTING: Final = frozenset({_FROM, "mount"})
_UPLOADS: Final = "/blobs/uploads"


@dataclass(frozen=True, slots=True)
class ChosenRegistry:
    """The registry that a request is for.

    Attributes:
        upstream: its name, as ``Repository.upstream`` has it.
        target: of the request, as that registry knows it.
        name: what the configuration calls it, beside others.
        prefix: the part of the path that named it, to be put back into addresses for this client.
        namespace: the ``ns`` that named it; the same.
        host: the ``Host`` that named it; the same.
    """

    upstream: str
    target: str
    name: str = ""
    prefix: str = ""
    namespace: str = ""
    host: str = ""

    @property
    def is_one_of_several(self) -> bool:
        """Whether addresses for this client have to say which registry they are of."""
        return bool(self.name or self.prefix or self.namespace or self.host)

    @property
    def token_path(self) -> str:
        """Where this client gets tokens for this registry, and for no other."""
        if not self.name:
            return TOKEN_PATH
        return f"{TOKEN_PATH}/{self.name}/{self.prefix}" if self.prefix else f"{TOKEN_PATH}/{self.name}"

    def as_ours(self, target: str) -> str:
        """Return a path and query of the registry as this client reaches it through the proxy."""
        if self.prefix and target.startswith("/"):
            if target.startswith(_API) or target.partition("?")[0] == _ROOT:
                target = f"{_API}{self.prefix}{target.removeprefix(_ROOT)}"
            elif self.name:
                target = f"{_OUTSIDE_API}/{self.name}{target}"
        if self.namespace:
            path, _, query = target.partition("?")
            others = [part for part in query.split("&") if part and not _is(part, _NAMESPACE)]
            target = f"{path}?{'&'.join([*others, f'{_NAMESPACE}={quote(self.namespace)}'])}"
        return target

    def scope_as_ours(self, scope: str) -> str:
        """Return scopes of the registry's ("Token Scope Documentation") as this client calls their repositories."""
        if not (self.name and self.prefix):
            return scope
        return " ".join(_scope(one, lambda name: f"{self.prefix}/{name}") for one in scope.split(" "))

    def scope_as_theirs(self, scope: str) -> str:
        """Return scopes that this client asks for as the registry calls their repositories."""
        if not (self.name and self.prefix):
            return scope
        return " ".join(_scope(one, lambda name: name.removeprefix(f"{self.prefix}/")) for one in scope.split(" "))


CHOSEN: Final = web.RequestKey("CHOSEN", ChosenRegistry)
"""Where a request keeps which registry it is for, where addresses have to say that."""


class RegistryChoice:
    """Tells the registries of one proxy apart."""

    def __init__(self, registries: Mapping[str, UpstreamConfig]) -> None:
        """``registries``: by the name that ``Repository.upstream`` has; the default one among them."""
        self._is_plain = len(registries) == 1 and not any(
            one.prefix or one.hosts or one.namespaces for one in registries.values()
        )
        self._names = {key: one.name for key, one in registries.items()}
        self._keys = {one.name: key for key, one in registries.items() if one.name}
        self._namespaces = _namespaces(registries)
        hosts = [(authority.shortest(host), key) for key, one in registries.items() for host in one.hosts]
        self._hosts = {host: key for host, key in hosts if not host.startswith("*.")}
        self._domains = sorted(
            ((host[1:], key) for host, key in hosts if host.startswith("*.")), key=lambda pair: -len(pair[0])
        )
        self._prefixes = sorted(
            ((one.prefix, key) for key, one in registries.items() if one.prefix), key=lambda pair: -len(pair[0])
        )
        self._prefix = {key: prefix for prefix, key in self._prefixes}
        self._hubs = frozenset(key for key, one in registries.items() if _is_hub(one))

    def choose(self, raw_target: str, host: str) -> ChosenRegistry:
        """Return the registry that a request is for.

        Args:
            raw_target: of the request. The authority of an absolute one counts before ``host`` (RFC 9112, 3.2.2).
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
        given_out = self._given_out(target)
        if given_out is not None:
            return given_out
        target, namespace = _without_namespace(target)
        if namespace is not None:
            key = self._namespaces.get(authority.spelt(namespace))
            if key is None:
                raise UnknownNamespaceError(namespace)
            return self._at(key, target, namespace=namespace)
        host = authority.of_target(raw_target) or host
        key = self._by_host(host)
        if key is not None:
            return self._at(key, target, host=host)
        return self._by_prefix(target)

    def _at(self, key: str, target: str, *, prefix: str = "", namespace: str = "", host: str = "") -> ChosenRegistry:
        official = _OFFICIAL.fullmatch(target) if key in self._hubs else None
        if official is not None and official[1] != _LIBRARY:
            target = f"{_API}{_LIBRARY}/{official[1]}/{official[2]}"
        if _UPLOADS in target and "?" in target:
            target = self._mounting(key, target, has_own_names=bool(namespace or host))
        return ChosenRegistry(key, target, self._names[key], prefix, namespace, host)

    def _given_out(self, target: str) -> ChosenRegistry | None:
        """Return the registry of an address that ``ChosenRegistry`` made; None where it is no such address."""
        path, mark, query = target.partition("?")
        for place in (TOKEN_PATH, _OUTSIDE_API):
            if not path.startswith(f"{place}/"):
                continue
            name, slash, rest = path[len(place) + 1 :].partition("/")
            key = self._keys.get(name)
            if key is None:
                return None
            prefix = self._prefix.get(key, "")
            if place == TOKEN_PATH and rest in ("", prefix) and bool(rest) == bool(slash):
                return ChosenRegistry(key, f"{TOKEN_PATH}{mark}{query}", name, rest)
            if place == _OUTSIDE_API and slash and prefix and not f"/{rest}/".startswith(_API):
                return ChosenRegistry(key, f"/{rest}{mark}{query}", name, prefix)
        return None

    def _by_host(self, host: str) -> str | None:
        name, _ = authority.host_and_port(host)
        if not name:
            return None
        exact = self._hosts.get(name)
        return exact if exact is not None else next((key for end, key in self._domains if name.endswith(end)), None)

    def _by_prefix(self, target: str) -> ChosenRegistry:
        for prefix, key in self._prefixes:
            rest = target.removeprefix(f"{_API}{prefix}")
            if rest != target and rest[:1] in ("/", "?", ""):
                return self._at(key, f"{_ROOT}{rest}", prefix=prefix)
        return self._at(DEFAULT_UPSTREAM, target)

    def _mounting(self, key: str, target: str, *, has_own_names: bool) -> str:
        """Return the target of an upload with the repository that it mounts from as the registry ``key`` calls it.

        A repository of another registry cannot be mounted from: without its name the client is asked for the blob.
        """
        path, _, query = target.partition("?")
        parts = []
        for part in query.split("&"):
            if not _is(part, _FROM):
                parts.append(part)
                continue
            asked = unquote_plus(part.partition("=")[2])
            of, name = (key, asked) if has_own_names else self._named(asked)
            if of != key:
                parts = [one for one in query.split("&") if not any(_is(one, word) for word in _MOUNTING)]
                break
            if key in self._hubs and name and "/" not in name:
                name = f"{_LIBRARY}/{name}"
            parts.append(part if name == asked else f"{_FROM}={quote(name)}")
        query = "&".join(parts)
        return f"{path}?{query}" if query else path

    def _named(self, repository: str) -> tuple[str, str]:
        """Return the registry of a repository, and its name there."""
        for prefix, key in self._prefixes:
            if repository.startswith(f"{prefix}/"):
                return key, repository[len(prefix) + 1 :]
        return DEFAULT_UPSTREAM, repository


class UnknownNamespaceError(GrammarError):
    """The request is for a registry that this proxy does not stand for."""

    def __init__(self, namespace: str) -> None:
        super().__init__(
            "NAME_UNKNOWN",
            f"no registry of this proxy is {namespace[:140]!r}; upstream.namespaces lists those that it stands for",
        )


def _namespaces(registries: Mapping[str, UpstreamConfig]) -> Mapping[str, str]:
    """Return which registry each ``ns`` stands for.

    A host at which two of them are, as with different credentials, stands for none of them, unless one lists it.
    """
    own = {key: _own_names(one) for key, one in registries.items()}
    claims = Counter(name for names in own.values() for name in names)
    found = {name: key for key, names in own.items() for name in names if claims[name] == 1}
    return found | {authority.spelt(name): key for key, one in registries.items() for name in one.namespaces}


def _own_names(registry: UpstreamConfig) -> frozenset[str]:
    """Return the names that a registry has without listing them: by its addresses, or as Docker Hub."""
    own = frozenset(name for url in registry.urls for name in authority.of_origin(url))
    return own | _HUB_HOSTS if _is_hub(registry) else own


def known_as(registry: UpstreamConfig) -> str:
    """Return what those call a registry who do not name the proxy: its first namespace, else its own address."""
    if _is_hub(registry):
        return _HUB
    return next(iter(registry.namespaces), urlsplit(registry.urls[0]).netloc)


def _is_hub(registry: UpstreamConfig) -> bool:
    addresses = (authority.host_and_port(urlsplit(url).netloc)[0] for url in registry.urls)
    return not _HUB_HOSTS.isdisjoint((*addresses, *registry.namespaces))


def _is(part: str, name: str) -> bool:
    written = part.partition("=")[0]
    return written == name or ("%" in written and unquote(written) == name)


def _without_namespace(target: str) -> tuple[str, str | None]:
    """Return a target without its ``ns``, and that; None where it has none."""
    path, mark, query = target.partition("?")
    if not mark:
        return target, None
    parts = query.split("&")
    named = [unquote(part.partition("=")[2]) for part in parts if _is(part, _NAMESPACE)]
    if not named:
        return target, None
    if len(set(named)) > 1:
        raise GrammarError("UNSUPPORTED", "the request names two registries in ns")
    others = "&".join(part for part in parts if not _is(part, _NAMESPACE))
    return (f"{path}?{others}" if others else path), named[0]


def _scope(scope: str, renamed: Callable[[str], str]) -> str:
    """Return ``repository:NAME:ACTIONS`` with another name, and any other scope as it is."""
    kind, _, rest = scope.partition(":")
    name, colon, actions = rest.rpartition(":")
    return f"{kind}:{renamed(name)}:{actions}" if kind == "repository" and colon else scope
