"""The content of an image: its platforms, and the field of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from twodfs.concurrency import concurrently
from twodfs.errors import BuildError
from twodfs.field.allotment import Allotment
from twodfs.field.document import read_field
from twodfs.field.field import Field
from twodfs.field.labels import Labels, read_labels
from twodfs.field.partition import ALL, Selection
from twodfs.flatten.budget import MAX_FIELD_BYTES
from twodfs.flatten.compose import is_anchor
from twodfs.images.source import TRANSFERS, ImageSource, platform_in
from twodfs.oci.digest import Digest
from twodfs.oci.documents import (
    Descriptor,
    Document,
    Index,
    Json,
    Manifest,
    parse_manifest,
)
from twodfs.oci.platforms import Platform
from twodfs.publish.cutting import FoundImage
from twodfs.viewing.files import LayerFiles

_MOST_SEARCHES = 5_000_000
"""For all names of a field together: some seconds."""


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
class InspectedImage:
    """One image: the platform that it is for, its digest, and its manifest."""

    platform: Platform
    digest: Digest
    manifest: Manifest

    @property
    def base(self) -> tuple[Descriptor, ...]:
        """Its layers beside the field."""
        positions = self.manifest.field_positions()
        return tuple(layer for at, layer in enumerate(self.manifest.layers) if at not in positions)

    @property
    def field(self) -> Digest | None:
        """The field's digest; None without one."""
        positions = self.manifest.field_positions()
        return self.manifest.layers[positions[0]].digest if positions else None


@dataclass(frozen=True, slots=True)
class Inspection:
    """The image that a reference names.

    Attributes:
        root: the index or manifest itself.
        images: those it holds, in its order.
        fields: theirs, by digest; images share one as a rule.
        anchored: whether the index makes the allotments known to the registry.
    """

    root: Document
    images: tuple[InspectedImage, ...]
    fields: Mapping[Digest, KnownField]
    anchored: bool

    def to_dict(self, files: Mapping[Digest, LayerFiles] | None = None) -> Json:
        """Return the inspection as JSON, sizes in bytes; with the ``files`` of cells where they are known."""
        return {
            "digest": self.root.digest,
            "mediaType": self.root.media_type,
            "anchored": self.anchored,
            "images": [
                {
                    "platform": str(image.platform),
                    "digest": image.digest,
                    "mediaType": image.manifest.media_type,
                    "layers": len(image.base),
                    "field": image.field,
                }
                for image in self.images
            ],
            "fields": {digest: _field_json(known, files or {}) for digest, known in self.fields.items()},
        }


def inspect_image(image: FoundImage) -> Inspection:
    """Return the content of ``image``.

    Raises:
        BuildError: it holds no image.
        FormatError: a document is malformed.
        RegistryError, DamagedError: a part of it is not there.
    """
    found = inspect_root(image.source, image.root)
    if not found.images:
        raise BuildError(f"{image.tag} holds no image")
    return found


def inspect_root(source: ImageSource, root: Document) -> Inspection:
    """Return the content of the manifest or index ``root`` in ``source``; raises like ``inspect_image``."""
    parsed = parse_manifest(root.body, root.media_type)
    if isinstance(parsed, Manifest):
        found = [InspectedImage(platform_in(source, parsed), root.digest, parsed)] if parsed.is_image else []
    else:
        entries = [entry for _, entry in parsed.image_entries()]
        read = concurrently((partial(_entry, source, entry) for entry in entries), limit=TRANSFERS)
        found = [one for one in read if one]
    digests = dict.fromkeys(one.field for one in found if one.field)
    fields = {one: KnownField.parse(source.blob(one, limit=MAX_FIELD_BYTES)) for one in digests}
    return Inspection(root, tuple(found), fields, isinstance(parsed, Index) and _is_anchored(parsed))


def _entry(source: ImageSource, entry: Descriptor) -> InspectedImage | None:
    document = source.manifest(entry.digest)
    manifest = parse_manifest(document.body, entry.media_type)
    if not isinstance(manifest, Manifest) or not manifest.is_image:
        return None
    return InspectedImage(Platform.of(entry.platform), entry.digest, manifest)


def _is_anchored(index: Index) -> bool:
    return any(map(is_anchor, index.manifests))


@dataclass(frozen=True, slots=True)
class NamedPartition:
    """A selection that the field has a name for.

    ``allotments`` is None where so many names select too much to count; ``size`` is, too, where
    the field does not record sizes.
    """

    name: str
    selection: Selection
    allotments: int | None
    size: int | None


def named_partitions(field: Field) -> Iterator[NamedPartition]:
    """Yield the named partitions of ``field``, ``all`` first."""
    named = field.partitions
    if field.count:
        named = {ALL: field.resolve(Selection.of(names=[ALL])) or Selection.of(), **named}
    searches = _MOST_SEARCHES
    for name, selection in named.items():
        found = field.measure(selection, searches)
        if found is None:
            searches = 0
            yield NamedPartition(name, selection, None, None)
        else:
            searches -= found.searches
            yield NamedPartition(name, selection, found.allotments, found.size)


def _field_json(known: KnownField, files: Mapping[Digest, LayerFiles]) -> Json:
    field, labels = known.cells, known.labels
    extent = field.extent
    return {
        "rows": 0 if extent is None else extent.last_row + 1,
        "columns": 0 if extent is None else extent.last_col + 1,
        "bytes": field.total_bytes,
        "mediaTypes": field.media_types(),
        "partitions": {
            one.name: {"selection": str(one.selection), "allotments": one.allotments, "bytes": one.size}
            for one in named_partitions(field)
        },
        **({"labels": named} if (named := labels.to_dict()) else {}),
        "allotments": [cell_json(one, labels, files) for one in field],
    }


def cell_json(one: Allotment, labels: Labels, files: Mapping[Digest, LayerFiles]) -> Json:
    """Return a cell as JSON, with its label and files where they are known."""
    label = labels.cells.get((one.row, one.col))
    listed = files.get(one.digest)
    return {
        "row": one.row,
        "col": one.col,
        "digest": one.digest,
        "diffId": one.diff_id,
        "size": one.size,
        "mediaType": one.media_type,
        **({"label": label} if label else {}),
        **(listed.to_dict() if listed else {}),
    }
