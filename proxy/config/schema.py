"""The sections of the configuration: every setting with its default and its meaning."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ByteSize, ConfigDict, Field, SecretStr, model_validator

from proxy.config.values import (
    Address,
    ListenAddress,
    OptionalAddress,
    Origin,
    RedisUrl,
    Seconds,
    SecondsOrZero,
)


class Section(BaseModel):
    """A table of the TOML file; unknown keys are mistakes."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True
    )


class UpstreamConfig(Section):
    """The registry behind the proxy."""

    url: Origin = Field(description="Origin of the stock registry, as http://127.0.0.1:5001.")
    connect_timeout: Seconds = Field(5, description="Seconds to open a connection.")
    read_timeout: Seconds = Field(
        300, description="Seconds the registry may stay silent, also while it checks an upload."
    )
    metadata_timeout: Seconds = Field(
        30, description="Seconds for one whole manifest, config or field that a partition is cut from."
    )
    max_connections: int = Field(2048, ge=1, le=65_535, description="Most connections to the registry.")
    keepalive_timeout: Seconds = Field(15, description="Seconds an idle connection is kept for reuse.")


class CacheConfig(Section):
    """What has been made, in memory and in Redis."""

    redis_url: RedisUrl = Field(
        SecretStr(""), description="Redis shared by the replicas; empty: memory alone."
    )
    redis_timeout: Seconds = Field(0.25, description="Seconds one Redis call may take before it is given up.")
    redis_max_connections: int = Field(64, ge=1, le=10_000, description="Most connections to Redis.")
    redis_max_value: ByteSize = Field(
        ByteSize(16 * 2**20), ge=0, description="Largest value that is put into Redis."
    )
    key_prefix: str = Field(
        "twodfs", min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.:-]+$", description="Before each key."
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


class PartitionConfig(Section):
    """How partitions are cut."""

    max_layers: int = Field(
        125, ge=1, le=4096, description="Most layers of a partition; Docker's classic store fails at 126."
    )
    max_field: ByteSize = Field(
        ByteSize(64 * 2**20), ge=1024, description="Largest field document that is read."
    )


class BlobsConfig(Section):
    """How blobs pass through."""

    relay: Literal["auto", "buffered"] = Field(
        "auto", description="auto moves plaintext bodies from socket to socket in the kernel, where it can."
    )


class ClientConfig(Section):
    """What a client may take."""

    idle_timeout: Seconds = Field(
        300, description="Seconds a client may neither send nor take anything in the middle of a request."
    )
    keepalive_timeout: Seconds = Field(75, description="Seconds an idle client connection is kept.")


class LogConfig(Section):
    """Log lines, on standard error."""

    format: Literal["json", "console"] = Field("json", description="json for machines, console for people.")
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level logged.")


class Config(Section):
    """The whole configuration."""

    listen: ListenAddress = Field(Address("127.0.0.1", 5000), description="Where clients connect.")
    admin: OptionalAddress = Field(
        Address("127.0.0.1", 9464), description="Listener of /healthz and /readyz; none turns it off."
    )
    public_url: Origin | None = Field(
        None, description="Origin in Location headers; unset: http:// and the request's Host."
    )
    shutdown_grace: SecondsOrZero = Field(
        30, description="Seconds that running requests get to finish after SIGTERM."
    )
    upstream: UpstreamConfig
    cache: CacheConfig = CacheConfig()
    partition: PartitionConfig = PartitionConfig()
    blobs: BlobsConfig = BlobsConfig()
    client: ClientConfig = ClientConfig()
    log: LogConfig = LogConfig()

    @model_validator(mode="after")
    def _listeners_differ(self) -> Config:
        if self.admin is not None and self.admin == self.listen and self.admin.port:
            raise ValueError("admin and listen are the same address; health must not be on the public port")
        return self
