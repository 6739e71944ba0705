"""Images by the names that clients pull through a node: ``library/model:v1--0.0.1.2``.

What stands in front of the repository, the node's own address or the registry's, is left out: users copy it from the
command lines of their engines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from twodfs.errors import InvalidReferenceError
from twodfs.field.partition import PartitionTag, readings
from twodfs.oci.reference import MAX_REPOSITORY_LENGTH, REPOSITORY, TAG

_HOST: Final = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?)(?::[0-9]{1,5})?")


@dataclass(frozen=True, slots=True, order=True)
class CachedName:
    """A tag of a repository behind the node."""

    repository: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> CachedName:
        """Return the name that ``text`` writes; of a partition in canonical form, without a ``+``.

        Raises:
            InvalidReferenceError: it writes none; the message says what is wrong.
        """
        if "@" in text:
            raise InvalidReferenceError(f"{text!r} is a digest; name an image by its tag, as library/model:v1")
        first, slash, rest = text.partition("/")
        is_host = slash and ("." in first or ":" in first or first == "localhost") and _HOST.fullmatch(first)
        repository, colon, tag = (rest if is_host else text).partition(":")
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
        return cls(repository, str(ways[0]) if ways else tag)

    @property
    def readings(self) -> tuple[PartitionTag, ...]:
        """The ways to read the tag as a partition; none for other tags."""
        return readings(self.tag)

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}"
