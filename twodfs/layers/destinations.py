"""Where in an image a file goes: paths with one spelling, that every engine takes. Pure."""

from __future__ import annotations

from typing import Final

from twodfs.errors import FormatError

WHITEOUT: Final = ".wh."
"""How a layer says that a file is gone (image-spec, layer.md, "Whiteouts"); no file may have such a name."""
MAX_NAME: Final = 255
"""Bytes of a file's name, on Linux's file systems."""
MAX_PATH: Final = 4095
"""Bytes of a path, its leading slash included; Linux's PATH_MAX counts the NUL at the end as well."""


def parse_destination(text: str, path: str) -> str:
    """Return ``text`` without slashes at its ends; it has one spelling only, so that clashes are seen.

    Raises:
        FormatError: it has another spelling, or no engine takes it; ``path`` says where it is written.
    """
    if text == "/":
        return ""
    target = text.removeprefix("/").removesuffix("/")
    parts = target.split("/")
    if ".." in parts:
        raise FormatError(f"{text!r} climbs with '..'; write the path as it is in the image", path)
    if "" in parts or "." in parts:
        clean = "/".join(part for part in parts if part not in ("", "."))
        slash = "/" if clean and text.endswith("/") else ""
        raise FormatError(f"{text!r} is not normalised; write '/{clean}{slash}'", path)
    if any(part.startswith(WHITEOUT) for part in parts):
        raise FormatError(f"{text!r}: names that begin with {WHITEOUT!r} delete files in a layer", path)
    for part in parts:
        if _bytes(part) > MAX_NAME:
            raise FormatError(f"{part[:20] + '...'!r} has more than {MAX_NAME} bytes; no file can", path)
    check_length(target, path)
    return target


def check_length(target: str, path: str) -> None:
    """Hold the length of a path in the image against the limit of engines.

    Raises:
        FormatError: it is longer; ``path`` says where in the build file it comes from.
    """
    if _bytes(target) >= MAX_PATH:
        raise FormatError(f"'/{target[:20]}...' has more than {MAX_PATH} bytes; no engine takes such a path", path)


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))
