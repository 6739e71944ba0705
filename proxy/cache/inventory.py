"""The content of an edge directory, with the images that need it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from proxy.cache.images.parts import Part, PartKind, distinct, kind_of, parts_of
from proxy.cache.images.reference import CachedName
from proxy.cache.images.source import DiskSource
from proxy.cache.images.tags import TagAnswer
from twodfs.errors import TwodfsError
from twodfs.oci.digest import Digest
from twodfs.oci.documents import Document


@dataclass(frozen=True, slots=True)
class CachedBlob:
    """Content, and what is known of it.

    Attributes:
        digest: of it.
        size: in bytes.
        kind: the part that it plays in the images that are known.
        used_at: when it was read last, in seconds since 1970.
        is_pinned: whether it stays.
        names: the images that need it.
    """

    digest: Digest
    size: int
    kind: PartKind
    used_at: float
    is_pinned: bool
    names: tuple[CachedName, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "digest": self.digest,
            "bytes": self.size,
            "kind": self.kind,
            "usedAt": round(self.used_at, 3),
            "pinned": self.is_pinned,
            "images": list(map(str, self.names)),
        }


@dataclass(frozen=True, slots=True)
class ImagePresence:
    """How much of an image is there.

    Attributes:
        name: of it.
        digest: of its manifest or index.
        blobs: how many it has, documents included.
        there: how many of them are there.
        size: bytes of all, as far as its documents tell.
        size_there: bytes of those that are there.
        is_pinned: whether it was pinned by this name.
        problem: why its parts are not known; empty where they are.
    """

    name: CachedName
    digest: Digest
    blobs: int = 0
    there: int = 0
    size: int = 0
    size_there: int = 0
    is_pinned: bool = False
    problem: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether all of it is there."""
        return not self.problem and self.there == self.blobs

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "reference": str(self.name),
            "digest": self.digest,
            "complete": self.is_complete,
            "blobs": self.blobs,
            "blobsThere": self.there,
            "bytes": self.size,
            "bytesThere": self.size_there,
            "pinned": self.is_pinned,
            "problem": self.problem or None,
        }


@dataclass(frozen=True, slots=True)
class CacheInventory:
    """All that an edge directory has, at one moment."""

    blobs: tuple[CachedBlob, ...] = field(repr=False)
    images: tuple[ImagePresence, ...] = field(repr=False)


def take_inventory(
    disk: DiskSource,
    tags: Mapping[CachedName, TagAnswer],
    *,
    used: Mapping[Digest, float],
    pinned: AbstractSet[Digest],
    pinned_names: AbstractSet[CachedName],
) -> CacheInventory:
    """Return the content of a directory.

    Args:
        disk: the directory.
        tags: the images that are known.
        used: when content was read last; for content that is not in it, its file's time counts.
        pinned: content that stays.
        pinned_names: the images that were pinned.
    """
    files = dict(disk.all())
    sizes = {digest: status.st_size for digest, status in files.items()}
    kinds: dict[Digest, PartKind] = {}
    names: dict[Digest, list[CachedName]] = {}
    images = []
    known: dict[Digest, tuple[Part, ...]] = {}
    for name, answer in sorted(tags.items(), key=lambda one: one[0]):
        try:
            parts = known.get(answer.digest)
            if parts is None:
                parts = known[answer.digest] = _parts(disk, answer)
        except TwodfsError as error:
            images.append(ImagePresence(name, answer.digest, is_pinned=name in pinned_names, problem=str(error)))
            kinds.setdefault(answer.digest, kind_of(answer.media_type))
            continue
        there = [one for one in parts if one.digest in sizes]
        images.append(
            ImagePresence(
                name,
                answer.digest,
                len(parts),
                len(there),
                sum(sizes.get(one.digest, one.size or 0) for one in parts),
                sum(sizes[one.digest] for one in there),
                name in pinned_names,
            )
        )
        for one in there:
            kinds.setdefault(one.digest, one.kind)
            names.setdefault(one.digest, []).append(name)
    blobs = tuple(
        CachedBlob(
            digest,
            size,
            kinds.get(digest, PartKind.OTHER),
            used.get(digest, files[digest].st_mtime),
            digest in pinned,
            tuple(names.get(digest, ())),
        )
        for digest, size in sizes.items()
    )
    return CacheInventory(blobs, tuple(images))


def uses(connection: sqlite3.Connection) -> dict[Digest, float]:
    """Return when content was read last, in seconds since 1970, as far as it is written down."""
    return {Digest(digest): used for digest, used in connection.execute("SELECT digest, used FROM blobs")}


def _parts(disk: DiskSource, answer: TagAnswer) -> tuple[Part, ...]:
    """Return the parts of an image as it is on the disk: nothing is cut for a list."""
    found = disk.manifest(answer.digest)
    root = Document(answer.media_type or found.media_type, found.digest, found.body)
    return distinct(parts_of(disk, root, allotments=True))
