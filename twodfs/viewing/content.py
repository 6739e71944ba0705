"""The content of each image under a reference: the base's layers, and the cells that it has of a field.

A 2DFS image has all cells of its field. A partition has those of its selection: it names the image that it was cut
from, whose field knows where they stood. Any other image has a base alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from http import HTTPStatus

from twodfs.errors import DamagedError, DigestError, PartitionError, RegistryError
from twodfs.field.allotment import Allotment
from twodfs.field.labels import NO_LABELS, Labels
from twodfs.field.partition import Selection
from twodfs.images.source import ImageSource
from twodfs.oci.digest import Digest, parse_digest
from twodfs.oci.documents import Descriptor, Json
from twodfs.oci.platforms import Platform
from twodfs.publish.cutting import FoundImage
from twodfs.publish.origin import PartitionOrigin
from twodfs.viewing.inspection import InspectedImage, Inspection, inspect_image, inspect_root


@dataclass(frozen=True, slots=True)
class ImageContent:
    """What an image is made of.

    Attributes:
        platform: that it is for.
        digest: of its manifest.
        config: its config.
        base: the layers of its base, in their order.
        cells: the allotments that it has, in row-major order.
        labels: names of the field's rows, columns and cells.
    """

    platform: Platform
    digest: Digest
    config: Descriptor
    base: tuple[Descriptor, ...]
    cells: tuple[Allotment, ...] = ()
    labels: Labels = NO_LABELS

    @property
    def cell_bytes(self) -> int | None:
        """The bytes of the cells, each blob once; None where they are not all recorded."""
        return known_total({one.digest: one.size for one in self.cells}.values())

    @property
    def base_bytes(self) -> int:
        """The bytes of the base's layers, each blob once."""
        return sum({one.digest: one.size for one in self.base}.values())

    @property
    def layers(self) -> int:
        """How many layers an engine unpacks: those of the base, and one for each blob of the cells."""
        return len(self.base) + len({one.digest for one in self.cells})

    @property
    def size(self) -> int | None:
        """The bytes of all layers."""
        return None if self.cell_bytes is None else self.base_bytes + self.cell_bytes

    def to_dict(self) -> Json:
        """Return the costs as JSON, sizes in bytes."""
        return {
            "platform": str(self.platform),
            "digest": self.digest,
            "cells": len(self.cells),
            "cellBytes": self.cell_bytes,
            "baseLayers": len(self.base),
            "baseBytes": self.base_bytes,
            "layers": self.layers,
            "bytes": self.size,
        }


def known_total(sizes: Iterable[int | None]) -> int | None:
    """Return the sum of ``sizes``; None where one of them is not known."""
    total = 0
    for one in sizes:
        if one is None:
            return None
        total += one
    return total


def contents_of(image: FoundImage) -> tuple[ImageContent, ...]:
    """Return the content of each image of ``image``, in its order.

    Raises:
        BuildError: it holds no image.
        FormatError: a document is malformed.
        RegistryError, DamagedError: a part of it is not there.
    """
    found = inspect_image(image)
    contents = tuple(_content(one, found) for one in {one.digest: one for one in found.images}.values())
    origin = PartitionOrigin.of(image)
    if origin is None or any(one.cells for one in contents):
        return contents
    try:
        below = _inspected_source(image.uncut, parse_digest(origin.source))
        selection = Selection.parse(origin.selection)
    except (DigestError, PartitionError):  # the annotations are foreign text
        return contents
    return contents if below is None else tuple(_as_cut(one, below, selection) for one in contents)


def _content(image: InspectedImage, found: Inspection) -> ImageContent:
    content = ImageContent(image.platform, image.digest, image.manifest.config, image.base)
    if image.field is None:
        return content
    known = found.fields[image.field]
    return replace(content, cells=tuple(known.cells), labels=known.labels)


def _inspected_source(source: ImageSource, digest: Digest) -> Inspection | None:
    """Return the image that a partition was cut from; None where it is there no longer."""
    try:
        root = source.manifest(digest)
    except DamagedError:
        return None
    except RegistryError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return None
    return inspect_root(source, root)


def _as_cut(image: ImageContent, below: Inspection, selection: Selection) -> ImageContent:
    """Return the partition ``image`` with the cells of ``selection``, from the image of its platform ``below``.

    As it is where it does not have these cells.
    """
    source = next((one for one in below.images if one.field and one.platform == image.platform), None)
    if source is None or source.field is None:
        return image
    known = below.fields[source.field]
    try:
        meaning = known.cells.resolve(selection)
        cells = [] if meaning is None else known.cells.select(meaning)
    except PartitionError:
        return image
    sizes = {one.digest: one.size for one in image.base}  # so far all layers count as the base's
    if not all(one.digest in sizes for one in cells):
        return image
    sized = tuple(one if one.size is not None else replace(one, size=sizes.get(one.digest)) for one in cells)
    return replace(image, base=source.base, cells=sized, labels=known.labels)
