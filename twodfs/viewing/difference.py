"""Two images compared: which cells differ, and the blobs that an update from the one to the other moves.

An update moves the blobs that the new image has and the old one has not, wherever they stand: a cell that went to
another place moves nothing. Manifests are not counted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from twodfs.concurrency import concurrently
from twodfs.field.allotment import Allotment
from twodfs.images.source import TRANSFERS, SizedSource
from twodfs.oci.digest import Digest
from twodfs.oci.documents import Json
from twodfs.oci.platforms import Platform
from twodfs.viewing.content import ImageContent, known_total


@dataclass(frozen=True, slots=True)
class CellChange:
    """A cell that differs: as it was, and as it is; None where there was or is none."""

    old: Allotment | None
    new: Allotment | None
    label: str = ""

    @property
    def cell(self) -> Allotment:
        """The cell as it is, else as it was."""
        one = self.new or self.old
        if one is None:
            raise TypeError("a change is one of something")
        return one

    def to_dict(self) -> Json:
        """Return it as JSON."""
        label = {"label": self.label} if self.label else {}
        sides = {"old": self.old, "new": self.new}
        told = {name: {"digest": one.digest, "size": one.size} for name, one in sides.items() if one}
        return {"row": self.cell.row, "col": self.cell.col, **label, **told}


@dataclass(frozen=True, slots=True)
class Moved:
    """Blobs that an update moves, and their bytes: of cells, of the base's layers, and of the config."""

    blobs: int
    cells: int
    base: int
    config: int

    @property
    def size(self) -> int:
        """All bytes."""
        return self.cells + self.base + self.config

    def to_dict(self) -> Json:
        """Return it as JSON."""
        return {
            "blobs": self.blobs,
            "bytes": self.size,
            "cellBytes": self.cells,
            "baseBytes": self.base,
            "configBytes": self.config,
        }


@dataclass(frozen=True, slots=True)
class ImageDifference:
    """The images of one platform, compared.

    Attributes:
        platform: that they are for.
        old: the digest of the old manifest; None where there was no such image.
        new: of the new one; None where there is none any more.
        added: cells where there was none.
        removed: cells that are gone.
        changed: cells with other content.
        unchanged: how many cells are as they were.
        moved: by an update.
        size: all bytes of the new image; None where its field does not record them.
    """

    platform: Platform
    old: Digest | None
    new: Digest | None
    added: tuple[CellChange, ...]
    removed: tuple[CellChange, ...]
    changed: tuple[CellChange, ...]
    unchanged: int
    moved: Moved
    size: int | None

    @property
    def is_empty(self) -> bool:
        """Whether an update moves nothing and no cell differs."""
        return not (self.moved.blobs or self.added or self.removed or self.changed) and bool(self.old) is bool(self.new)

    def to_dict(self) -> Json:
        """Return it as JSON, sizes in bytes."""
        return {
            "platform": str(self.platform),
            "old": self.old,
            "new": self.new,
            "added": [one.to_dict() for one in self.added],
            "removed": [one.to_dict() for one in self.removed],
            "changed": [one.to_dict() for one in self.changed],
            "unchanged": self.unchanged,
            "moved": self.moved.to_dict(),
            "bytes": self.size,
        }


def differences(
    old: Sequence[ImageContent], new: Sequence[ImageContent], source: SizedSource
) -> tuple[ImageDifference, ...]:
    """Return the differences platform by platform, those of ``new`` first; linear in the cells.

    Args:
        old: the images that devices have.
        new: those that they are to have.
        source: where the new ones are; it is asked for sizes that their field does not record.

    Raises:
        RegistryError, DamagedError: it does not tell a size.
    """
    had = {one.platform: one for one in old}
    have = {one.platform: one for one in new}
    return tuple(_difference(at, had.get(at), have.get(at), source) for at in dict.fromkeys([*have, *had]))


def _difference(
    platform: Platform, old: ImageContent | None, new: ImageContent | None, source: SizedSource
) -> ImageDifference:
    there = _blobs(old)
    before, after = _cells(old), _cells(new)
    unsized = [one for one in after.values() if one.size is None and one.digest not in there]
    after |= zip([(one.row, one.col) for one in unsized], _sized(unsized, source), strict=True)
    changes = [_change(place, before, after, (new, old)) for place in sorted({*before, *after})]
    differing = [one for one in changes if one.old is None or one.new is None or one.old.digest != one.new.digest]
    return ImageDifference(
        platform=platform,
        old=old.digest if old else None,
        new=new.digest if new else None,
        added=tuple(one for one in differing if one.old is None),
        removed=tuple(one for one in differing if one.new is None),
        changed=tuple(one for one in differing if one.old and one.new),
        unchanged=len(changes) - len(differing),
        moved=_moved(new, after.values(), there.keys()),
        size=known_total(_blobs(new).values()),
    )


def _cells(image: ImageContent | None) -> dict[tuple[int, int], Allotment]:
    return {(one.row, one.col): one for one in image.cells} if image else {}


def _change(
    place: tuple[int, int],
    before: Mapping[tuple[int, int], Allotment],
    after: Mapping[tuple[int, int], Allotment],
    images: Iterable[ImageContent | None],
) -> CellChange:
    labels = (one.labels.cells[place] for one in images if one and place in one.labels.cells)
    return CellChange(before.get(place), after.get(place), next(labels, ""))


def _sized(cells: Sequence[Allotment], source: SizedSource) -> list[Allotment]:
    digests = list(dict.fromkeys(one.digest for one in cells))
    found = concurrently((partial(source.size, one) for one in digests), limit=TRANSFERS)
    sizes = dict(zip(digests, found, strict=True))
    return [replace(one, size=sizes[one.digest]) for one in cells]


def _blobs(image: ImageContent | None) -> dict[Digest, int | None]:
    """Return the blobs of an image, and their bytes as far as they are known."""
    if image is None:
        return {}
    described: dict[Digest, int | None] = {one.digest: one.size for one in (image.config, *image.base)}
    return described | {one.digest: one.size for one in image.cells}


def _moved(new: ImageContent | None, cells: Iterable[Allotment], there: Collection[Digest]) -> Moved:
    if new is None:
        return Moved(0, 0, 0, 0)
    of_cells = {one.digest: one.size or 0 for one in cells if one.digest not in there}
    of_base = {one.digest: one.size for one in new.base if one.digest not in there and one.digest not in of_cells}
    config = [] if new.config.digest in there else [new.config.size]
    blobs = len(of_cells) + len(of_base) + len(config)
    return Moved(blobs, sum(of_cells.values()), sum(of_base.values()), sum(config))
