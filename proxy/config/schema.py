"""The whole configuration: its sections, and the rules between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from proxy.config.access import AuthConfig, ClientsConfig
from proxy.config.edge import EdgeConfig
from proxy.config.listener import ClientConfig, LimitsConfig, TlsConfig
from proxy.config.partitions import CacheConfig, PartitionConfig, SigningConfig
from proxy.config.registries import FurtherUpstreamConfig, check_apart, check_rules
from proxy.config.section import Section
from proxy.config.telemetry import LogConfig, MetricsConfig, TracingConfig
from proxy.config.upstream import BlobsConfig, UpstreamConfig
from proxy.config.values import Address, ListenAddress, Networks, OptionalAddress, OriginUrl, SecondsOrZero, Tables


class Config(Section):
    """The whole configuration."""

    listen: ListenAddress = Field(Address("127.0.0.1", 5000), description="Where clients connect.")
    admin: OptionalAddress = Field(
        Address("127.0.0.1", 9464),
        description="Listener of /healthz, /readyz and /metrics; none turns it off.",
    )
    public_url: OriginUrl | None = Field(
        None, description="Origin in Location headers; unset: the request's scheme and Host."
    )
    shutdown_grace: SecondsOrZero = Field(30, description="Seconds that running requests get to finish after SIGTERM.")
    trusted_proxies: Networks = Field(
        (), description="Networks of the proxies in front, whose X-Forwarded headers are believed."
    )
    workers: int = Field(
        1,
        ge=1,
        le=128,
        description="Processes that take requests on the one port; more than one need Redis or edge.directory.",
    )
    ready_when: Literal["default", "any", "all"] = Field(
        "default", description="Which of several registries must answer for /readyz: the default one, any, or all."
    )
    upstream: UpstreamConfig
    upstreams: Annotated[tuple[FurtherUpstreamConfig, ...], Tables] = Field(
        (), max_length=63, description="Registries beside the default one: the further [[upstream]] tables of a file."
    )
    tls: TlsConfig = TlsConfig()
    blobs: BlobsConfig = BlobsConfig()
    limits: LimitsConfig = LimitsConfig()
    cache: CacheConfig = CacheConfig()
    edge: EdgeConfig = EdgeConfig()
    partition: PartitionConfig = PartitionConfig()
    client: ClientConfig = ClientConfig()
    signing: SigningConfig = SigningConfig()
    auth: AuthConfig = AuthConfig()
    log: LogConfig = LogConfig()
    metrics: MetricsConfig = MetricsConfig()
    tracing: TracingConfig = TracingConfig()

    @model_validator(mode="after")
    def _workers_share(self) -> Config:
        is_shared = self.cache.redis_url.get_secret_value() or self.edge.directory is not None
        if self.workers > 1 and not is_shared:
            raise ValueError(
                f"workers = {self.workers} need a shared cache: a client asks one for a tag and another "
                "for its digests; set cache.redis_url or edge.directory, or workers = 1"
            )
        return self

    @model_validator(mode="after")
    def _listeners_differ(self) -> Config:
        if self.admin is not None and self.admin.overlaps(self.listen):
            raise ValueError("admin and listen are the same address; health must not be on the public port")
        return self

    @model_validator(mode="after")
    def _registries_differ(self) -> Config:
        if isinstance(self.upstream, FurtherUpstreamConfig):  # the rules may name the others
            return self
        everyone = (self.upstream, *self.upstreams)
        check_apart(everyone)
        check_rules(everyone, (self.auth, *(one.auth for one in self.upstreams)))
        check_tokens((self, *self.others().values()))
        return self

    def others(self) -> Mapping[str, Config]:
        """Return the configuration for each further registry, by its name, as if it were the only one.

        Raises:
            ValueError: its settings do not go together.
        """
        return {one.name: self._for(one) for one in self.upstreams}

    def _for(self, upstream: FurtherUpstreamConfig) -> Config:
        own = {
            "upstream": upstream,
            "upstreams": (),
            "blobs": upstream.redirects(self.blobs),
            "partition": upstream.cuts(self.partition),
            "auth": upstream.access(self.auth),
        }
        try:
            return Config(**{name: getattr(self, name) for name in Config.model_fields} | own)
        except ValidationError as error:
            reasons = "; ".join(one["msg"].removeprefix("Value error, ") for one in error.errors())
            raise ValueError(f"[[upstream]] {upstream.name}: {reasons}") from None

    @property
    def controls_access(self) -> bool:
        """Whether the proxy shows the registry credentials of its own, and so admits clients itself."""
        return self.upstream.credentials.kind != "none"

    @model_validator(mode="after")
    def _access_is_controlled(self) -> Config:
        clients, token = self.auth.clients, self.auth.token
        if not self.controls_access:
            if clients != ClientsConfig() and not any(one.takes_clients for one in self.upstreams):
                raise ValueError(
                    "auth.clients has no use without upstream.credentials: the registry knows its own clients"
                )
            return self
        if not (clients.htpasswd or token.keys or clients.allow_anonymous):
            raise ValueError(
                "upstream.credentials let the proxy in for whoever asks it, so it must know its clients: set "
                "auth.clients.htpasswd or auth.token.keys, or auth.clients.allow_anonymous = true to let in "
                "everyone who can connect"
            )
        if token.keys and token.realm is None and not (clients.htpasswd or clients.allow_anonymous):
            raise ValueError("auth.token.realm is missing: clients must hear where to get their tokens")
        if self.auth.realm == "proxy":
            raise ValueError("auth.realm = proxy has no use with upstream.credentials: clients do not see that realm")
        return self


def check_tokens(registries: Sequence[Config]) -> None:
    """Look whether a token for one registry would be taken for another's, where that would let its holder in.

    Raises:
        ValueError: it would. Where the registry itself decides, it knows which tokens are for it.
    """
    verified = [one for one in registries if one.auth.token.keys is not None]
    for at, one in enumerate(verified):
        for other in verified[at + 1 :]:
            token, others = one.auth.token, other.auth.token
            is_same = (token.issuer, token.audience) == (others.issuer, others.audience)
            if is_same and (one.controls_access or other.controls_access):
                raise ValueError(
                    f"a token for {one.upstream.name} would be one for {other.upstream.name}, too: give the "
                    "auth.token of each an audience of its own"
                )
