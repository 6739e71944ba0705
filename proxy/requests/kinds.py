"""The kinds of requests, each a frozen value with what its handler asks for.

What the proxy never answers itself is ``Other``, and is passed on with its target as it came, byte for byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from proxy.repository import Repository
from proxy.requests import scope
from proxy.requests.grammar import Resource
from proxy.requests.scope import Scope
from twodfs.field.partition import PartitionTag
from twodfs.oci.digest import Digest

_BLOB: Final = "/blobs/sha256:"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryRequest:
    """What a client asks for.

    Attributes:
        method: of the request.
        target: path and query, byte for byte as they came.
        resource: what the target names.
        repository: which one it is about; None where it names none.
    """

    method: str
    target: str
    resource: Resource
    repository: Repository | None = None

    @property
    def label(self) -> str:
        """What metrics and logs call it."""
        return "other"

    def scopes(self, content_type: str = "") -> tuple[Scope, ...]:
        """Return what the client must be allowed, by method, target and type of its body.

        Raises:
            ScopeError: not a request of the distribution-spec, or one that can be read in two ways.
        """
        return scope.scopes(self.method, self.resource, content_type)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionPull(RegistryRequest):
    """GET or HEAD of a tag that can be read as a partition."""

    repository: Repository
    readings: tuple[PartitionTag, ...]

    @property
    def label(self) -> str:
        """What metrics and logs call it."""
        return "partition"


@dataclass(frozen=True, slots=True, kw_only=True)
class MistypedPull(RegistryRequest):
    """GET or HEAD of a tag that would be a partition, were its rectangles written right."""

    repository: Repository
    ways: tuple[tuple[str, str], ...]
    """Base tags, and what is wrong behind them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentPull(RegistryRequest):
    """GET or HEAD of a manifest or blob by digest; it may be one of ours."""

    repository: Repository
    digest: Digest
    is_manifest: bool

    @property
    def label(self) -> str:
        """What metrics and logs call it."""
        return "manifest" if self.is_manifest else "blob"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignaturePull(RegistryRequest):
    """GET or HEAD of the tag under which cosign keeps the signatures of ``subject``."""

    repository: Repository
    subject: Digest

    @property
    def label(self) -> str:
        """What metrics and logs call it."""
        return "manifest"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferrersTagPull(RegistryRequest):
    """GET or HEAD of the tag under which clients keep what refers to ``subject``."""

    repository: Repository
    subject: Digest

    @property
    def label(self) -> str:
        """What metrics and logs call it."""
        return "manifest"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferrersPull(RegistryRequest):
    """GET or HEAD of what refers to ``subject``, its first page; ``artifact_type`` None: of all kinds."""

    repository: Repository
    subject: Digest
    artifact_type: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestWrite(RegistryRequest):
    """A request that can move a tag; ``digest`` is what it names, unless it names a tag."""

    repository: Repository
    digest: Digest | None = None
    readings: tuple[PartitionTag, ...] = ()
    """The ways to read the tag as a partition; empty for other tags, and for digests."""

    @property
    def label(self) -> str:
        """What metrics and logs call it."""
        return "write"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenEndpointRequest(RegistryRequest):
    """A request to the token endpoint of ``auth.realm = "proxy"``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Other(RegistryRequest):
    """Anything else that may go upstream."""

    @property
    def label(self) -> str:
        """What metrics and logs call it."""
        return "blob" if _BLOB in self.resource.decoded else "other"


INVALID: Final = "invalid"
"""What metrics and logs call what is no request that can be answered, or was not looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidRequest(RegistryRequest):
    """A request that breaks the grammar of the API: nothing of it may go upstream."""

    problem: Exception

    @property
    def label(self) -> str:
        """What metrics and logs call it."""
        return INVALID
