"""The sections of the configuration: every setting with its default and its meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import (
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from proxy.config.values import (
    Address,
    Authority,
    File,
    Hosts,
    Listed,
    ListenAddress,
    Networks,
    OptionalAddress,
    Origin,
    OriginList,
    Paths,
    RealmHost,
    RedisUrl,
    RegistryName,
    Seconds,
    SecondsOrZero,
    Share,
    TokenService,
)

_SHORTEST_SECRET: Final = 16


class Section(BaseModel):
    """A table of the TOML file; unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_switch(cls, value: object, info: ValidationInfo) -> object:
        """Refuse ``true`` where a number belongs; to Python, and so to pydantic, it is 1."""
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation is not bool:
            raise ValueError("true and false are for what is on or off, which this setting is not")
        return value


class CredentialsConfig(Section):
    """What the proxy itself shows the registry. Any kind but ``none`` makes the proxy the door."""

    kind: Literal["none", "static", "docker-config", "file", "ecr"] = Field(
        "none", description="Whose credentials go to the registry; none: each client's own."
    )
    username: str = Field("", description="User of static; of file, where the file holds the password alone.")
    password: SecretStr = Field(SecretStr(""), description="Password of static.")
    token: SecretStr = Field(SecretStr(""), description="Bearer token of static, sent as it is.")
    file: Path | None = Field(
        None, description="Secret of file, or Docker's config.json of docker-config; read again on change."
    )
    ecr_region: str = Field(
        "", pattern=r"^[a-z0-9-]*$", description="Region of the ECR API; empty: as the AWS settings say."
    )
    ecr_endpoint: Origin | None = Field(None, description="Origin of the ECR API, where it is not Amazon's.")

    @model_validator(mode="after")
    def _fits_its_kind(self) -> CredentialsConfig:
        password, token = self.password.get_secret_value(), self.token.get_secret_value()
        if self.kind == "static" and not token and not (self.username and password):
            raise ValueError("kind static needs username and password, or token")
        if self.kind == "file" and self.file is None:
            raise ValueError("kind file needs file, the path of the secret")
        unused = {
            "username": self.username and self.kind not in ("static", "file"),
            "password": password and self.kind != "static",
            "token": token and self.kind != "static",
            "file": self.file is not None and self.kind not in ("file", "docker-config"),
            "ecr_region": self.ecr_region and self.kind != "ecr",
            "ecr_endpoint": self.ecr_endpoint and self.kind != "ecr",
        }
        if any(unused.values()):
            names = ", ".join(name for name, is_unused in unused.items() if is_unused)
            raise ValueError(f"kind {self.kind} has no use for {names}")
        return self


class UpstreamConfig(Section):
    """The registry behind the proxy."""

    url: OriginList = Field(
        description="Origin of the stock registry, as http://127.0.0.1:5001; or several of the same one."
    )
    balance: Literal["failover", "round-robin"] = Field(
        "failover", description="Of several origins: the first that is up, or each in turn."
    )
    connect_timeout: Seconds = Field(5, description="Seconds to open a connection.")
    read_timeout: Seconds = Field(
        300, description="Seconds the registry may stay silent, also while it checks an upload."
    )
    metadata_timeout: Seconds = Field(
        30, description="Seconds for one whole manifest, config or field that a partition is cut from."
    )
    max_connections: int = Field(4608, ge=1, le=65_535, description="Most connections to each origin of the registry.")
    keepalive_timeout: Seconds = Field(15, description="Seconds an idle connection is kept for reuse.")
    credentials: CredentialsConfig = CredentialsConfig()
    ca_file: File = Field(None, description="PEM bundle of CAs to trust, in place of the system's.")
    client_certificate: File = Field(None, description="PEM chain that proves this proxy to the registry.")
    client_key: File = Field(None, description="PEM key of the client certificate; unset: in the same file.")
    server_name: Authority = Field(
        "", description="Name to ask for (SNI) and to find in the registry's certificate; empty: url's host."
    )
    host: Authority = Field("", description="Host header sent to the registry; empty: url's.")

    @property
    def urls(self) -> tuple[str, ...]:
        """The origins of ``url``, in their order."""
        return tuple(self.url.split(", "))

    @model_validator(mode="after")
    def _keys_have_certificates(self) -> UpstreamConfig:
        if self.client_key and not self.client_certificate:
            raise ValueError("client_key is the key of client_certificate, which is missing")
        return self


