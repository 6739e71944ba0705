"""Content on its way, as other processes than the one that fetches it see it: ``ingest/sha256/HEX.part``.

``HEX.json`` beside it has the length that it will have. The process that fetches it has a lock on it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from proxy.edge.disk.directory import EdgeDirectory
from proxy.edge.disk.files import lock, opened, removed
from twodfs.oci.digest import Digest, is_digest

PART: Final = ".part"
ABOUT: Final = ".json"
_LIVELY: Final = 60.0
"""Seconds since the last byte for which content counts as fetched without a look at its lock, which could disturb."""
_MOST_ABOUT: Final = 64 * 1024
_BLOCK: Final = 512
"""What ``st_blocks`` counts."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Content of which a part is there."""

    digest: Digest
    path: Path
    size: int
    """Bytes that it will have, as far as that is known."""
    on_disk: int
    changed_at: float
    """Seconds since the epoch."""
    is_fetched: bool
    """Whether a process is fetching it."""

    @property
    def claim(self) -> int:
        """Bytes of the disk that it takes, or will."""
        return max(self.size, self.on_disk) if self.is_fetched else self.on_disk

    def remove(self) -> bool:
        """Remove it where no process is fetching it; say whether it did. Raises ``OSError``."""
        if removed(self.path) is None:
            return False
        self.path.with_suffix(ABOUT).unlink(missing_ok=True)
        return True


def unfinished(directory: EdgeDirectory) -> Iterator[Unfinished]:
    """Yield all content on its way; takes a few file operations for each.

    Raises:
        OSError: the directory cannot be read.
    """
    now = time.time()
    with os.scandir(directory.ingest) as entries:
        paths = [Path(entry.path) for entry in entries if entry.name.endswith(PART)]
    for path in paths:
        digest = f"{directory.ingest.name}:{path.stem}"
        if not is_digest(digest):
            continue
        with contextlib.suppress(FileNotFoundError):  # it became whole meanwhile
            status = path.lstat()
            yield Unfinished(
                Digest(digest),
                path,
                _length(path.with_suffix(ABOUT)),
                status.st_blocks * _BLOCK,
                status.st_mtime,
                is_fetched=now - status.st_mtime < _LIVELY or _is_locked(path),
            )


def _length(about: Path) -> int:
    """Return the length in the file beside; 0 where it says none."""
    try:
        with about.open("rb") as file:
            found = orjson.loads(file.read(_MOST_ABOUT))["size"]
    except (OSError, ValueError, KeyError, TypeError):
        return 0
    return found if isinstance(found, int) and found >= 0 else 0


def _is_locked(path: Path) -> bool:
    try:
        descriptor = opened(path)
    except FileNotFoundError:
        raise
    except OSError:
        return True  # another user's, or no file at all: nobody can say, and nobody removes it
    try:
        return not lock(descriptor, fcntl.LOCK_EX)
    finally:
        os.close(descriptor)
