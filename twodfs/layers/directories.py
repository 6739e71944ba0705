"""Directories that an image has for sure, as far as its configs tell: no file may take their place. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from twodfs.layers.patterns import parents_of

if TYPE_CHECKING:
    from twodfs.oci.image_config import ImageConfig

_ENGINES: Final = ("proc", "sys", "dev", "etc")
"""Where engines mount or write something in every container (runtime-spec, "Default Filesystems")."""


def known_directories(configs: Iterable[ImageConfig], *, workdir: str | None = None) -> dict[str, str]:
    """Return the directories that images with these configs have, and a phrase for each that says why.

    Names have no leading slash. ``workdir`` is the one that the build file gives them.
    """
    found = dict.fromkeys(_ENGINES, "a directory of every container")
    for config in configs:
        for place, what in _told(config.raw.get("config")):
            name = posixpath.normpath(f"/{place}").lstrip("/")
            found |= dict.fromkeys(parents_of(name), "a directory of the base") | {name: what}
    if workdir is not None:
        name = workdir.lstrip("/")
        found |= dict.fromkeys(parents_of(name), "a directory above the image's WORKDIR") | {
            name: "the image's WORKDIR"
        }
    found.pop("", None)
    return found


def _told(settings: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(settings, dict):
        return
    for one in _texts(settings.get("Env")):
        if one.startswith("PATH="):
            for place in one.removeprefix("PATH=").split(":"):
                if place.startswith("/"):
                    yield place, "a directory of the base's PATH"
    volumes = settings.get("Volumes")
    for one in _texts(list(volumes) if isinstance(volumes, dict) else None):
        yield one, "a VOLUME of the base"
    for one in _texts([settings.get("WorkingDir")]):
        yield one, "the base's WORKDIR"


def _texts(value: Any) -> Iterator[str]:
    for one in value if isinstance(value, list) else ():
        if isinstance(one, str) and one:
            yield one
