"""What is in an image: its platforms, and the field of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from twodfs.build.concurrency import concurrently
from twodfs.build.documents import ANCHOR_ARTIFACT, MAX_CONFIG_BYTES, MAX_FIELD_BYTES
from twodfs.build.platforms import Platform
from twodfs.build.store import Store
from twodfs.digest import Digest, is_digest
from twodfs.errors import BuildError
from twodfs.field import Allotment, Field
from twodfs.oci import (
    MAX_MANIFEST_BYTES,
    Descriptor,
    Document,
    ImageConfig,
    Index,
    Json,
    Manifest,
    expect,
    parse_manifest,
    parse_object,
)

_AT_A_TIME = 4


class Source(Protocol):
    """Where an image is read from: a repository, or the store."""

    async def manifest(self, reference: str) -> Document:
        """Return the manifest or index of a tag or digest, verified."""

    async def blob(self, digest: Digest, *, limit: int) -> bytes:
        """Return a blob of at most ``limit`` bytes, verified."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image of the store as a ``Source``: every name but a digest means the image itself."""

    store: Store
    image: Descriptor

    async def manifest(self, reference: str) -> Document:
        """Return the manifest of a digest, else the image's own."""
        digest = Digest(reference) if is_digest(reference) else self.image.digest
        body = self.store.read(digest, limit=MAX_MANIFEST_BYTES)
        media_type = parse_object(body).get("mediaType", self.image.media_type)
        return Document(expect(media_type, str, "mediaType"), digest, body)

    async def blob(self, digest: Digest, *, limit: int) -> bytes:
        """Return a blob."""
        return self.store.read(digest, limit=limit)


@dataclass(frozen=True, slots=True)
class InspectedImage:
    """One image: how many layers it has beside the field, and the field's digest; None without one."""

    platform: Platform
    digest: Digest
    layers: int
    field: Digest | None


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a reference names.

    Attributes:
        root: the index or manifest itself.
        images: those it holds, in its order.
        fields: theirs, by digest; images share one as a rule.
        anchored: whether the index makes the allotments known to the registry.
    """

    root: Document
    images: tuple[InspectedImage, ...]
    fields: Mapping[Digest, Field]
    anchored: bool

    def to_dict(self) -> Json:
        """Return the inspection as JSON, sizes in bytes."""
        return {
            "digest": self.root.digest,
            "mediaType": self.root.media_type,
            "anchored": self.anchored,
            "images": [
                {
                    "platform": str(image.platform),
                    "digest": image.digest,
                    "layers": image.layers,
                    "field": image.field,
                }
                for image in self.images
            ],
            "fields": {digest: _field_json(field) for digest, field in self.fields.items()},
        }


async def inspect_image(source: Source, name: str) -> Inspection:
    """Return what ``name``, a tag or digest, is made of.

    Raises:
        BuildError: it holds no image.
        FormatError: a document is malformed.
        RegistryError: it is not there.
    """
    root = await source.manifest(name)
    parsed = parse_manifest(root.body, root.media_type)
    if isinstance(parsed, Manifest):
        found = [await _image(source, parsed, root.digest, None)]
    else:
        entries = [entry for _, entry in parsed.image_entries()]
        found = await concurrently((partial(_entry, source, entry) for entry in entries), limit=_AT_A_TIME)
    images = tuple(image for image in found if image)
    if not images:
        raise BuildError(f"{name} holds no image")
    fields = {}
    for digest in dict.fromkeys(image.field for image in images if image.field):
        fields[digest] = Field.parse(await source.blob(digest, limit=MAX_FIELD_BYTES))
    return Inspection(root, images, fields, isinstance(parsed, Index) and _is_anchored(parsed))


async def _entry(source: Source, entry: Descriptor) -> InspectedImage | None:
    document = await source.manifest(entry.digest)
    manifest = parse_manifest(document.body, entry.media_type)
    if not isinstance(manifest, Manifest):
        return None
    return await _image(source, manifest, entry.digest, Platform.of(entry.platform))


async def _image(
    source: Source, manifest: Manifest, digest: Digest, platform: Platform | None
) -> InspectedImage | None:
    if not manifest.is_image:
        return None
    if platform is None:
        config = await source.blob(manifest.config.digest, limit=MAX_CONFIG_BYTES)
        platform = Platform.of(ImageConfig.parse(config).raw)
    positions = manifest.field_positions()
    field = manifest.layers[positions[0]].digest if positions else None
    return InspectedImage(platform, digest, len(manifest.layers) - len(positions), field)


def _is_anchored(index: Index) -> bool:
    return any(entry.raw.get("artifactType") == ANCHOR_ARTIFACT for entry in index.manifests)


def _field_json(field: Field) -> Json:
    extent = field.extent
    return {
        "rows": 0 if extent is None else extent.last_row + 1,
        "columns": 0 if extent is None else extent.last_col + 1,
        "bytes": field.total_bytes,
        "allotments": [_allotment_json(one) for one in field],
    }


def _allotment_json(one: Allotment) -> Json:
    return {
        "row": one.row,
        "col": one.col,
        "digest": one.digest,
        "diffId": one.diff_id,
        "size": one.size,
        "mediaType": one.media_type,
    }
