"""An image that is to be run, or whose files are to be mounted, and how. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import yaml

from twodfs.errors import BuildError
from twodfs.oci.platforms import Platform
from twodfs.oci.reference import Reference
from twodfs.running.places import FilePlaces

SERVER: Final = "registry.example.com/server:1"
"""The image of the program that reads the files, where none is named: to be replaced."""

_NO_NAME: Final = re.compile(r"[^a-z0-9]+")
_LONGEST_NAME: Final = 63
"""RFC 1123, as Kubernetes wants names."""


@dataclass(frozen=True, slots=True)
class RunSubject:
    """What a text is about.

    Attributes:
        reference: of the image, as the program is to pull it.
        places: where its files are.
        is_program: whether it is run itself; else its files are given to ``server``.
        has_base: whether it has anything but its files.
        platform: the one that it is for; None for several.
        server: the image of the program that reads the files.
        annotations: for those who look at what runs.
        pull_secret: the name of Kubernetes' Secret with the login for the registry; empty for none.
        mount: the directory that the whole image is mounted at; empty: each of its own where the image has it.
    """

    reference: Reference
    places: FilePlaces
    is_program: bool
    has_base: bool = True
    platform: Platform | None = None
    server: str = SERVER
    annotations: Mapping[str, str] = field(default_factory=dict)
    pull_secret: str = ""
    mount: str = ""

    @property
    def name(self) -> str:
        """A name for what runs: of the repository and the tag, in letters that DNS takes."""
        words = f"{self.reference.repository.rpartition('/')[2]}-{self.reference.tag or ''}"
        name = _NO_NAME.sub("-", words.lower()).strip("-")[:_LONGEST_NAME].strip("-")
        return name if name[:1].isalpha() else f"m-{name}"[:_LONGEST_NAME].strip("-")

    def mounted(self) -> dict[str, str]:
        """Return the directories of the image that are mounted by where they are, empty for all of it.

        Raises:
            BuildError: there are no files, or one is in no directory that could be mounted.
        """
        if self.mount:
            return {self.mount: ""}
        if self.places.directories and not self.places.loose:
            return {one: one.lstrip("/") for one in self.places.directories}
        found = f"{self.places.loose[0]} lies in no directory" if self.places.loose else "it has no files"
        raise BuildError(f"{self.reference}: {found}, so it cannot be mounted; --mount DIR mounts the whole image")


def yaml_text(content: object, *comments: str) -> str:
    """Return ``content`` as YAML, below ``comments``."""
    written: str = yaml.safe_dump(content, sort_keys=False, width=120, allow_unicode=True)
    return "".join(f"# {one}\n" for one in comments) + written
