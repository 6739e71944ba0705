"""Platforms: ``os/architecture[/variant]`` (image-spec, image-index.md, "platform")."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from twodfs.errors import BuildFileError

_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9_]+(?:/[a-z0-9]+)?")
# The default variant of an architecture, in containerd as elsewhere.
_VARIANTS = {"amd64": "v1", "arm": "v7", "arm64": "v8"}
_GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class Platform:
    """The system that an image runs on."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Return the platform that ``text`` writes.

        Raises:
            BuildFileError: it is not ``os/architecture`` or ``os/architecture/variant``.
        """
        if not _PLATFORM.fullmatch(text):
            raise BuildFileError(f"{text[:140]!r} is no platform; expected os/architecture, as linux/amd64")
        system, architecture, *variant = text.split("/")
        return cls(system, _GO_NAMES.get(architecture, architecture), *variant)

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Platform:
        """Return the platform in an index entry's ``platform``, or in an image config."""
        keys = ("os", "architecture", "variant")
        return cls(*(value if isinstance(value := raw.get(key), str) else "" for key in keys))

    def matches(self, wanted: Platform) -> bool:
        """Say whether it matches ``wanted``; without a variant, any will do."""
        return (self.os, self.architecture) == (wanted.os, wanted.architecture) and (
            not wanted.variant or self._exact_variant == wanted._exact_variant
        )

    @property
    def _exact_variant(self) -> str:
        return self.variant or _VARIANTS.get(self.architecture, "")

    def to_dict(self) -> dict[str, str]:
        """Return the JSON of an index entry's ``platform``."""
        variant = {"variant": self.variant} if self.variant else {}
        return {"architecture": self.architecture, "os": self.os} | variant

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def is_wanted(platform: Platform, wanted: Iterable[Platform]) -> bool:
    """Say whether ``platform`` is one of those ``wanted``; with none of them, all are."""
    asked = tuple(wanted)
    return not asked or any(platform.matches(one) for one in asked)


def parse_platforms(texts: Iterable[str]) -> tuple[Platform, ...]:
    """Return the platforms that ``texts`` write, each of them one or several between commas.

    Raises:
        BuildFileError: one of them is none.
    """
    return tuple(dict.fromkeys(Platform.parse(one.strip()) for text in texts for one in text.split(",")))
