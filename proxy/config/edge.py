"""The section on the edge cache: content kept on disk, close to its readers."""

from __future__ import annotations

from pydantic import ByteSize, Field

from proxy.config.section import Section
from proxy.config.values import Duration, File, Seconds


class EdgeConfig(Section):
    """The edge cache: what crossed the line stays on disk, and is served when the line is down."""

    directory: File = Field(None, description="Where content is kept; unset: there is no edge cache.")
    max_size: ByteSize | None = Field(
        None, ge=2**20, description="Most bytes of the directory's content; unset: as many as min_free leaves."
    )
    min_free: ByteSize | None = Field(
        None, ge=0, description="Bytes of the disk that stay free; unset: a twentieth of it, at most 1 GB."
    )
    max_stale: Duration = Field(
        604_800, description="Seconds, or a time as 7d, for which a tag's last known digest is good while offline."
    )
    offline_grant: Duration = Field(
        86_400, description="Seconds, or a time as 24h, for which the registry's yes to a client is good while offline."
    )
    offline_after: Seconds = Field(
        3, description="Seconds the registry may stay silent where the disk has an answer; then it counts as down."
    )
    background_fill: bool = Field(
        True,  # noqa: FBT003 - a default
        description="Whether a blob is fetched to its end after its last reader left.",
    )
    admin_token_file: File = Field(
        None, description="Bearer token of the prefetch endpoint on the admin listener; unset: one in directory."
    )
