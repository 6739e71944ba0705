"""The sections on the public listener, and its limits for clients."""

from __future__ import annotations

from typing import Literal

from pydantic import ByteSize, Field, model_validator

from proxy.config.section import Section
from proxy.config.values import File, Seconds
from twodfs.oci.documents import MAX_MANIFEST_BYTES


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


class LimitsConfig(Section):
    """Limits for clients, one by one and together."""

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
        ByteSize(MAX_MANIFEST_BYTES), ge=1024, description="Largest manifest that is pushed; larger ones get 413."
    )


class ClientConfig(Section):
    """Limits for one client."""

    idle_timeout: Seconds = Field(
        300, description="Seconds a client may neither send nor take anything in the middle of a request."
    )
    keepalive_timeout: Seconds = Field(75, description="Seconds an idle client connection is kept.")
