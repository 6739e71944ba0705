"""Links in a directory that is copied: whether a link is kept, or its target copied.

A link that stays in the source means the same in the image. A link that leaves it does not: model hubs' caches
have such links in ``snapshots``, which lead to ``blobs`` beside it, and an image would have links to nothing.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from twodfs.errors import FormatError

_PARTS: Final = ("blobs", "snapshots")
"""Names in a repository's directory in the cache of a model hub (huggingface_hub, "Understand caching")."""


def is_followed(link: Path, root: Path, *, follow: bool | None, path: str) -> bool:
    """Say whether the file that ``link`` leads to is taken in its place.

    Args:
        link: a symbolic link below ``root``.
        root: the source that is copied.
        follow: whether the build file says so; None where it says nothing.
        path: where in the build file the source is.

    Raises:
        FormatError: it leaves the source for something else than a file of the same repository.
    """
    if follow is False:
        return False
    says = os.readlink(link)  # noqa: PTH115 - not Path.readlink, which tidies up
    source = os.path.realpath(root)
    there = os.path.normpath(os.path.join(os.path.realpath(link.parent), says))  # noqa: PTH118
    is_inside = not os.path.isabs(says) and _is_below(there, source)  # noqa: PTH117
    if _is_file(link) and (follow or (not is_inside and _is_in_repository(link, source))):
        return True
    if is_inside:
        return False
    reason = "it is not followed unasked" if _is_file(link) else "what it leads to is no file"
    raise FormatError(
        f"{link} is a link that leaves the source, to {says[:200]!r}: {reason}; "
        f"'\"follow\": true' takes the files that links lead to, '\"follow\": false' keeps links as they are",
        path,
    )


def _is_in_repository(link: Path, source: str) -> bool:
    """Say whether ``link`` leads into the repository of a model hub's cache that ``source`` is in."""
    place = os.path.realpath(link)
    for directory in (Path(source), *Path(source).parents):
        if all((directory / part).is_dir() for part in _PARTS):
            return _is_below(place, str(directory))
    return False


def _is_below(place: str, directory: str) -> bool:
    return os.path.commonpath((place, directory)) == directory


def _is_file(link: Path) -> bool:
    try:
        return stat.S_ISREG(link.stat().st_mode)
    except OSError:  # it leads to nothing, or round
        return False
