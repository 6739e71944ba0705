"""What the store holds, and how it gets smaller."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from twodfs.build.allotments import KEYS_NAME
from twodfs.build.documents import MAX_FIELD_BYTES
from twodfs.build.keys import KeyCache
from twodfs.build.store import BASE_NAME, Store
from twodfs.digest import Digest
from twodfs.errors import BuildError, RecipeError
from twodfs.field import Field
from twodfs.oci import MAX_MANIFEST_BYTES, Descriptor, Index, Json, Manifest, parse_manifest

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)(i?)b?", re.IGNORECASE)
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


@dataclass(frozen=True, slots=True)
class ListedImage:
    """An image of the store.

    Attributes:
        reference: its name.
        digest: of what the name means.
        base: the reference that it was built on; empty for none.
        allotments: how many there are.
        size: bytes of all its blobs, documents included.
    """

    reference: str
    digest: Digest
    base: str
    allotments: int
    size: int

    def to_dict(self) -> Json:
        """Return the image as JSON, its size in bytes."""
        return {
            "reference": self.reference,
            "digest": self.digest,
            "base": self.base or None,
            "allotments": self.allotments,
            "bytes": self.size,
        }


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a prune did: what went, and how many bytes are left."""

    images: tuple[str, ...]
    blobs: int
    freed: int
    left: int

    def to_dict(self) -> Json:
        """Return the outcome as JSON, sizes in bytes."""
        return {
            "images": list(self.images),
            "blobs": self.blobs,
            "freedBytes": self.freed,
            "leftBytes": self.left,
        }


@dataclass(frozen=True, slots=True)
class _Blob:
    digest: Digest
    size: int
    used: int


def parse_size(text: str) -> int:
    """Return the bytes that ``text`` says: ``500MB`` are 500 million, ``1.5GiB`` are 1.5 times 2^30.

    Raises:
        RecipeError: it is no size.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise RecipeError(f"{text[:140]!r} is no size; expected a number and a unit, as 10GB")
    number, unit, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** _POWERS[unit.lower()])


def list_images(store: Store) -> list[ListedImage]:
    """Return the images of ``store``, by name.

    Raises:
        BuildError: the store lacks one of their documents.
        DigestError: one was damaged on the disk.
    """
    return sorted((_image(store, *one) for one in store.images()), key=lambda one: one.reference)


def remove_image(store: Store, reference: str) -> None:
    """Forget the image ``reference``; its blobs stay for the next build, until they are pruned.

    Raises:
        BuildError: there is no such image.
    """
    if not store.untag(reference):
        raise BuildError(f"the store {store.directory} has no image {reference}; 'twodfs images' lists them")


def prune(store: Store, max_size: int, *, images: bool) -> Pruned:
    """Remove what no image needs, longest unused first, until blobs take ``max_size`` bytes at most.

    Waits for builds and pushes to end. What an image needs stays, so that more may be left than asked for.

    Args:
        store: what is to shrink.
        max_size: bytes.
        images: whether to forget images as well, longest unused first, once the rest is not enough.
    """
    with store.alone():
        blobs = {digest: _Blob(digest, one.st_size, one.st_atime_ns) for digest, one in store.blobs()}
        left = sum(one.size for one in blobs.values())
        gone, freed = _remove(store, blobs, _needed(store), left - max_size)
        forgotten: list[str] = []
        for reference in _oldest_first(store, blobs) if images else ():
            if left - freed <= max_size:
                break
            store.untag(reference)
            forgotten.append(reference)
            more, size = _remove(store, blobs, _needed(store), left - freed - max_size)
            gone, freed = gone + more, freed + size
        with closing(KeyCache(store.directory / KEYS_NAME)) as keys:
            keys.keep(blobs)
    return Pruned(tuple(forgotten), gone, freed, left - freed)


def _remove(store: Store, blobs: dict[Digest, _Blob], needed: set[Digest], excess: int) -> tuple[int, int]:
    """Remove blobs that are not ``needed`` until ``excess`` bytes are gone; return blobs and bytes gone."""
    gone = freed = 0
    spare = (one for one in blobs.values() if one.digest not in needed)
    for one in sorted(spare, key=lambda one: (one.used, one.digest)):
        if freed >= excess:
            break
        store.discard(one.digest)
        del blobs[one.digest]
        gone, freed = gone + 1, freed + one.size
    return gone, freed


def _oldest_first(store: Store, blobs: dict[Digest, _Blob]) -> list[str]:
    used = {name: blobs[one.digest].used for name, one in store.images() if one.digest in blobs}
    return sorted(used, key=lambda name: (used[name], name))


def _needed(store: Store) -> set[Digest]:
    return {blob.digest for _, image in store.images() for blob in _parts(store, image)}


def _image(store: Store, reference: str, image: Descriptor) -> ListedImage:
    annotations = image.raw.get("annotations") or {}
    parts = {one.digest: one for one in _parts(store, image)}
    fields = {one.digest for manifest in _manifests(store, image) for one in _fields(manifest)}
    cells = sum(Field.parse(store.read(one, limit=MAX_FIELD_BYTES)).count for one in fields)
    size = sum(one.size for one in parts.values())
    return ListedImage(reference, image.digest, annotations.get(BASE_NAME, ""), cells, size)


def _parts(store: Store, image: Descriptor) -> Iterator[Descriptor]:
    """Yield everything that an image consists of, some of it more than once."""
    yield image
    parsed = _parse(store, image)
    if isinstance(parsed, Index):
        yield from parsed.manifests
    for manifest in _manifests(store, image):
        yield manifest.config
        yield from manifest.layers
        for field in _fields(manifest):
            for one in Field.parse(store.read(field.digest, limit=MAX_FIELD_BYTES)):
                yield Descriptor(one.media_type, one.digest, store.size(one.digest) or 0, {})


def _manifests(store: Store, image: Descriptor) -> Iterator[Manifest]:
    parsed = _parse(store, image)
    if isinstance(parsed, Manifest):
        yield parsed
        return
    for entry in parsed.manifests:
        if isinstance(manifest := _parse(store, entry), Manifest):
            yield manifest


def _fields(manifest: Manifest) -> Iterator[Descriptor]:
    for position in manifest.field_positions():
        yield manifest.layers[position]


def _parse(store: Store, entry: Descriptor) -> Manifest | Index:
    return parse_manifest(store.read(entry.digest, limit=MAX_MANIFEST_BYTES), entry.media_type)
