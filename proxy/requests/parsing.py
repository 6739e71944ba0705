"""Method and target -> typed request, once for each request.

A kind of request is recognised here, and nowhere else: ``kinds`` defines the values, and the table of the
``Dispatcher`` names their handlers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypedDict
from urllib.parse import parse_qsl

from proxy.repository import DEFAULT_UPSTREAM, Repository
from proxy.requests.grammar import GrammarError, Resource, TargetError, origin_form
from proxy.requests.kinds import (
    TOKEN_PATH,
    ContentPull,
    Greeting,
    InvalidRequest,
    ManifestWrite,
    MistypedPull,
    Other,
    PartitionPull,
    ReferrersPull,
    ReferrersTagPull,
    RegistryRequest,
    SignaturePull,
    TagPull,
    TagsPull,
    TokenEndpointRequest,
)
from twodfs.errors import PartitionError
from twodfs.field.partition import MAX_TAG_LENGTH, mistyped, readings
from twodfs.oci.digest import Digest, is_digest
from twodfs.oci.reference import TAG
from twodfs.oci.referrers import referred_by_tag
from twodfs.signing.signature import signed_by_tag

_ROOT: Final = "/v2/"
_COLON: Final = ":"
"""In a reference, the sign of a digest, if of an algorithm that is not known here."""
_READS: Final = frozenset({"GET", "HEAD"})
_TAG_WRITES: Final = frozenset({"PUT", "DELETE", "PATCH", "POST"})
_KNOWN_WRITES: Final = frozenset({"PUT", "DELETE"})
_PAGE_SIZE: Final = re.compile(r"[1-9][0-9]{0,8}")
# Clients ask for the same things again and again: a rollout does, thousands of times.
_REMEMBERED: Final = 4096
_LONGEST_REMEMBERED: Final = 400


def parse(method: str, raw_target: str, upstream: str = DEFAULT_UPSTREAM) -> RegistryRequest:
    """Return the parsed request to the registry ``upstream``; an ``InvalidRequest`` has one of these ``problem``s.

    TargetError: the target names no path. GrammarError: it breaks the grammar of the API. PartitionError: its tag
    has the shape of a partition but is longer than a tag may be.
    """
    try:
        target = origin_form(raw_target)
        return (_remembered if len(target) <= _LONGEST_REMEMBERED else _parsed)(method, target, upstream)
    except (TargetError, GrammarError, PartitionError) as error:
        nothing = Resource(raw_target, raw_target, "")
        problem = error.with_traceback(None)
        return InvalidRequest(method=method, target=raw_target, resource=nothing, upstream=upstream, problem=problem)


@lru_cache(_REMEMBERED)
def _remembered(method: str, target: str, upstream: str) -> RegistryRequest:
    return _parsed(method, target, upstream)


class _Given(TypedDict):
    method: str
    target: str
    resource: Resource
    upstream: str
    repository: Repository


def _parsed(method: str, target: str, upstream: str) -> RegistryRequest:
    resource = Resource.of(target)
    if not resource.kind:
        return _unnamed(method, resource)(method=method, target=target, resource=resource, upstream=upstream)
    repository = Repository(upstream, resource.name)
    given = _Given(method=method, target=target, resource=resource, upstream=upstream, repository=repository)
    # A partition tag that is too long is told so here, in words of its own.
    recognised = None if "/" in resource.rest else _recognised(given, resource)
    if not isinstance(recognised, ContentPull | PartitionPull):  # whose grammar has been looked at
        resource.check_reference()
    return recognised or Other(**given)


def _unnamed(method: str, resource: Resource) -> type[RegistryRequest]:
    """Return the kind of a request that names no repository."""
    if resource.path == TOKEN_PATH:
        return TokenEndpointRequest
    return Greeting if resource.path == _ROOT and method in _READS else Other


def _recognised(given: _Given, resource: Resource) -> RegistryRequest | None:
    """Return the request if the proxy may have to answer it itself; else None."""
    method, kind, reference = given["method"], resource.kind, resource.rest
    if kind == "manifests" and method in _TAG_WRITES:
        if is_digest(reference):
            return ManifestWrite(**given, digest=Digest(reference))
        is_tag = method in _KNOWN_WRITES and len(reference) <= MAX_TAG_LENGTH
        return ManifestWrite(**given, readings=readings(reference) if is_tag else ())
    if method not in _READS:
        return None
    if kind in _LISTS:
        return _LISTS[kind](given, resource)
    if kind in ("manifests", "blobs") and is_digest(reference):
        return ContentPull(**given, digest=Digest(reference), is_manifest=kind == "manifests")
    return _by_tag(given, reference) if kind == "manifests" else None


def _by_tag(given: _Given, tag: str) -> RegistryRequest | None:
    if (subject := signed_by_tag(tag)) is not None:
        return SignaturePull(**given, subject=subject)
    if (subject := referred_by_tag(tag)) is not None:
        return ReferrersTagPull(**given, subject=subject)
    if found := readings(tag):
        return PartitionPull(**given, readings=found)
    if meant := mistyped(tag):
        return MistypedPull(**given, ways=meant)
    return TagPull(**given) if _COLON not in tag else None


def _referrers(given: _Given, resource: Resource) -> RegistryRequest | None:
    """Return the typed request; further pages, and filters that we do not know, are passed on."""
    # A media type has no spaces, so "+" means itself, whether the client escaped it or not.
    asked = parse_qsl(resource.query.replace("+", "%2B"), keep_blank_values=True)
    asked = [pair for pair in asked if pair[0] != "n"]  # of a page: whose length a registry may choose
    reference = resource.rest
    if not is_digest(reference) or [name for name, _ in asked] not in ([], ["artifactType"]):
        return None
    return ReferrersPull(**given, subject=Digest(reference), artifact_type=asked[0][1] if asked else None)


def _tags(given: _Given, resource: Resource) -> RegistryRequest | None:
    """Return the typed request; pages that the registry names in ways of its own are passed on."""
    if given["method"] != "GET" or resource.written_rest != "list" or ";" in resource.query:
        return None
    asked = parse_qsl(resource.query, keep_blank_values=True)
    values = dict(asked)
    most, last = values.pop("n", None), values.pop("last", None)
    if values or len(asked) != (most is not None) + (last is not None):
        return None
    if not (most is None or _PAGE_SIZE.fullmatch(most)) or not (last is None or TAG.fullmatch(last)):
        return None
    return TagsPull(**given, most=None if most is None else int(most), last=last or "")


_LISTS: Final[dict[str, Callable[[_Given, Resource], RegistryRequest | None]]] = {
    "referrers": _referrers,
    "tags": _tags,
}
