"""The content of each image under a reference: the base's layers, and the cells that it has of a field.

A 2DFS image has all cells of its field. A partition has those of its selection: it names the image that it was cut
from, whose field knows where they stood. Any other image has a base alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus

from twodfs.concurrency import concurrently
from twodfs.errors import BuildError, DamagedError, DigestError, PartitionError, RegistryError
from twodfs.field.allotment import Allotment
from twodfs.field.document import read_field
from twodfs.field.field import Field
from twodfs.field.labels import NO_LABELS, Labels, read_labels
from twodfs.field.partition import Selection
from twodfs.flatten.budget import MAX_FIELD_BYTES
from twodfs.images.source import TRANSFERS, ImageSource, platform_in
from twodfs.oci.digest import Digest, parse_digest
from twodfs.oci.documents import Descriptor, Document, Json, Manifest, parse_manifest
from twodfs.oci.platforms import Platform
from twodfs.publish.cutting import FoundImage
from twodfs.publish.origin import PartitionOrigin


@dataclass(frozen=True, slots=True)
class KnownField:
    """A field, and the names that its rows, columns and cells have for people."""

    cells: Field
    labels: Labels

    @classmethod
    def parse(cls, body: bytes) -> KnownField:
        """Return the field in ``body``; raises like ``read_field`` and ``read_labels``."""
        return cls(read_field(body), read_labels(body))


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
        sizes = {one.digest: one.size for one in self.cells}.values()
        known = [size for size in sizes if size is not None]
        return sum(known) if len(known) == len(sizes) else None

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


def contents_of(image: FoundImage) -> tuple[ImageContent, ...]:
    """Return the content of each image of ``image``, in its order.

    Raises:
        BuildError: it holds no image.
        FormatError: a document is malformed.
        RegistryError, DamagedError: a part of it is not there.
    """
    contents = _contents(image.source, image.root)
    if not contents:
        raise BuildError(f"{image.tag} holds no image")
    origin = PartitionOrigin.of(image)
    if origin is None or any(one.cells for one in contents):
        return contents
    try:
        below = _source_contents(image.uncut, parse_digest(origin.source))
        selection = Selection.parse(origin.selection)
    except (DigestError, PartitionError):  # the annotations are foreign text
        return contents
    return tuple(_as_cut(one, below, selection) for one in contents)


def _source_contents(source: ImageSource, digest: Digest) -> tuple[tuple[ImageContent, Field], ...]:
    """Return the images that a partition was cut from, with their fields; none where they are there no longer."""
    try:
        root = source.manifest(digest)
    except DamagedError:
        return ()
    except RegistryError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return ()
    return tuple((one, field) for one, field in _with_fields(source, root) if field is not None)


def _as_cut(image: ImageContent, below: Sequence[tuple[ImageContent, Field]], selection: Selection) -> ImageContent:
    """Return the partition ``image`` with the cells of ``selection``, from the image of its platform ``below``.

    As it is where it does not have these cells.
    """
    source, field = next(((one, field) for one, field in below if one.platform == image.platform), (None, None))
    if source is None or field is None:
        return image
    try:
        meaning = field.resolve(selection)
        cells = [] if meaning is None else field.select(meaning)
    except PartitionError:
        return image
    sizes = {one.digest: one.size for one in image.base}  # so far all layers count as the base's
    if not all(one.digest in sizes for one in cells):
        return image
    sized = tuple(one if one.size is not None else replace(one, size=sizes.get(one.digest)) for one in cells)
    return replace(image, base=source.base, cells=sized, labels=source.labels)


def _contents(source: ImageSource, root: Document) -> tuple[ImageContent, ...]:
    return tuple(one for one, _ in _with_fields(source, root))


def _with_fields(source: ImageSource, root: Document) -> list[tuple[ImageContent, Field | None]]:
    top = parse_manifest(root.body, root.media_type)
    if isinstance(top, Manifest):
        images = [(root.digest, top, platform_in(source, top))] if top.is_image else []
    else:
        entries = {entry.digest: entry for _, entry in top.image_entries()}.values()
        read = concurrently((partial(_manifest, source, entry) for entry in entries), limit=TRANSFERS)
        images = [one for one in read if one is not None]
    digests = {manifest.layers[at].digest for _, manifest, _ in images for at in manifest.field_positions()[:1]}
    fields = {one: KnownField.parse(source.blob(one, limit=MAX_FIELD_BYTES)) for one in sorted(digests)}
    return [_content(digest, manifest, platform, fields) for digest, manifest, platform in images]


def _manifest(source: ImageSource, entry: Descriptor) -> tuple[Digest, Manifest, Platform] | None:
    document = source.manifest(entry.digest)
    manifest = parse_manifest(document.body, entry.media_type)
    if not isinstance(manifest, Manifest) or not manifest.is_image:
        return None
    return entry.digest, manifest, Platform.of(entry.platform)


def _content(
    digest: Digest, manifest: Manifest, platform: Platform, fields: dict[Digest, KnownField]
) -> tuple[ImageContent, Field | None]:
    positions = manifest.field_positions()
    base = tuple(layer for at, layer in enumerate(manifest.layers) if at not in positions)
    image = ImageContent(platform, digest, manifest.config, base)
    if not positions:
        return image, None
    known = fields[manifest.layers[positions[0]].digest]
    return replace(image, cells=tuple(known.cells), labels=known.labels), known.cells
