"""The form that a request target must have before it goes upstream, and the resource that its path names.

The distribution-spec, "Pulling manifests", gives ``<name>`` and ``<reference>`` their grammars; descriptor.md
of the image-spec gives digests theirs. A target that breaks them can only be a mistake, or an attempt to be
read in two ways: by us as one repository, by the registry, or a server between us, as another. So a path must
mean the same before and after it is decoded and its dots are resolved. Queries (the state of an upload
session is one) and all paths that keep to this pass unchecked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from twodfs.oci.digest import is_digest
from twodfs.oci.reference import MAX_REPOSITORY_LENGTH, REPOSITORY, TAG

_ABSOLUTE_FORM: Final = re.compile(r"https?://[^/?#]*(?P<path>.*)", re.IGNORECASE | re.DOTALL)
_RESOURCES: Final = "manifests|blobs|tags|referrers"
_NAMED: Final = re.compile(rf"/v2/(?P<name>.*)/(?P<resource>{_RESOURCES})/(?P<rest>.*)", re.DOTALL)
# image-spec, descriptor.md, "Digests".
_DIGEST: Final = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+")
_REGISTERED: Final = ("sha256:", "sha512:")
# Most paths: no segment is empty or begins with a dot, and nothing is escaped.
_PLAIN: Final = re.compile(r"(?:/[A-Za-z0-9_~:=+-][A-Za-z0-9._~:=+-]*)+/?")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_ESCAPED: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SLASHES: Final = re.compile(r"/{2,}")
_SHOWN: Final = 140


class TargetError(ValueError):
    """The request target names no path."""


class GrammarError(ValueError):
    """A target breaks the grammar; ``code`` is one of the distribution-spec's, "Error Codes"."""

    def __init__(self, code: str, problem: str) -> None:
        super().__init__(problem)
        self.code = code


def origin_form(target: str) -> str:
    """Return a request target as path and query, for each form that it may have (RFC 9112, section 3.2).

    Raises:
        TargetError: it is neither origin-form nor absolute-form.
    """
    if target.startswith("/"):
        return target
    absolute = _ABSOLUTE_FORM.fullmatch(target)
    if absolute is None:
        raise TargetError(f"the request target {target[:_SHOWN]!r} is no path; registries answer at /v2/")
    path = absolute["path"]
    return path if path.startswith("/") else f"/{path}"


@dataclass(frozen=True, slots=True)
class Resource:
    """The resource that an unambiguous path names.

    Attributes:
        path: as it was written.
        decoded: without its percent-encoding.
        query: as it was written, without the question mark.
        name: of a repository; empty where the path names none.
        kind: ``manifests``, ``blobs``, ``tags`` or ``referrers``; empty where the path names no repository.
        rest: the decoded part of the path behind the kind, such as a reference.
    """

    path: str
    decoded: str
    query: str
    name: str = ""
    kind: str = ""
    rest: str = ""

    @classmethod
    def of(cls, target: str) -> Resource:
        """Return the resource that ``target``, in origin-form, names. Its reference is yet to be checked.

        Raises:
            GrammarError: its path has no single meaning, or a repository in it breaks its grammar.
        """
        path, question, query = target.partition("?")
        if "#" in path or (question and "#" in query):
            raise GrammarError("UNSUPPORTED", "a request target has no fragment; write # as %23")
        decoded = path if _PLAIN.fullmatch(path) else _decoded(path)
        match = _NAMED.fullmatch(decoded)
        if match is None:
            return cls(path, decoded, query)
        name, kind, rest = match.groups()
        if len(name) > MAX_REPOSITORY_LENGTH or not REPOSITORY.fullmatch(name):
            raise GrammarError(
                "NAME_INVALID",
                f"{name[:_SHOWN]!r} is no repository; expected lower-case letters, digits and single separators "
                f". _ - between slashes, at most {MAX_REPOSITORY_LENGTH} characters",
            )
        if not path.startswith(f"/v2/{name}/{kind}/"):
            raise GrammarError("NAME_INVALID", "the repository's name is percent-encoded; write it as it is")
        return cls(path, decoded, query, name, kind, rest)

    @property
    def written_rest(self) -> str:
        """The part of the path behind the kind, not decoded."""
        return self.path[len(f"/v2/{self.name}/{self.kind}/") :]

    def check_reference(self) -> None:
        """Return where the tag or digest that is named, if any, keeps to its grammar.

        Raises:
            GrammarError: it does not.
        """
        if self.kind == "manifests":
            _check_reference(self.rest)
        elif self.kind == "referrers" or (self.kind == "blobs" and "/" not in self.rest and self.rest != "uploads"):
            _check_digest(self.rest)


def _decoded(path: str) -> str:
    """Return ``path`` without its percent-encoding, where that leaves it one meaning.

    Raises:
        GrammarError: it does not.
    """
    if _ESCAPED.search(path):
        raise GrammarError("UNSUPPORTED", "the path has a % that begins no escape; write it as %25")
    decoded = unquote_to_bytes(path).decode("utf-8", "surrogateescape") if "%" in path else path
    segments = decoded.replace("\\", "/").split("/")
    if "." in segments or ".." in segments:
        raise GrammarError("NAME_INVALID", "the path has . or .. in it; write the path that is meant")
    if "\\" in decoded or _CONTROL.search(decoded):
        raise GrammarError("NAME_INVALID", "the path has a control character or a backslash in it")
    is_api = path.startswith("/v2/")
    if is_api and decoded.count("/") != path.count("/"):
        raise GrammarError("NAME_INVALID", "the path has an encoded slash in it; write it as /")
    # A server that merges slashes or decodes first would find the API where we do not.
    if not is_api and _SLASHES.sub("/", decoded).startswith("/v2/"):
        raise GrammarError("NAME_INVALID", "the API is at /v2/, written like that")
    return decoded


def _check_reference(reference: str) -> None:
    if ":" in reference:
        _check_digest(reference)
    elif not TAG.fullmatch(reference.replace("+", ".")):  # partitions in the paper's form have a +
        raise GrammarError(
            "TAG_INVALID",
            f"{reference[:_SHOWN]!r} is no tag; expected up to 128 of A-Z a-z 0-9 _ . - that do not begin with . or -",
        )


def _check_digest(text: str) -> None:
    if not _DIGEST.fullmatch(text) or (text.startswith(_REGISTERED) and not is_digest(text)):
        raise GrammarError(
            "DIGEST_INVALID", f"{text[:_SHOWN]!r} is no digest; expected sha256:<64 lower-case hex digits>"
        )
