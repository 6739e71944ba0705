"""What right a request needs: method + what its path names -> scopes, in the words of the token specification.

Where the proxy controls access this reading decides, so it admits only what every registry reads the same way:
one grammar, nothing encoded that could be a slash, no form body that could carry a second ``from``::

    GET  /v2/                                         nothing but to be let in
    GET  /v2/_catalog                                 registry:catalog:*
    GET  /v2/NAME/(manifests|blobs|referrers)/REF     repository:NAME:pull
    GET  /v2/NAME/tags/list                           repository:NAME:pull
    PUT  /v2/NAME/manifests/REF                       repository:NAME:pull,push
    POST /v2/NAME/blobs/uploads/?mount=D&from=OTHER   repository:NAME:pull,push repository:OTHER:pull
    *    /v2/NAME/blobs/uploads/ID                    repository:NAME:pull,push
    DELETE /v2/NAME/(manifests|blobs)/REF             repository:NAME:delete
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, unquote

from proxy.requests.grammar import Resource
from twodfs.oci.digest import is_digest
from twodfs.oci.reference import REPOSITORY

_PULL: Final = ("pull",)
_PUSH: Final = ("pull", "push")
_DELETE: Final = ("delete",)
_READS: Final = frozenset({"GET", "HEAD"})
_METHODS: Final = _READS | {"PUT", "POST", "PATCH", "DELETE"}
_UPLOAD: Final = re.compile(r"uploads?/(?P<session>[A-Za-z0-9._~=:@%-]*)")
_REFERENCE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+:-]{0,255}")
_UPLOAD_TYPES: Final = frozenset({"", "application/octet-stream", "application/json"})  # crane's
_DOTS: Final = re.compile(r"\.+")
_NOT_THE_API: Final = "the path is none of the registry API, or its repository's name is not allowed"


class ScopeError(ValueError):
    """The request asks for nothing that a registry has, or in a way that can be read twice."""


@dataclass(frozen=True, slots=True)
class Scope:
    """A resource and what is to be done with it ("Token Scope Documentation")."""

    kind: str
    name: str
    actions: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}:{','.join(self.actions)}"


CATALOG: Final = Scope("registry", "catalog", ("*",))


@dataclass(frozen=True, slots=True)
class Needs:
    """What a request needs, as far as its method and target say.

    Attributes:
        known: the scopes.
        problem: why they cannot be told; empty where they can.
        begins_upload: whether a registry may read more parameters from a form in the body.
    """

    known: tuple[Scope, ...] = ()
    problem: str = ""
    begins_upload: bool = False

    @classmethod
    def of(cls, method: str, resource: Resource) -> Needs:
        """Return what ``method`` needs of ``resource``."""
        session = _session(resource)
        begins_upload = method == "POST" and session is not None and not _has_two_readings(session)
        try:
            return cls(_scopes(method, resource, session), begins_upload=begins_upload)
        except ScopeError as error:
            return cls(problem=str(error), begins_upload=begins_upload)

    def scopes(self, content_type: str = "") -> tuple[Scope, ...]:
        """Return what the request needs; empty for the API's root.

        Args:
            content_type: of its body.

        Raises:
            ScopeError: not a request of the distribution-spec, or one that can be read in two ways.
        """
        # Go's FormValue, which registries use for uploads, also looks into forms in the body.
        if self.begins_upload and content_type.partition(";")[0].strip().lower() not in _UPLOAD_TYPES:
            raise ScopeError("an upload begins without a body, or with application/octet-stream")
        if self.problem:
            raise ScopeError(self.problem)
        return self.known


NOTHING_TELLS: Final = Needs(problem=_NOT_THE_API)
"""Of a request whose target names nothing."""


def _session(resource: Resource) -> str | None:
    """Return the id of an upload as it was written, empty for one that is to begin; None for all else."""
    match = _UPLOAD.fullmatch(resource.written_rest) if resource.kind == "blobs" else None
    return None if match is None else match["session"]


def _has_two_readings(session: str) -> bool:
    decoded = unquote(session)
    return _DOTS.fullmatch(session) is not None or "%" in decoded or "/" in decoded


def _scopes(method: str, resource: Resource, session: str | None) -> tuple[Scope, ...]:
    if method not in _METHODS:
        raise ScopeError(f"{method[:20]} is no method of the registry API")
    if resource.path in ("/v2/", "/v2"):
        return ()
    if resource.path == "/v2/_catalog":
        return (CATALOG,)
    if session is not None:
        return _of_upload(resource, session)
    _check(resource)
    actions = _PULL if method in _READS else _DELETE if method == "DELETE" else _PUSH
    return (Scope("repository", resource.name, actions),)


def _check(resource: Resource) -> None:
    """Return where ``resource`` is a list of tags, a manifest, a blob or a list of referrers."""
    if resource.kind == "tags" and resource.written_rest == "list":
        return
    if resource.kind in ("", "tags") or not resource.rest or "/" in resource.rest:
        raise ScopeError(_NOT_THE_API)
    if not _REFERENCE.fullmatch(resource.rest):
        raise ScopeError("the reference is neither a tag nor a digest")
    if resource.kind == "blobs" and not is_digest(resource.rest):
        raise ScopeError("a blob is asked for by its digest")


def _of_upload(resource: Resource, session: str) -> tuple[Scope, ...]:
    """Return what an upload needs; a mount reads another repository (distribution-spec, "Mounting")."""
    if _has_two_readings(session):
        raise ScopeError("the upload's id is not allowed")
    own = Scope("repository", resource.name, _PUSH)
    if ";" in resource.query:
        raise ScopeError("the query can be read in two ways")
    parameters = parse_qsl(resource.query, keep_blank_values=True)
    mounts = [value for key, value in parameters if key == "mount"]
    sources = [value for key, value in parameters if key == "from"]
    if not mounts and not sources:
        return (own,)
    # Without `from` some registries look for the blob everywhere, whoever may read it.
    if len(mounts) != 1 or len(sources) != 1 or not REPOSITORY.fullmatch(sources[0]):
        raise ScopeError("a mount names one blob and the one repository it is in: ?mount=DIGEST&from=NAME")
    return (own, Scope("repository", sources[0], _PULL))
