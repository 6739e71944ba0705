"""The rights that a request needs: method + resource -> scopes, in the terms of the token specification.

Where the proxy controls access this reading decides, so it admits only requests that every registry reads the same way:
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
_UPLOAD: Final = re.compile(r"uploads?/(?P<id>[A-Za-z0-9._~=:@%-]*)")
_REFERENCE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+:-]{0,255}")
_UPLOAD_TYPES: Final = frozenset({"", "application/octet-stream", "application/json"})  # crane's
_DOTS: Final = re.compile(r"\.+")


class ScopeError(ValueError):
    """The request asks for nothing that a registry has, or in a way that can be read twice."""


@dataclass(frozen=True, slots=True)
class Scope:
    """A resource and the actions on it ("Token Scope Documentation")."""

    kind: str
    name: str
    actions: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}:{','.join(self.actions)}"


CATALOG: Final = Scope("registry", "catalog", ("*",))


def scopes(method: str, resource: Resource, content_type: str = "") -> tuple[Scope, ...]:
    """Return the scopes that a request needs; empty for the API's root.

    Args:
        method: of the request.
        resource: the one that its target names.
        content_type: of its body, from which a registry may read more parameters.

    Raises:
        ScopeError: not a request of the distribution-spec, or ambiguous.
    """
    if method not in _METHODS:
        raise ScopeError(f"{method[:20]} is no method of the registry API")
    if resource.path in ("/v2/", "/v2"):
        return ()
    if resource.path == "/v2/_catalog":
        return (CATALOG,)
    session = _UPLOAD.fullmatch(resource.written_rest) if resource.kind == "blobs" else None
    if session is not None:
        return _of_upload(method, resource, session["id"], content_type)
    _check(resource)
    actions = _PULL if method in _READS else _DELETE if method == "DELETE" else _PUSH
    return (Scope("repository", resource.name, actions),)


def _check(resource: Resource) -> None:
    """Return where ``resource`` is a list of tags, a manifest, a blob or a list of referrers."""
    if resource.kind == "tags" and resource.written_rest == "list":
        return
    if resource.kind in ("", "tags") or not resource.rest or "/" in resource.rest:
        raise ScopeError("the path is none of the registry API, or its repository's name is not allowed")
    if not _REFERENCE.fullmatch(resource.rest):
        raise ScopeError("the reference is neither a tag nor a digest")
    if resource.kind == "blobs" and not is_digest(resource.rest):
        raise ScopeError("a blob is asked for by its digest")


def _of_upload(method: str, resource: Resource, session: str, content_type: str) -> tuple[Scope, ...]:
    """Return the scopes that an upload needs; a mount reads another repository (distribution-spec, "Mounting")."""
    if _DOTS.fullmatch(session) or "%" in unquote(session) or "/" in unquote(session):
        raise ScopeError("the upload's id is not allowed")
    # Go's FormValue, which registries use here, also looks into forms in the body.
    if method == "POST" and content_type.partition(";")[0].strip().lower() not in _UPLOAD_TYPES:
        raise ScopeError("an upload begins without a body, or with application/octet-stream")
    own = Scope("repository", resource.name, _PUSH)
    if ";" in resource.query:
        raise ScopeError("the query can be read in two ways")
    parameters = parse_qsl(resource.query, keep_blank_values=True)
    mounts = [value for key, value in parameters if key == "mount"]
    sources = [value for key, value in parameters if key == "from"]
    if not mounts and not sources:
        return (own,)
    # Without `from` some registries look for the blob everywhere, without asking who may read it.
    if len(mounts) != 1 or len(sources) != 1 or not REPOSITORY.fullmatch(sources[0]):
        raise ScopeError("a mount names one blob and the one repository it is in: ?mount=DIGEST&from=NAME")
    return (own, Scope("repository", sources[0], _PULL))
