"""The sections on logs, metrics and traces."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from proxy.config.section import Section
from proxy.config.values import Share


class LogConfig(Section):
    """Log lines, on standard error."""

    format: Literal["json", "console"] = Field("json", description="json for machines, console for people.")
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level logged.")
    blob_sample: Share = Field(1, description="Share of blob requests that get a line; those that fail always do.")


class MetricsConfig(Section):
    """Optional series of /metrics."""

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