class TlsConfig(Section):
    """TLS of the public listener. The files are read again when they change, and on SIGHUP."""

    certificate: File = Field(None, description="PEM chain of the listener; unset: plain HTTP.")
    key: File = Field(None, description="PEM key of the certificate; unset: in the same file.")
    client_ca: File = Field(None, description="PEM bundle of the CAs that client certificates come from.")
    client_certificates: Literal["off", "optional", "required"] = Field(
        "off", description="Whether clients show a certificate."
    )
    minimum_version: Literal["1.2", "1.3"] = Field("1.2", description="Oldest TLS that is spoken.")

    @model_validator(mode="after")
    def _fit_together(self) -> TlsConfig:
        if not self.certificate and (self.key or self.client_ca or self.client_certificates != "off"):
            raise ValueError("TLS has settings but no certificate: set tls.certificate")
        if (self.client_certificates == "off") != (self.client_ca is None):
            raise ValueError(
                "client_ca and client_certificates go together: set both, or leave client_certificates off"
            )
        return self


class BlobsConfig(Section):
    """How blobs pass through, also those that the registry keeps elsewhere, and says so with a redirect."""

    relay: Literal["auto", "buffered"] = Field(
        "auto", description="auto moves plaintext bodies from socket to socket in the kernel, where it can."
    )
    redirect: Literal["pass", "follow"] = Field(
        "pass", description="pass: clients fetch from there; follow: the proxy does."
    )
    allowed_networks: Networks = Field(
        (), description="Private networks that the proxy may be redirected to, as 10.0.0.0/8."
    )
    allowed_hosts: Hosts = Field(
        (), description="Hosts that it may be redirected to wherever they are, as minio.lan or *.lan."
    )


class LimitsConfig(Section):
    """What clients may use, one by one and together."""

    connections: int = Field(
        8192, ge=8, le=1_000_000, description="Open client connections; then the oldest idle one is closed."
    )
    header_timeout: Seconds = Field(15, description="Seconds for a request's headers, and for a TLS handshake.")
    requests: int = Field(4096, ge=1, le=1_000_000, description="Requests at the same time; then 429.")
    requests_per_client: int = Field(
        2048, ge=1, le=1_000_000, description="Requests of one address at the same time; then 429."
    )
    cuts: int = Field(32, ge=1, le=10_000, description="Partitions cut at the same time; the next wait.")
    queued_cuts: int = Field(
        512, ge=0, le=100_000, description="Cuts that wait, a quarter of them for one address; then 429."
    )
    manifest_body: ByteSize = Field(
        ByteSize(4 * 2**20), ge=1024, description="Largest manifest that is pushed; larger ones get 413."
    )


class CacheConfig(Section):
    """What has been made, in memory and in Redis."""

    redis_url: RedisUrl = Field(
        SecretStr(""),
        description="Redis shared by the replicas: one server, Sentinels or a cluster; empty: memory alone.",
    )
    redis_ca_file: Path | None = Field(
        None, description="Certificates that sign Redis' own (rediss); unset: the system's."
    )
    redis_certificate: Path | None = Field(None, description="Our certificate towards Redis (rediss).")
    redis_key: Path | None = Field(None, description="The private key of redis_certificate.")
    redis_timeout: Seconds = Field(0.25, description="Seconds one Redis call may take before it is given up.")
    redis_failover: SecondsOrZero = Field(
        15,
        description="Seconds after Redis failed in which a digest that only Redis may know is waited for; "
        "0: never, it is unknown at once.",
    )
    redis_max_connections: int = Field(64, ge=1, le=10_000, description="Most connections to Redis.")
    redis_max_value: ByteSize = Field(
        ByteSize(16 * 2**20), ge=0, description="Largest value that is put into Redis, or read from there."
    )
    key_prefix: str = Field(
        "twodfs", min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.:-]+$", description="Before each key."
    )
    secret: SecretStr = Field(
        SecretStr(""),
        description="Seals what is put into Redis, the same in every replica: who lacks it cannot forge it.",
    )
    memory: ByteSize = Field(
        ByteSize(256 * 2**20),
        ge=2**20,
        description="Bytes of documents kept in memory, least recent out first.",
    )
    tag_ttl: SecondsOrZero = Field(
        0, description="Seconds a tag's digest is trusted without asking; 0 asks on every request."
    )
    ttl: Seconds = Field(86_400, description="Seconds Redis keeps documents; they can be made again.")
    recipe_days: float = Field(
        90, gt=0, le=3650, description="Days Redis keeps what a pinned digest was cut from; not made again."
    )

    @field_validator("secret")
    @classmethod
    def _is_no_guess(cls, secret: SecretStr) -> SecretStr:
        if 0 < len(secret.get_secret_value()) < _SHORTEST_SECRET:
            raise ValueError(f"expected {_SHORTEST_SECRET} characters or more (openssl rand -hex 32)")
        return secret


