"""The images of the store, removed and pruned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass

from twodfs.build.allotments import KEYS_NAME
from twodfs.build.keys import KeyCache
from twodfs.errors import BuildError
from twodfs.oci.digest import Digest
from twodfs.oci.documents import Descriptor, Json
from twodfs.storage.inventory import take_inventory
from twodfs.storage.store import ImageStore, base_name_of
from twodfs.storage.writing import FullError


@dataclass(frozen=True, slots=True)
class ListedImage:
    """An image of the store.

    Attributes:
        reference: its name.
        digest: of the manifest or index that it names.
        base: the reference that it was built on; empty for none.
        allotments: how many there are.
        size: bytes of all its blobs, documents included.
        problem: why the rest of it is not known; empty where all is.
    """

    reference: str
    digest: Digest
    base: str
    allotments: int
    size: int
    problem: str

    def to_dict(self) -> Json:
        """Return the image as JSON, its size in bytes."""
        return {
            "reference": self.reference,
            "digest": self.digest,
            "base": self.base or None,
            "allotments": self.allotments,
            "bytes": self.size,
            "problem": self.problem or None,
        }


@dataclass(frozen=True, slots=True)
class Pruned:
    """The result of a prune.

    Attributes:
        images: the forgotten ones.
        damaged: the partly unreadable ones; blobs of theirs that are unknown may have been removed.
        blobs: how many went.
        freed: their bytes.
        left: the bytes of the others.
    """

    images: tuple[str, ...]
    damaged: tuple[ListedImage, ...]
    blobs: int
    freed: int
    left: int

    def to_dict(self) -> Json:
        """Return the outcome as JSON, sizes in bytes."""
        return {
            "images": list(self.images),
            "damaged": [one.to_dict() for one in self.damaged],
            "blobs": self.blobs,
            "freedBytes": self.freed,
            "leftBytes": self.left,
        }


@dataclass(frozen=True, slots=True)
class _Blob:
    digest: Digest
    size: int
    used: int


def list_images(store: ImageStore) -> list[ListedImage]:
    """Return the images of ``store``, by name; damaged ones as far as they can be read."""
    return sorted((_image(store, *one)[0] for one in store.index.images()), key=lambda one: one.reference)


def remove_images(store: ImageStore, references: Sequence[str]) -> None:
    """Forget the images ``references``; their blobs stay for the next build, until they are pruned.

    Raises:
        BuildError: there is no such image; then none is forgotten.
    """
    unknown = store.index.untag(*references)
    if unknown:
        names, others = ", ".join(unknown), "" if len(unknown) == len(references) else "; nothing was removed"
        raise BuildError(f"the store {store.directory} has no image {names}{others}; 'twodfs images' lists them")


def prune(store: ImageStore, max_size: int, *, images: bool) -> Pruned:
    """Remove blobs that no image needs, longest unused first, until blobs take ``max_size`` bytes at most.

    Waits for builds and pushes to end. Blobs that an image needs stay, so that more may be left than asked for; of
    a damaged image, the part that can be read stays.

    Args:
        store: the one to shrink.
        max_size: bytes.
        images: whether to forget images as well, longest unused first, once the rest is not enough.
    """
    with store.alone():
        blobs = {digest: _Blob(digest, one.st_size, one.st_atime_ns) for digest, one in store.blobs()}
        left = sum(one.size for one in blobs.values())
        images_of = dict(store.index.images())
        needed: Counter[Digest] = Counter()
        damaged = []
        for reference, image in images_of.items():
            listed, parts = _image(store, reference, image)
            needed.update(parts)
            damaged += [listed] if listed.problem else []
        gone, freed = _remove(store, blobs, needed, left - max_size)
        forgotten: list[str] = []
        for reference in _oldest_first(store, blobs) if images else ():
            if left - freed <= max_size:
                break
            store.index.untag(reference)
            forgotten.append(reference)
            needed.subtract(_image(store, reference, images_of[reference])[1])
            more, size = _remove(store, blobs, needed, left - freed - max_size)
            gone, freed = gone + more, freed + size
        _forget_keys(store, blobs)
        store.pushes.keep(name for name in images_of if name not in forgotten)
    kept = tuple(one for one in damaged if one.reference not in forgotten)
    return Pruned(tuple(forgotten), kept, gone, freed, left - freed)


def _forget_keys(store: ImageStore, blobs: Iterable[Digest]) -> None:
    """Forget which layers the blobs that are gone were. Keys without a blob do no harm, so it may wait."""
    try:
        with closing(KeyCache(store.directory / KEYS_NAME)) as keys:
            keys.keep(blobs)
    except FullError:
        return


def _remove(store: ImageStore, blobs: dict[Digest, _Blob], needed: Counter[Digest], excess: int) -> tuple[int, int]:
    """Remove blobs that no image needs until ``excess`` bytes are gone; return blobs and bytes gone."""
    gone = freed = 0
    spare = (one for one in blobs.values() if not needed[one.digest])
    for one in sorted(spare, key=lambda one: (one.used, one.digest)):
        if freed >= excess:
            break
        store.discard(one.digest)
        del blobs[one.digest]
        gone, freed = gone + 1, freed + one.size
    return gone, freed


def _oldest_first(store: ImageStore, blobs: dict[Digest, _Blob]) -> list[str]:
    used = {name: blobs[one.digest].used if one.digest in blobs else 0 for name, one in store.index.images()}
    return sorted(used, key=lambda name: (used[name], name))


def _image(store: ImageStore, reference: str, image: Descriptor) -> tuple[ListedImage, Iterable[Digest]]:
    """Return an image, and the blobs that it needs, each once."""
    found = take_inventory(store, image)
    documents = {one.digest: len(one.body) for one in found.documents}
    blobs = {digest: one.size for digest, one in {**found.blobs, **found.allotments}.items()}
    sizes = {image.digest: image.size, **documents, **blobs}
    problem = str(found.problems[0]) if found.problems else ""
    listed = ListedImage(reference, image.digest, base_name_of(image), found.cells, sum(sizes.values()), problem)
    return listed, list(sizes)
