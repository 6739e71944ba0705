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
from twodfs.images.source import ImageSource, platform_in
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
from twodfs.viewing.files import LayerFiles

_AT_A_TIME = 4
_MOST_SEARCHES = 5_000_000
"""For all names of a field together: some seconds."""


@dataclass(frozen=True, slots=True)
class InspectedImage:
    """One image: how many layers it has beside the field, and the field's digest; None without one."""

    platform: Platform
    digest: Digest
    media_type: str
    layers: int
    field: Digest | None


@dataclass(frozen=True, slots=True)
class Inspection:
    """The image that a reference names.

    Attributes:
        root: the index or manifest itself.
        images: those it holds, in its order.
        fields: theirs, by digest; images share one as a rule.
        labels: the names in each for people.
        anchored: whether the index makes the allotments known to the registry.
    """

    root: Document
    images: tuple[InspectedImage, ...]
    fields: Mapping[Digest, Field]
    labels: Mapping[Digest, Labels]
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
                    "mediaType": image.media_type,
                    "layers": image.layers,
                    "field": image.field,
                }
                for image in self.images
            ],
            "fields": {
                digest: _field_json(field, self.labels[digest], files or {}) for digest, field in self.fields.items()
            },
        }


def inspect_image(source: ImageSource, name: str) -> Inspection:
    """Return the content of the image ``name``, a tag or digest.

    Raises:
        BuildError: it holds no image.
        FormatError: a document is malformed.
        RegistryError: it is not there.
    """
    root = source.manifest(name)
    parsed = parse_manifest(root.body, root.media_type)
    if isinstance(parsed, Manifest):
        found = [_image(source, parsed, root.digest, None)]
    else:
        entries = [entry for _, entry in parsed.image_entries()]
        found = concurrently((partial(_entry, source, entry) for entry in entries), limit=_AT_A_TIME)
    images = tuple(image for image in found if image)
    if not images:
        raise BuildError(f"{name} holds no image")
    fields, labels = {}, {}
    for digest in dict.fromkeys(image.field for image in images if image.field):
        body = source.blob(digest, limit=MAX_FIELD_BYTES)
        fields[digest], labels[digest] = read_field(body), read_labels(body)
    return Inspection(root, images, fields, labels, isinstance(parsed, Index) and _is_anchored(parsed))


def _entry(source: ImageSource, entry: Descriptor) -> InspectedImage | None:
    document = source.manifest(entry.digest)
    manifest = parse_manifest(document.body, entry.media_type)
    if not isinstance(manifest, Manifest):
        return None
    return _image(source, manifest, entry.digest, Platform.of(entry.platform))


def _image(source: ImageSource, manifest: Manifest, digest: Digest, platform: Platform | None) -> InspectedImage | None:
    if not manifest.is_image:
        return None
    if platform is None:
        platform = platform_in(source, manifest)
    positions = manifest.field_positions()
    field = manifest.layers[positions[0]].digest if positions else None
    return InspectedImage(platform, digest, manifest.media_type, len(manifest.layers) - len(positions), field)


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


def _field_json(field: Field, labels: Labels, files: Mapping[Digest, LayerFiles]) -> Json:
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
