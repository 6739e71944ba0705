"""The sections on the registry behind the proxy."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, model_validator

from proxy.config.section import Section
from proxy.config.values import (
    File,
    HostAndPort,
    Hosts,
    HostsAndPorts,
    Networks,
    OriginList,
    OriginUrl,
    PathPrefix,
    Seconds,
    UpstreamName,
)


class CredentialsConfig(Section):
    """The proxy's own credentials at the registry. With any kind but ``none`` the proxy admits clients itself."""

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
    ecr_endpoint: OriginUrl | None = Field(None, description="Origin of the ECR API, where it is not Amazon's.")

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
    """The registry behind the proxy; one of several, where the file has ``[[upstream]]``."""

    name: UpstreamName = Field("", description="What it is called in metrics, logs and messages, beside others.")
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
    server_name: HostAndPort = Field(
        "", description="Name to ask for (SNI) and to find in the registry's certificate; empty: url's host."
    )
    host: HostAndPort = Field("", description="Host header sent to the registry; empty: url's.")
    namespaces: HostsAndPorts = Field(
        (), description="Registries that it stands for in containerd's ?ns=, beside url's own host, as docker.io."
    )
    hosts: Hosts = Field((), description="Host headers of requests that are for it, as hub.example.org or *.lan.")
    prefix: PathPrefix = Field("", description="First part of the repositories' names that are for it, as hub.")
    list_partitions: bool = Field(
        default=False,
        description="Whether lists of tags have the named partitions of each image, as v1--edge beside v1.",
    )

    @property
    def urls(self) -> tuple[str, ...]:
        """The origins of ``url``, in their order."""
        return tuple(self.url.split(", "))

    @model_validator(mode="after")
    def _keys_have_certificates(self) -> UpstreamConfig:
        if self.client_key and not self.client_certificate:
            raise ValueError("client_key is the key of client_certificate, which is missing")
        return self


class BlobsConfig(Section):
    """How blobs pass through, also from other hosts that the registry redirects to."""

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
