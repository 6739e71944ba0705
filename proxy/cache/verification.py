"""All content of a directory, read and hashed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from proxy.cache.images.source import DiskSource
from proxy.edge.disk.files import remove_this
from twodfs.concurrency import concurrently
from twodfs.files import open_file
from twodfs.oci.digest import Digest
from twodfs.progress import Advance, Progress

_PIECE: Final = 2**20
_AT_A_TIME: Final = 2


@dataclass(frozen=True, slots=True)
class RottenBlob:
    """Content that is not what its name says. ``inode`` is that of its file."""

    digest: Digest
    size: int
    inode: int


@dataclass(frozen=True, slots=True)
class Verification:
    """The result: how much was read, and what is rotten."""

    blobs: int
    size: int
    rotten: tuple[RottenBlob, ...]


def verify_content(disk: DiskSource, progress: Progress) -> Verification:
    """Return which content has another digest than its name says, or cannot be read. A node may go on to work."""
    files = disk.all()
    total = sum(status.st_size for _, status in files)
    with progress.step("verify", total) as advance:
        jobs = (partial(_looked_at, disk, digest, advance) for digest, _ in files)
        found = list(concurrently(jobs, limit=_AT_A_TIME))
    seen = [one for one in found if one is not None]
    return Verification(len(seen), sum(size for size, _ in seen), tuple(rotten for _, rotten in seen if rotten))


def remove_rotten(disk: DiskSource, rotten: RottenBlob) -> None:
    """Remove the file that was found rotten, also while it is read; another in its place stays; raises ``OSError``."""
    remove_this(disk.directory.blob(rotten.digest), rotten.inode)


def _looked_at(disk: DiskSource, digest: Digest, advance: Advance) -> tuple[int, RottenBlob | None] | None:
    """Return how many bytes a file has, and what is wrong with it; None where it is gone by now."""
    path = disk.directory.blob(digest)
    algorithm, _, encoded = digest.partition(":")
    hasher = hashlib.new(algorithm)
    size = 0
    try:
        inode = path.lstat().st_ino
        with open_file(path, follow=False) as file:
            inode = os.fstat(file.fileno()).st_ino
            for piece in _pieces(file.fileno()):
                hasher.update(piece)
                size += len(piece)
                advance(len(piece))
    except FileNotFoundError:
        return None
    except OSError:  # a link, a directory, or sectors that the disk cannot read
        return size, RottenBlob(digest, size, inode)
    return size, None if hasher.hexdigest() == encoded else RottenBlob(digest, size, inode)


def _pieces(descriptor: int) -> Iterator[bytes]:
    while piece := os.read(descriptor, _PIECE):
        yield piece