class PartitionConfig(Section):
    """How partitions are cut."""

    max_layers: int = Field(
        125, ge=1, le=4096, description="Most layers of a partition; Docker's classic store fails at 126."
    )
    max_field: ByteSize = Field(
        ByteSize(256 * 2**20),
        ge=1024,
        description="Largest field document that is read; a million cells take 245 MB.",
    )


class ClientConfig(Section):
    """What a client may take."""

    idle_timeout: Seconds = Field(
        300, description="Seconds a client may neither send nor take anything in the middle of a request."
    )
    keepalive_timeout: Seconds = Field(75, description="Seconds an idle client connection is kept.")


class SigningConfig(Section):
    """Signatures on partitions, and on the images that they are cut from."""

    key: Path | None = Field(
        None, description="ECDSA P-256 private key in PEM that signs partitions; unset: they are not signed."
    )
    registry: RegistryName = Field(
        None,
        description="Registry that signatures name; unset: public_url's host, else the first upstream.url's.",
    )
    require_source_signature: bool = Field(
        default=False, description="Cut only images that carry a cosign signature by one of source_keys."
    )
    source_keys: Paths = Field((), description="ECDSA P-256 public keys in PEM; any of them will do.")
    source_ttl: SecondsOrZero = Field(
        300, description="Seconds an image found signed is not asked about again; 0 asks on every request."
    )

    @model_validator(mode="after")
    def _has_keys(self) -> SigningConfig:
        if self.require_source_signature and not self.source_keys:
            raise ValueError("require_source_signature takes source_keys: the keys that images are signed by")
        return self


class TokenConfig(Section):
    """The registry's bearer tokens, verified here without asking it."""

    keys: Path | None = Field(
        None, description="Keys that tokens are signed with: JWKS, or PEM certificates and public keys."
    )
    issuer: str = Field("", description="Who must have issued a token.")
    audience: str = Field("", description="Whom a token must be for: the registry's service name.")
    leeway: float = Field(30, ge=0, le=300, description="Seconds that clocks may differ.")
    realm: TokenService | None = Field(
        None, description="Where our own challenge sends clients for a token, with upstream.credentials."
    )

    @model_validator(mode="after")
    def _is_whole(self) -> TokenConfig:
        if self.keys is not None and not (self.issuer and self.audience):
            raise ValueError("keys need issuer and audience beside them, or any token they signed would do")
        return self


class RuleConfig(Section):
    """What some users may do in some repositories."""

    users: tuple[str, ...] = Field(min_length=1, description="Names; * is everyone who logged in.")
    repositories: tuple[str, ...] = Field(min_length=1, description="Patterns; * within a part, ** across.")
    actions: tuple[Literal["pull", "push", "delete"], ...] = Field(("pull",), min_length=1)


class ClientsConfig(Section):
    """Who may enter, where the proxy is the door."""

    htpasswd: Path | None = Field(None, description="Users and bcrypt hashes; read again on change.")
    allow_anonymous: bool = Field(default=False, description="Let in whoever can connect.")
    rules: Annotated[tuple[RuleConfig, ...], Listed] = Field(
        (), description="Who may do what; without any, whoever is let in may pull everything."
    )


