"""The sections on partitions: how they are cut, kept and signed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, ByteSize, Field, SecretStr, field_validator, model_validator

from proxy.config.section import Section
from proxy.config.values import Paths, RedisUrl, RegistryName, Seconds, SecondsOrZero
from twodfs.field.partition import IMAGE, Selection, is_name
from twodfs.flatten.budget import DEFAULT_MAX_LAYERS, MAX_FIELD_BYTES

_SHORTEST_SECRET: Final = 16
PASS: Final = "pass"  # noqa: S105 - no secret


def _plain_tag(text: str) -> str:
    if text == IMAGE or not is_name(text):
        raise ValueError("expected pass, all, or the name of a partition such as edge or default")
    return text


PlainTag = Annotated[str, AfterValidator(_plain_tag)]
"""A partition by name, or ``PASS``."""


class CacheConfig(Section):
    """The cache of partitions, in memory and in Redis."""

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
        DEFAULT_MAX_LAYERS,
        ge=1,
        le=4096,
        description="Most layers of a partition; Docker's classic store fails at 126.",
    )
    max_field: ByteSize = Field(
        ByteSize(MAX_FIELD_BYTES),
        ge=1024,
        description="Largest field document that is read; a million cells take 245 MB.",
    )
    plain_tag: PlainTag = Field(
        PASS,
        description="What the plain tag of a 2DFS image gives. pass: the image itself; all: every allotment; "
        "NAME: the partition that its field calls so, as default.",
    )

    @property
    def plain_selection(self) -> Selection | None:
        """The partition that the plain tag of a 2DFS image gives; None: the image itself."""
        return None if self.plain_tag == PASS else Selection.of(names=(self.plain_tag,))


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
