"""Three stock registries behind one proxy: one with passwords, one with a token server, a stand-in for docker.io."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.lab.images import Image, build_image, push
from tests.lab.registry import Registry
from tests.lab.token_server import OTHER_LOGIN, TokenServer, token_server

SHELF_LOGIN = OTHER_LOGIN
"""Bob may read everything in the registry with passwords, and Ann nothing."""
PASSWORDS, TOKENS, HUB = "shelf", "vault", "hub"
"""What the configuration calls them; the first is the default one."""
NAMESPACES: Mapping[str, str] = {PASSWORDS: "shelf.example:5000", TOKENS: "vault.example", HUB: "docker.io"}
HOSTS: Mapping[str, str] = {PASSWORDS: "shelf.lab", TOKENS: "vault.lab", HUB: "cache.hub.lab"}
NAMES = (PASSWORDS, TOKENS, HUB)
MODELS: Mapping[str, Image] = {
    name: build_image({(0, 0): {"file": b"0"}, (0, 1): {"file": b"1"}}, base={"base.txt": name.encode()})
    for name in NAMES
}
"""The image library/model:v1 of each."""
PULL = "/v2/library/model/manifests/v1"


@dataclass(frozen=True, slots=True)
class Registries:
    """The three, by name, and the token server of one."""

    by_name: Mapping[str, Registry]
    tokens: TokenServer

    @property
    def default(self) -> Registry:
        return self.by_name[PASSWORDS]

    def config(self, *, realm: str = "upstream", more: str = "") -> str:
        """Return the configuration of a proxy in front of them; `more` stands before the tables."""
        token_host = urlsplit(self.tokens.url).netloc
        auth = {TOKENS: f'auth = {{ realm = "{realm}", realm_hosts = ["{token_host}"] }}\n'}
        tables = [more]
        for name, registry in self.by_name.items():
            host = HOSTS[name].replace("cache.", "*.")
            tables.append(
                f'[[upstream]]\nname = "{name}"\nurl = "{registry.url}"\nnamespaces = ["{NAMESPACES[name]}"]\n'
                f'hosts = ["{host}"]\nprefix = "{"" if name == PASSWORDS else name}"\n{auth.get(name, "")}'
            )
        return "\n".join(tables)

    def asked(self) -> Mapping[str, int]:
        """Return how often each registry, and the token server, was asked so far."""
        counts = {name: len(registry.requests()) for name, registry in self.by_name.items()}
        return {**counts, "tokens": len(self.tokens.requests)}


@contextmanager
def three_registries(directory: Path, fill: Callable[[str, str], None]) -> Iterator[Registries]:
    """Start them; `fill` is called before with the name and the URL of each, which lets everybody write."""
    with ExitStack() as stack:
        tokens = stack.enter_context(token_server(directory))
        locks: Mapping[str, Mapping[str, Any]] = {
            PASSWORDS: {"htpasswd": dict([SHELF_LOGIN])},
            TOKENS: {"extra_config": tokens.registry_config()},
            HUB: {},
        }
        by_name = {}
        for name, lock in locks.items():
            (directory / name).mkdir()
            with Registry.start(directory / name) as open_to_all:
                fill(name, open_to_all.url)
            by_name[name] = stack.enter_context(Registry.start(directory / name, **lock))
        yield Registries(by_name, tokens)


def push_model(name: str, url: str) -> None:
    """Give one of the three its image."""
    push(MODELS[name], url, "library/model", "v1")


@dataclass(frozen=True, slots=True)
class Way:
    """How a client says which registry it means: `ns`, `host`, `prefix`, or `default`."""

    kind: str
    registry: str

    def target(self, target: str) -> str:
        """Return a registry's own target as a client of the proxy asks for it."""
        if self.kind == "ns":
            return f"{target}{'&' if '?' in target else '?'}ns={NAMESPACES[self.registry]}"
        return target.replace("/v2/", f"/v2/{self.registry}/", 1) if self.kind == "prefix" else target

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Host": HOSTS[self.registry]} if self.kind == "host" else {}


def ways(registry: str) -> list[Way]:
    """Return every way to one of the three."""
    last = "default" if registry == PASSWORDS else "prefix"
    return [Way(kind, registry) for kind in ("ns", "host", last)]


EVERY_WAY = [way for name in NAMES for way in ways(name)]
