"""Images by the names that clients pull through a node: ``library/model:v1--0.0.1.2``.

What stands in front of the repository, the node's own address or the registry's, is left out: users copy it from the
command lines of their engines. An image of one of several registries, but for the default one, has the registry's name
and an ``@`` in front, as in the node's ``index.json``: ``hub@library/busybox:1.36``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from proxy.config.values import UPSTREAM_NAME
from proxy.edge.disk.listing import listed_name
from proxy.repository import DEFAULT_UPSTREAM, Repository
from twodfs.errors import InvalidReferenceError
from twodfs.field.partition import PartitionTag, readings
from twodfs.oci.digest import is_digest
from twodfs.oci.reference import MAX_REPOSITORY_LENGTH, REPOSITORY, TAG

_HOST: Final = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?)(?::[0-9]{1,5})?")
_UPSTREAM: Final = re.compile(UPSTREAM_NAME)


@dataclass(frozen=True, slots=True, order=True)
class CachedName:
    """A tag of a repository behind the node.

    Attributes:
        repository: its name.
        tag: of an image or a partition.
        upstream: the registry, as ``Repository.upstream`` has it.
    """

    repository: str
    tag: str
    upstream: str = DEFAULT_UPSTREAM

    @classmethod
    def of(cls, place: Repository, tag: str) -> CachedName:
        """Return the name of a tag of ``place``."""
        return cls(place.name, tag, place.upstream)

    @classmethod
    def parse(cls, text: str) -> CachedName:
        """Return the name that ``text`` writes; of a partition in canonical form, without a ``+``.

        Raises:
            InvalidReferenceError: it writes none; the message says what is wrong.
        """
        upstream, mark, bare = text.rpartition("@")
        if mark and (is_digest(bare) or not _UPSTREAM.fullmatch(upstream)):
            raise InvalidReferenceError(
                f"{text!r} is a digest, or no name; name an image by its tag, as library/model:v1, or that of a "
                "registry of several as hub@library/model:v1"
            )
        first, slash, rest = bare.partition("/")
        is_host = slash and ("." in first or ":" in first or first == "localhost") and _HOST.fullmatch(first)
        repository, colon, tag = (rest if is_host else bare).partition(":")
        if not colon:
            raise InvalidReferenceError(f"{text!r} has no tag; write it out, as {repository or 'library/model'}:v1")
        if len(repository) > MAX_REPOSITORY_LENGTH or not REPOSITORY.fullmatch(repository):
            raise InvalidReferenceError(
                f"{text!r}: {repository!r} is no repository; expected lower-case letters, digits and single "
                "separators . _ - between slashes, as library/model:v1"
            )
        if not TAG.fullmatch(tag.replace("+", ".")):
            raise InvalidReferenceError(f"{text!r}: {tag!r} is no tag; expected up to 128 of A-Z a-z 0-9 _ . -")
        ways = readings(tag) if "+" in tag else ()
        return cls(repository, str(ways[0]) if ways else tag, upstream)

    @property
    def place(self) -> Repository:
        """The repository, as keys of records are made of it."""
        return Repository(self.upstream, self.repository)

    def tagged(self, tag: str) -> CachedName:
        """Return another tag of the same repository."""
        return replace(self, tag=tag)

    @property
    def readings(self) -> tuple[PartitionTag, ...]:
        """The ways to read the tag as a partition; none for other tags."""
        return readings(self.tag)

    def __str__(self) -> str:
        return listed_name(self.place, self.tag)
