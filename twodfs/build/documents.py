"""The documents of an image: a base with the field put on top. Pure.

Base configs stay as they are: the field is no file system, so it has no diff id; a partition gets those of
its allotments when it is cut.

The **anchor** is one more entry of the index: a manifest of type ``application/vnd.2dfs.allotments.v1`` whose
layers are the allotments. Without it nothing but the field knows them, so a registry's garbage collection
deletes them and ``skopeo copy --all`` leaves them behind. Container engines pass it by.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from twodfs.build.choices import Anchor
from twodfs.build.platforms import Platform
from twodfs.digest import digest_of
from twodfs.field import Allotment, write_field, write_original_field
from twodfs.oci import (
    DOCKER_LIST,
    FIELD_LAYER,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Document,
    Index,
    Json,
    Manifest,
    parse_manifest,
)
from twodfs.partition import Selection

ANCHOR_ARTIFACT: Final = "application/vnd.2dfs.allotments.v1"
EMPTY_TYPE: Final = "application/vnd.oci.empty.v1+json"
EMPTY_BLOB: Final = b"{}"
"""image-spec, manifest.md, "Guidance for an Empty Descriptor"."""

MAX_CONFIG_BYTES: Final = 8 * 1024 * 1024

EPOCH: Final = "1970-01-01T00:00:00Z"

MAX_ANCHORED: Final = 16_000
"""Allotments under one anchor, so that its manifest stays below the 4 MiB that registries take."""

ORIGINAL_NAME: Final = "2dfs.image.name"
"""The annotation by which the original builder knows its images."""

_UNKNOWN: Final = {"architecture": "unknown", "os": "unknown"}


@dataclass(frozen=True, slots=True)
class BaseImage:
    """One image of a base. ``entry`` is what the base's index says of it, None where it has no index."""

    manifest: Manifest
    platform: Platform
    entry: Descriptor | None = None


@dataclass(frozen=True, slots=True)
class Base:
    """What a field is put on: the images, and the index they came in."""

    images: tuple[BaseImage, ...]
    index: Index | None = None


@dataclass(frozen=True, slots=True)
class Composed:
    """The documents of a new image: ``root`` is the one to be tagged, ``documents`` are all, it included."""

    root: Document
    field: Document
    documents: tuple[Document, ...]


def scratch_config(platform: Platform) -> Document:
    """Return the config of an image without layers."""
    content: Json = {
        "created": EPOCH,
        **platform.to_dict(),
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": []},
        "history": [],
    }
    return Document.of(OCI_CONFIG, content)


def scratch_image(platform: Platform) -> BaseImage:
    """Return an image without layers."""
    content: Json = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": describe(scratch_config(platform)),
        "layers": [],
    }
    manifest = parse_manifest(Document.of(OCI_MANIFEST, content).body, OCI_MANIFEST)
    if not isinstance(manifest, Manifest):
        raise TypeError("a document of a manifest's type is a manifest")
    return BaseImage(manifest, platform)


def compose(
    base: Base,
    allotments: Sequence[Allotment],
    anchor: Anchor,
    *,
    partitions: Mapping[str, Selection] | None = None,
    original_name: str = "",
) -> Composed:
    """Return the documents of ``base`` with a field of ``allotments`` as the last layer of each image.

    ``partitions`` name selections of the field. A base that is one image stays one, unless it gets an anchor:
    that takes an index, of the image's kind. With an ``original_name``, documents are those of the original
    builder, for an image of that name; it knows no named partitions.
    """
    named = write_field(allotments, partitions=partitions)
    written = write_original_field(allotments) if original_name else named
    field = Document.of(FIELD_LAYER, written)
    images = [_with_field(image.manifest, field) for image in base.images]
    if base.index is None and len(images) == 1 and anchor is Anchor.NONE:
        return Composed(images[0], field, (field, images[0]))
    entries = [_entry(image, made) for image, made in zip(base.images, images, strict=True)]
    anchored = allotments if anchor is Anchor.INDEX else ()
    root, anchors = with_anchors(base, entries, anchored, original_name=original_name)
    return Composed(root, field, (field, *images, *anchors, root))


def with_anchors(
    base: Base,
    entries: Iterable[Mapping[str, object]],
    allotments: Sequence[Allotment],
    *,
    original_name: str = "",
) -> tuple[Document, tuple[Document, ...]]:
    """Return an index of ``entries`` and the anchors of ``allotments``, of ``base``'s kind; and these."""
    anchors = tuple(_anchors(allotments))
    named = (
        {**describe(one), "artifactType": ANCHOR_ARTIFACT, "platform": dict(_UNKNOWN)} for one in anchors
    )
    return _index(base, [*map(dict, entries), *named], original_name), anchors


def describe(document: Document) -> Json:
    """Return a descriptor of ``document``."""
    return {"mediaType": document.media_type, "digest": document.digest, "size": len(document.body)}


def _with_field(manifest: Manifest, field: Document) -> Document:
    layers = [*(layer.raw for layer in manifest.layers), describe(field)]
    return Document.of(manifest.media_type, {**manifest.raw, "layers": layers})


def _entry(image: BaseImage, made: Document) -> Json:
    if image.entry is not None:
        return image.entry.pointing_at(made)
    return {**describe(made), "platform": image.platform.to_dict()}


def _index(base: Base, entries: list[Json], original_name: str) -> Document:
    if base.index is not None:
        media_type, content = base.index.media_type, dict(base.index.raw)
    else:
        # A client that knows Docker's types alone reads a Docker image in a Docker list, not in an OCI index.
        media_type = DOCKER_LIST if base.images[0].manifest.is_docker else OCI_INDEX
        content = {"schemaVersion": 2, "mediaType": media_type}
    content["manifests"] = entries
    if original_name:
        content["annotations"] = {**content.get("annotations", {}), ORIGINAL_NAME: original_name}
    return Document.of(media_type, content)


def _anchors(allotments: Sequence[Allotment]) -> Iterator[Document]:
    layers: dict[str, Json] = {}
    for one in sorted(allotments, key=lambda one: (one.row, one.col)):
        layers.setdefault(one.digest, {"mediaType": one.media_type, "digest": one.digest, "size": one.size})
    kept = list(layers.values())
    empty = {"mediaType": EMPTY_TYPE, "digest": digest_of(EMPTY_BLOB), "size": len(EMPTY_BLOB)}
    for at in range(0, len(kept), MAX_ANCHORED):
        content: Json = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": ANCHOR_ARTIFACT,
            "config": empty,
            "layers": kept[at : at + MAX_ANCHORED],
        }
        yield Document.of(OCI_MANIFEST, content)
