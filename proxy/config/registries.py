"""Further registries behind the same proxy, and what they take over from the settings of the first.

What lets somebody in, or lets the proxy go somewhere, is not taken over unless it is meant for every registry: a token
server's keys, anonymous clients, and networks that one registry may redirect to say nothing of another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, Literal

from pydantic import Field

from proxy.config.access import AuthConfig, ClientsConfig
from proxy.config.partitions import PartitionConfig, PlainTag
from proxy.config.section import Section
from proxy.config.upstream import BlobsConfig, UpstreamConfig
from proxy.config.values import Hosts, Networks

_ANONYMOUS: Final = "anonymous"


class OwnBlobsConfig(Section):
    """Where one of several registries may redirect to; bodies are moved in the same way for all."""

    redirect: Literal["pass", "follow"] | None = Field(
        None, description="pass: clients fetch from there; follow: the proxy does; unset: as for the default registry."
    )
    allowed_networks: Networks = Field((), description="Private networks that this registry may redirect to.")
    allowed_hosts: Hosts = Field((), description="Hosts that this registry may redirect to wherever they are.")


class OwnPartitionConfig(Section):
    """What plain tags give in one of several registries; how partitions are cut is the same for all."""

    plain_tag: PlainTag | None = Field(
        None,
        description="What the plain tag of a 2DFS image in this registry gives; unset: as for the default registry.",
    )


class FurtherUpstreamConfig(UpstreamConfig):
    """A registry beside the default one."""

    blobs: OwnBlobsConfig = OwnBlobsConfig()
    partition: OwnPartitionConfig = OwnPartitionConfig()
    auth: AuthConfig = AuthConfig()

    @property
    def takes_clients(self) -> bool:
        """Whether the proxy's own users and rules are for this registry: it lets clients in here, and has no others."""
        return self.credentials.kind != "none" and "clients" not in self.auth.model_fields_set

    def redirects(self, default: BlobsConfig) -> BlobsConfig:
        """Return how blobs of this registry pass through; what ``default`` may be redirected to is not for this one."""
        own = self.blobs
        return BlobsConfig(
            relay=default.relay,
            redirect=own.redirect or default.redirect,
            allowed_networks=own.allowed_networks,
            allowed_hosts=own.allowed_hosts,
        )

    def cuts(self, default: PartitionConfig) -> PartitionConfig:
        """Return how partitions of images in this registry are cut: as ``default`` says, but for its own plain tags."""
        own = self.partition.plain_tag
        return default if own is None else default.model_copy(update={"plain_tag": own})

    def access(self, default: AuthConfig) -> AuthConfig:
        """Return how clients of this registry are authenticated: as it says, else as ``default`` does.

        Of that it has the users and rules, where the proxy lets clients in here, too. Tokens of another registry's
        server prove nothing here, and its realms see no credentials of this one.
        """
        taken: dict[str, object] = {"ttl": default.ttl}
        if self.credentials.kind == "none":
            taken["realm"] = default.realm
        if self.takes_clients:
            taken["clients"] = self._clients(default.clients)
        given = {name: getattr(self.auth, name) for name in self.auth.model_fields_set}
        return AuthConfig.model_validate(taken | given)

    def _clients(self, default: ClientsConfig) -> ClientsConfig:
        """Return the clients of the default registry; those who did not log in where a rule names this registry."""
        is_meant = any(self.name in rule.registries and _ANONYMOUS in rule.users for rule in default.rules)
        return default.model_copy(update={"allow_anonymous": default.allow_anonymous and is_meant})


def check_apart(registries: Sequence[UpstreamConfig]) -> None:
    """Look whether each of several registries can be told from the others.

    Raises:
        ValueError: two answer to the same name.
    """
    if len(registries) > 1 and not all(one.name for one in registries):
        raise ValueError(
            "each of several [[upstream]] needs a name (upstream.name, TWODFS_PROXY_UPSTREAM_NAME for the default one)"
        )
    _differ("name", (one.name for one in registries if one.name))
    _differ("prefix", (one.prefix for one in registries if one.prefix))
    _differ("hosts", (host for one in registries for host in set(one.hosts)))
    _differ("namespaces", (name for one in registries for name in set(one.namespaces)))


def _differ(setting: str, values: Iterable[str]) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise ValueError(f"upstream.{setting} {min(twice)} is that of two registries; a request could be for either")


def check_rules(registries: Sequence[UpstreamConfig], access: Iterable[AuthConfig]) -> None:
    """Look whether the rules name registries that there are.

    Raises:
        ValueError: one does not; it would never apply.
    """
    names = {one.name for one in registries if one.name}
    for name in (name for one in access for rule in one.clients.rules for name in rule.registries):
        if name not in names:
            known = ", ".join(sorted(names)) or "none has a name"
            raise ValueError(f"auth.clients.rules: no registry is called {name!r} (upstream.name: {known})")
