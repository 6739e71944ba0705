"""The kinds of requests, each a frozen value with the fields that its handler needs.

A request that the proxy never answers itself is ``Other``, and is passed on with its target unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from proxy.repository import DEFAULT_UPSTREAM, Repository
from proxy.requests import scope
from proxy.requests.grammar import Resource
from proxy.requests.scope import Scope
from twodfs.field.partition import PartitionTag
from twodfs.oci.digest import Digest

TOKEN_PATH: Final = "/twodfs/token"  # noqa: S105 - a path, no secret
"""Where clients get tokens with ``auth.realm = "proxy"``; no registry uses it."""
_BLOB: Final = "/blobs/sha256:"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryRequest:
    """A client's request.

    Attributes:
        method: of the request.
        target: path and query, byte for byte as they came.
        resource: the resource that the target names.
        upstream: the name of the registry that it is for, as ``Repository.upstream`` has it.
        repository: the repository that it is about; None where it names none.
        kind: its name in metrics and logs; ``label`` is more precise for some.
    """

    method: str
    target: str
    resource: Resource
    upstream: str = DEFAULT_UPSTREAM
    repository: Repository | None = None

    kind: ClassVar[str] = "other"

    @property
    def label(self) -> str:
        """Its name in metrics and logs."""
        return self.kind

    def scopes(self, content_type: str = "") -> tuple[Scope, ...]:
        """Return the scopes that the request needs, by method, target and type of its body.

        Raises:
            ScopeError: not a request of the distribution-spec, or ambiguous.
        """
        return scope.scopes(self.method, self.resource, content_type)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionPull(RegistryRequest):
    """GET or HEAD of a tag that can be read as a partition."""

    repository: Repository
    readings: tuple[PartitionTag, ...]

    kind: ClassVar[str] = "partition"


@dataclass(frozen=True, slots=True, kw_only=True)
class MistypedPull(RegistryRequest):
    """GET or HEAD of a tag that would be a partition, were its rectangles written right."""

    repository: Repository
    ways: tuple[tuple[str, str], ...]
    """Base tags, and the mistake behind each of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentPull(RegistryRequest):
    """GET or HEAD of a manifest or blob by digest; it may be one of ours."""

    repository: Repository
    digest: Digest
    is_manifest: bool

    @property
    def label(self) -> str:
        """Its name in metrics and logs."""
        return "manifest" if self.is_manifest else "blob"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignaturePull(RegistryRequest):
    """GET or HEAD of the tag under which cosign keeps the signatures of ``subject``."""

    repository: Repository
    subject: Digest

    kind: ClassVar[str] = "manifest"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferrersTagPull(RegistryRequest):
    """GET or HEAD of the tag under which clients keep the referrers of ``subject``."""

    repository: Repository
    subject: Digest

    kind: ClassVar[str] = "manifest"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferrersPull(RegistryRequest):
    """GET or HEAD of the referrers of ``subject``, first page; ``artifact_type`` None: of all types."""

    repository: Repository
    subject: Digest
    artifact_type: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TagPull(RegistryRequest):
    """GET or HEAD of any other tag."""

    repository: Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class TagsPull(RegistryRequest):
    """GET of the list of tags.

    Attributes:
        most: how many of them; None: as many as the registry likes.
        last: they are to come behind this one; empty: from the first.
    """

    repository: Repository
    most: int | None
    last: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting(RegistryRequest):
    """GET or HEAD of ``/v2/``: is this a registry, and does it want credentials?"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestWrite(RegistryRequest):
    """A request that can move a tag; ``digest`` is the one that it names, unless it names a tag."""

    repository: Repository
    digest: Digest | None = None
    readings: tuple[PartitionTag, ...] = ()
    """The ways to read the tag as a partition; empty for other tags, and for digests."""

    kind: ClassVar[str] = "write"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenEndpointRequest(RegistryRequest):
    """A request to the token endpoint of ``auth.realm = "proxy"``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Other(RegistryRequest):
    """Anything else that may go upstream."""

    @property
    def label(self) -> str:
        """Its name in metrics and logs."""
        return "blob" if _BLOB in self.resource.decoded else "other"


INVALID: Final = "invalid"
"""The name in metrics and logs of a request that is invalid, or was not parsed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidRequest(RegistryRequest):
    """A request that breaks the grammar of the API: nothing of it may go upstream."""

    problem: Exception

    kind: ClassVar[str] = INVALID