class AuthConfig(Section):
    """How clients prove who they are, and how long a yes is good for."""

    realm: Literal["upstream", "proxy"] = Field(
        "upstream", description="Where clients get tokens: at the registry's realm, or through the proxy."
    )
    realm_hosts: Annotated[tuple[RealmHost, ...], Listed] = Field(
        (), description="Token servers that may see credentials, beside the registry's own host and port."
    )
    ttl: SecondsOrZero = Field(
        10, description="Seconds the registry's yes to a client is remembered; 0 asks every time."
    )
    token: TokenConfig = TokenConfig()
    clients: ClientsConfig = ClientsConfig()


class LogConfig(Section):
    """Log lines, on standard error."""

    format: Literal["json", "console"] = Field("json", description="json for machines, console for people.")
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level logged.")
    blob_sample: Share = Field(1, description="Share of blob requests that get a line; those that fail always do.")


class MetricsConfig(Section):
    """What /metrics tells beyond the usual."""

    repositories: tuple[str, ...] = Field(
        (), description="Repositories counted by name, * for any part of one; none by default."
    )

    @field_validator("repositories", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        """Return the list that an environment variable writes, as TOML does or with commas alone."""
        if not isinstance(value, str):
            return value
        parts = (part.strip(" '\"") for part in value.strip("[] ").split(","))
        return tuple(part for part in parts if part)


class TracingConfig(Section):
    """Traces, sent by OTLP over HTTP; needs the extra `otel`."""

    endpoint: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="Where spans go, as http://collector:4318/v1/traces; empty: OTEL_EXPORTER_OTLP_ENDPOINT.",
    )
    sample_ratio: Share | None = Field(
        None,
        description="Share of requests traced that no caller decided on; unset: OTEL_TRACES_SAMPLER, or all.",
    )
    service_name: str = Field("", description="Name in the traces; empty: OTEL_SERVICE_NAME, or twodfs-proxy.")


class Config(Section):
    """The whole configuration."""

    listen: ListenAddress = Field(Address("127.0.0.1", 5000), description="Where clients connect.")
    admin: OptionalAddress = Field(
        Address("127.0.0.1", 9464),
        description="Listener of /healthz, /readyz and /metrics; none turns it off.",
    )
    public_url: Origin | None = Field(
        None, description="Origin in Location headers; unset: the request's scheme and Host."
    )
    shutdown_grace: SecondsOrZero = Field(30, description="Seconds that running requests get to finish after SIGTERM.")
    trusted_proxies: Networks = Field(
        (), description="Networks of the proxies in front, whose X-Forwarded headers are believed."
    )
    workers: int = Field(
        1, ge=1, le=128, description="Processes that take requests on the one port; more than one need Redis."
    )
    upstream: UpstreamConfig
    tls: TlsConfig = TlsConfig()
    blobs: BlobsConfig = BlobsConfig()
    limits: LimitsConfig = LimitsConfig()
    cache: CacheConfig = CacheConfig()
    partition: PartitionConfig = PartitionConfig()
    client: ClientConfig = ClientConfig()
    signing: SigningConfig = SigningConfig()
    auth: AuthConfig = AuthConfig()
    log: LogConfig = LogConfig()
    metrics: MetricsConfig = MetricsConfig()
    tracing: TracingConfig = TracingConfig()

    @model_validator(mode="after")
    def _workers_share(self) -> Config:
        if self.workers > 1 and not self.cache.redis_url.get_secret_value():
            raise ValueError(
                f"workers = {self.workers} need a shared cache: a client asks one for a tag and another "
                "for its digests; set cache.redis_url, or workers = 1"
            )
        return self

    @model_validator(mode="after")
    def _listeners_differ(self) -> Config:
        if self.admin is not None and self.admin.overlaps(self.listen):
            raise ValueError("admin and listen are the same address; health must not be on the public port")
        return self

    @property
    def controls_access(self) -> bool:
        """Whether the proxy shows the registry credentials of its own, and so decides who enters."""
        return self.upstream.credentials.kind != "none"

    @model_validator(mode="after")
    def _the_door_is_guarded(self) -> Config:
        clients, token = self.auth.clients, self.auth.token
        if not self.controls_access:
            if clients != ClientsConfig():
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
