"""How the image of a build file is run, and what it says of itself. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Final

from twodfs.errors import FormatError
from twodfs.layers.build_file.values import parse_text, parse_text_map, parse_texts
from twodfs.oci.documents import Json
from twodfs.oci.image_settings import ImageSettings

_CUTS: Final = "2dfs."
"""How the annotations begin that a partition gets when it is cut."""


def parse_settings(raw: Json) -> ImageSettings:
    """Return the settings in a build file.

    Raises:
        FormatError: one of them is malformed; with the path.
    """
    workdir = parse_text(raw, "workdir")
    if workdir is not None:
        workdir = _absolute(workdir)
    return ImageSettings(
        labels=parse_text_map(raw, "labels"),
        annotations=_annotations(parse_text_map(raw, "annotations")),
        env=_environment(parse_text_map(raw, "env")),
        entrypoint=parse_texts(raw, "entrypoint"),
        cmd=parse_texts(raw, "cmd"),
        workdir=workdir,
        user=parse_text(raw, "user"),
    )


def _absolute(workdir: str) -> str:
    if not workdir.startswith("/"):
        raise FormatError(f"{workdir[:140]!r} is no absolute path; it begins with '/'", "workdir")
    clean = posixpath.normpath(workdir.lstrip("/")) if workdir.strip("/") else ""
    if ".." in workdir.split("/"):
        raise FormatError(f"{workdir[:140]!r} climbs with '..'; write the path as it is in the image", "workdir")
    return f"/{clean}"


def _annotations(found: Mapping[str, str]) -> Mapping[str, str]:
    for name in found:
        if name.startswith(_CUTS):
            raise FormatError(f"{name[:140]!r} is given to partitions when they are cut", "annotations")
    return found


def _environment(found: Mapping[str, str]) -> Mapping[str, str]:
    for name in found:
        if "=" in name:
            raise FormatError(f"the name {name[:140]!r} has a '=' in it", "env")
    return found
