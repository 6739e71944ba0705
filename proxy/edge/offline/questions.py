"""What of a question is remembered, and under which name.

Answers that can change have names: a tag, a list of referrers, ``/v2/``. A registry may give one client an index
and another a manifest, so a tag's answer is remembered for each class of ``Accept``: which of the four types of
images are in it. Content by digest cannot change, and has no answer to remember.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from proxy.auth.identity import Identity
from proxy.repository import DEFAULT_UPSTREAM, Repository
from proxy.requests.parsing import parse
from twodfs.oci.digest import Digest, is_digest
from twodfs.oci.documents import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST

ROOT: Final = "/v2/"
"""The API's root, as a path and as the name of its answer."""
_LETTERS: Final = {OCI_INDEX: "i", OCI_MANIFEST: "m", DOCKER_LIST: "l", DOCKER_MANIFEST: "d"}
_KEPT: Final = "sha256:"
"""The digests under which content is kept; of others the registry alone has it."""

Kind = Literal["tag", "referrers", "root", "manifest", "blob", "other"]

_CONTENT: Final[dict[str, Kind]] = {"manifests": "manifest", "blobs": "blob"}


@dataclass(frozen=True, slots=True)
class EdgeQuestion:
    """A question to the registry, as far as the disk may have an answer to it.

    Attributes:
        method: GET or HEAD.
        path: with its query.
        identity: who asks.
        accept: the types that are taken.
        kind: of what is asked for; "other" is never answered from the disk.
        repository: where; an empty name for ``/v2/``.
        reference: the tag or digest.
        resource: the name of an answer that is remembered; empty for content by digest.
    """

    method: Literal["GET", "HEAD"]
    path: str
    identity: Identity
    accept: str
    kind: Kind
    repository: Repository
    reference: str
    resource: str

    @classmethod
    def of(
        cls,
        method: Literal["GET", "HEAD"],
        path: str,
        identity: Identity,
        accept: str,
        *,
        upstream: str = DEFAULT_UPSTREAM,
    ) -> EdgeQuestion:
        """Return the question that asks the registry ``upstream`` for ``path``, for this client."""
        resource = parse(method, path, upstream).resource
        repository = Repository(upstream, resource.name)  # without a name: of what is in none
        kind: Kind = "other"
        name = ""
        if resource.path == ROOT:
            kind, name = "root", ROOT
        elif resource.kind == "referrers":
            kind = "referrers"
            name = f"referrers/{resource.rest}" + (f"?{resource.query}" if resource.query else "")
        elif resource.kind == "manifests" and ":" not in resource.rest:
            kind, name = "tag", f"manifests/{resource.rest}"
        elif resource.kind in _CONTENT and resource.rest.startswith(_KEPT) and is_digest(resource.rest):
            kind = _CONTENT[resource.kind]
        return cls(method, path, identity, accept, kind, repository, resource.rest, name)

    @property
    def digest(self) -> Digest:
        """The digest that is asked for; of manifests and blobs alone."""
        return Digest(self.reference)

    @property
    def accept_class(self) -> str:
        """The class of its ``Accept``; empty for a client that names none of the types, and for what is no tag."""
        return class_of(self.accept) if self.kind == "tag" else ""

    @property
    def shown(self) -> str:
        """What is asked for, in messages."""
        if self.kind == "root":
            return "its greeting"
        what = {"referrers": "the list of referrers of ", "blob": "the blob ", "manifest": "the manifest "}
        return f"{what.get(self.kind, '')}{self.reference} of {self.repository.name}"


def class_of(accept: str) -> str:
    """Return the class of an ``Accept``: a letter for each of the four types that is in it."""
    return "".join(letter for media_type, letter in _LETTERS.items() if media_type in accept)


def takes(accept_class: str, media_type: str) -> bool:
    """Say whether a client of this class takes a document of ``media_type``."""
    return not accept_class or _LETTERS.get(media_type, "-") in accept_class
