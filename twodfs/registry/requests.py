"""Requests of one repository."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from twodfs.registry.message import Request
from twodfs.registry.transport import Transport
from twodfs.wire.connection import OutgoingBody


@dataclass(frozen=True, slots=True)
class RepositoryRequests:
    """Writes the requests of one repository.

    Attributes:
        transport: makes them.
        name: of the repository.
        scopes: that their tokens are for.
    """

    transport: Transport
    name: str
    scopes: tuple[str, ...]

    def of(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: OutgoingBody | None = None,
    ) -> Request:
        """Return a request of ``path`` below the repository."""
        return Request(method, f"{self.transport.url}/v2/{self.name}/{path}", self.scopes, headers or {}, body)

    def __str__(self) -> str:
        return f"{self.transport.registry}/{self.name}"
