"""What right a request needs: method + target -> scopes, in the words of the token specification.

Where the proxy is the door this reading decides, so it admits only what every registry reads the same way:
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
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, unquote

from aiohttp import hdrs

from twodfs.oci.digest import is_digest
from twodfs.oci.reference import MAX_REPOSITORY_LENGTH, REPOSITORY

_PULL: Final = ("pull",)
_PUSH: Final = ("pull", "push")
_DELETE: Final = ("delete",)
_READS: Final = frozenset({"GET", "HEAD"})
_METHODS: Final = _READS | {"PUT", "POST", "PATCH", "DELETE"}
_PATH: Final = re.compile(
    r"/v2/(?P<name>.+)/(?:(?P<kind>manifests|blobs|referrers)/(?P<reference>[^/]+)"
    r"|(?P<tags>tags/list)"
    r"|blobs/uploads?/(?P<upload>[A-Za-z0-9._~=:@%-]*))"
)
_REFERENCE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+:-]{0,255}")
_UPLOAD_TYPES: Final = frozenset({"", "application/octet-stream", "application/json"})  # crane's
_DOTS: Final = re.compile(r"\.+")


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


def scopes(method: str, target: str, headers: Mapping[str, str]) -> tuple[Scope, ...]:
    """Return what a request needs; empty for the API's root.

    Args:
        method: of the request.
        target: in origin-form.
        headers: of the request; a registry may read parameters from a form in the body.

    Raises:
        ScopeError: not a request of the distribution-spec, or one that can be read in two ways.
    """
    path, _, query = target.partition("?")
    if method not in _METHODS:
        raise ScopeError(f"{method[:20]} is no method of the registry API")
    if path in ("/v2/", "/v2"):
        return ()
    if path == "/v2/_catalog":
        return (CATALOG,)
    match = _PATH.fullmatch(path)
    name = match["name"] if match else ""
    if match is None or len(name) > MAX_REPOSITORY_LENGTH or not REPOSITORY.fullmatch(name):
        raise ScopeError("the path is none of the registry API, or its repository's name is not allowed")
    if match["tags"] is None and match["kind"] is None:
        return _upload(method, name, match["upload"], query, headers)
    if match["reference"] is not None and not _REFERENCE.fullmatch(unquote(match["reference"])):
        raise ScopeError("the reference is neither a tag nor a digest")
    if match["kind"] == "blobs" and not is_digest(unquote(match["reference"])):
        raise ScopeError("a blob is asked for by its digest")
    if method in _READS:
        return (Scope("repository", name, _PULL),)
    return (Scope("repository", name, _DELETE if method == "DELETE" else _PUSH),)


def _upload(method: str, name: str, session: str, query: str, headers: Mapping[str, str]) -> tuple[Scope, ...]:
    """Return what an upload needs; a mount reads another repository (distribution-spec, "Mounting")."""
    if _DOTS.fullmatch(session) or "%" in unquote(session) or "/" in unquote(session):
        raise ScopeError("the upload's id is not allowed")
    own = Scope("repository", name, _PUSH)
    # Go's FormValue, which registries use here, also looks into forms in the body.
    content_type = headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()
    if method == "POST" and content_type not in _UPLOAD_TYPES:
        raise ScopeError("an upload begins without a body, or with application/octet-stream")
    parameters = parse_qsl(query, keep_blank_values=True)
    if ";" in query:
        raise ScopeError("the query can be read in two ways")
    mounts = [value for key, value in parameters if key == "mount"]
    sources = [value for key, value in parameters if key == "from"]
    if not mounts and not sources:
        return (own,)
    # Without `from` some registries look for the blob everywhere, whoever may read it.
    if len(mounts) != 1 or len(sources) != 1 or not REPOSITORY.fullmatch(sources[0]):
        raise ScopeError("a mount names one blob and the one repository it is in: ?mount=DIGEST&from=NAME")
    return (own, Scope("repository", sources[0], _PULL))
