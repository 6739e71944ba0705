"""Method and target -> typed request.

Only what the proxy may have to answer itself gets a type of its own; all else is ``Other`` and is passed on
with its target as it came, byte for byte.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qsl, unquote

from proxy.repository import DEFAULT_UPSTREAM, Repository
from proxy.requests.grammar import check
from twodfs.field.partition import MAX_TAG_LENGTH, PartitionTag, mistyped, readings
from twodfs.oci.digest import Digest, is_digest
from twodfs.oci.reference import MAX_REPOSITORY_LENGTH, REPOSITORY
from twodfs.oci.referrers import referred_by_tag
from twodfs.signing.signature import signed_by_tag

_CONTENT: Final = re.compile(r"/v2/(?P<repository>.+)/(?P<kind>manifests|blobs|referrers)/(?P<reference>[^/]+)")
_ABSOLUTE_FORM: Final = re.compile(r"https?://[^/?#]*(?P<path>.*)", re.IGNORECASE | re.DOTALL)
_READS: Final = frozenset({"GET", "HEAD"})
# Clients ask for the same things again and again: a rollout does, thousands of times.
_REMEMBERED: Final = 4096
_LONGEST_REMEMBERED: Final = 400
_TAG_WRITES: Final = frozenset({"PUT", "DELETE", "PATCH", "POST"})
_KNOWN_WRITES: Final = frozenset({"PUT", "DELETE"})


@dataclass(frozen=True, slots=True)
class PartitionPull:
    """GET or HEAD of a tag that can be read as a partition."""

    repository: Repository
    readings: tuple[PartitionTag, ...]


@dataclass(frozen=True, slots=True)
class MistypedPull:
    """GET or HEAD of a tag that would be a partition, were its rectangles written right."""

    repository: Repository
    ways: tuple[tuple[str, str], ...]
    """Base tags, and what is wrong behind them."""


@dataclass(frozen=True, slots=True)
class ContentPull:
    """GET or HEAD of a manifest or blob by digest; it may be one of ours."""

    repository: Repository
    digest: Digest
    is_manifest: bool


@dataclass(frozen=True, slots=True)
class SignaturePull:
    """GET or HEAD of the tag under which cosign keeps the signatures of ``subject``."""

    repository: Repository
    subject: Digest


@dataclass(frozen=True, slots=True)
class ReferrersTagPull:
    """GET or HEAD of the tag under which clients keep what refers to ``subject``."""

    repository: Repository
    subject: Digest


@dataclass(frozen=True, slots=True)
class ReferrersPull:
    """GET or HEAD of what refers to ``subject``, its first page; ``artifact_type`` None: of all kinds."""

    repository: Repository
    subject: Digest
    artifact_type: str | None


@dataclass(frozen=True, slots=True)
class ManifestWrite:
    """A request that can move a tag of ``repository``; ``digest`` is what it names, unless it names a tag."""

    repository: Repository
    digest: Digest | None = None
    readings: tuple[PartitionTag, ...] = ()
    """The ways to read the tag as a partition; empty for other tags, and for digests."""


@dataclass(frozen=True, slots=True)
class Other:
    """Anything else."""


class TargetError(ValueError):
    """The request target names no path."""


def origin_form(target: str) -> str:
    """Return a request target as path and query, whatever form it came in (RFC 9112, section 3.2).

    Raises:
        TargetError: it is neither origin-form nor absolute-form.
    """
    if target.startswith("/"):
        return target
    absolute = _ABSOLUTE_FORM.fullmatch(target)
    if absolute is None:
        raise TargetError(f"the request target {target[:140]!r} is no path; registries answer at /v2/")
    path = absolute["path"]
    return path if path.startswith("/") else f"/{path}"


AttachedPull = SignaturePull | ReferrersTagPull | ReferrersPull
Request = PartitionPull | MistypedPull | ContentPull | AttachedPull | ManifestWrite | Other
OTHER: Final = Other()


@lru_cache(_REMEMBERED)
def _remembered(method: str, target: str) -> Request:
    return _checked(method, target)


def route(method: str, target: str) -> Request:
    """Return the typed request for ``method`` and a target in origin-form.

    Raises:
        PartitionError: the tag has the shape of a partition but is longer than a tag may be.
        GrammarError: the target breaks the grammar of the API; nothing of it may go upstream.
    """
    return (_remembered if len(target) <= _LONGEST_REMEMBERED else _checked)(method, target)


def _checked(method: str, target: str) -> Request:
    routed = _route(method, target)
    if not isinstance(routed, ContentPull | PartitionPull):  # whose grammar has been looked at
        check(target)
    return routed


def _route(method: str, target: str) -> Request:
    path, _, query = target.partition("?")
    match = _CONTENT.fullmatch(path)
    if match is None or not _is_repository(match["repository"]):
        return OTHER
    repository, reference = Repository(DEFAULT_UPSTREAM, match["repository"]), unquote(match["reference"])
    if match["kind"] == "manifests" and method in _TAG_WRITES:
        if is_digest(reference):
            return ManifestWrite(repository, Digest(reference))
        is_tag = method in _KNOWN_WRITES and len(reference) <= MAX_TAG_LENGTH
        return ManifestWrite(repository, None, readings(reference) if is_tag else ())
    return _read(match["kind"], repository, reference, query) if method in _READS else OTHER


def _read(kind: str, repository: Repository, reference: str, query: str) -> Request:
    if kind == "referrers":
        return _referrers(repository, reference, query)
    if is_digest(reference):
        return ContentPull(repository, Digest(reference), kind == "manifests")
    if kind != "manifests":
        return OTHER
    if (subject := signed_by_tag(reference)) is not None:
        return SignaturePull(repository, subject)
    if (subject := referred_by_tag(reference)) is not None:
        return ReferrersTagPull(repository, subject)
    return _lookalike(repository, reference)


def _lookalike(repository: Repository, tag: str) -> Request:
    if ways := readings(tag):
        return PartitionPull(repository, ways)
    meant = mistyped(tag)
    return MistypedPull(repository, meant) if meant else OTHER


def _referrers(repository: Repository, reference: str, query: str) -> Request:
    """Return the typed request; further pages, and filters that we do not know, are passed on."""
    # A media type has no spaces, so "+" means itself, whether the client escaped it or not.
    asked = parse_qsl(query.replace("+", "%2B"), keep_blank_values=True)
    asked = [pair for pair in asked if pair[0] != "n"]  # of a page: whose length a registry may choose
    if not is_digest(reference) or [name for name, _ in asked] not in ([], ["artifactType"]):
        return OTHER
    return ReferrersPull(repository, Digest(reference), asked[0][1] if asked else None)


def _is_repository(name: str) -> bool:
    return len(name) <= MAX_REPOSITORY_LENGTH and REPOSITORY.fullmatch(name) is not None
