"""The documents of an image: a base with the field put on top. Pure.

The field is no file system, so it has no diff id; a partition gets those of its allotments when it is cut.
The image's config has a line for it in the history, without which it would be the base's: engines know images
by their configs, and would take the whole image for a base that they have.

Images of several platforms have one field, or several where allotments are for some platforms only.

The **anchor** is one more entry of the index: a manifest of type ``application/vnd.2dfs.allotments.v1`` whose
layers are the allotments. Without it nothing but the field knows them, so a registry's garbage collection
deletes them and ``skopeo copy --all`` leaves them behind. Container engines pass it by.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from twodfs.choices import Anchor
from twodfs.errors import within
from twodfs.field.allotment import Allotment
from twodfs.field.document import write_field, write_original_field
from twodfs.field.labels import NO_LABELS, Labels
from twodfs.field.partition import Selection
from twodfs.flatten.rewrite import complete_history, field_line
from twodfs.oci.digest import Digest
from twodfs.oci.documents import (
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
from twodfs.oci.image_config import ImageConfig
from twodfs.oci.image_settings import NO_SETTINGS, ImageSettings
from twodfs.oci.platforms import Platform

ANCHOR_ARTIFACT: Final = "application/vnd.2dfs.allotments.v1"
ANCHOR_CONFIG: Final = "application/vnd.2dfs.allotments.config.v1+json"

EPOCH: Final = "1970-01-01T00:00:00Z"

MAX_ANCHORED: Final = 16_000
"""Allotments under one anchor, so that its manifest stays below the 4 MiB that registries take."""

_UNKNOWN: Final = {"architecture": "unknown", "os": "unknown"}


@dataclass(frozen=True, slots=True)
class BaseImage:
    """One image of a base. ``entry`` is its entry in the base's index, None where it has no index."""

    manifest: Manifest
    platform: Platform
    entry: Descriptor | None = None


@dataclass(frozen=True, slots=True)
class Base:
    """The base of a field: the images, and the index they came in."""

    images: tuple[BaseImage, ...]
    index: Index | None = None


@dataclass(frozen=True, slots=True)
class FieldContent:
    """The content of a field: its allotments, and the labels of these and of its rows and columns."""

    allotments: Sequence[Allotment]
    labels: Labels = NO_LABELS


@dataclass(frozen=True, slots=True)
class Composed:
    """The documents of a new image: ``root`` is the one to be tagged, ``documents`` are all, it included."""

    root: Document
    fields: tuple[Document, ...]
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
        "config": scratch_config(platform).descriptor,
        "layers": [],
    }
    manifest = parse_manifest(Document.of(OCI_MANIFEST, content).body, OCI_MANIFEST)
    if not isinstance(manifest, Manifest):
        raise TypeError("a document of a manifest's type is a manifest")
    return BaseImage(manifest, platform)


def compose(
    base: Base,
    contents: Sequence[FieldContent],
    anchor: Anchor,
    *,
    of_image: Sequence[int] = (),
    partitions: Mapping[str, Selection] | None = None,
    settings: ImageSettings = NO_SETTINGS,
    configs: Mapping[Digest, ImageConfig] | None = None,
) -> Composed:
    """Return the documents of ``base`` with a field as the last layer of each image.

    A base that is one image stays one, unless it gets an anchor: that takes an index, of the image's kind.

    Args:
        base: the images and their index.
        contents: those of the fields.
        anchor: whether the index names the allotments.
        of_image: for each image of ``base``, the place of its field in ``contents``; all have the first by default.
        partitions: names for selections of each of the fields.
        settings: put over those of the images.
        configs: those of ``base``, by digest. Without them, documents are those of the original builder: always an
            index, since its registry cuts nothing else, and the base's own configs; it knows no named partitions,
            labels and settings, and its annotation with the image's name is left out, so the name does not change
            the bytes.

    Raises:
        FormatError: a config has more history entries than layers, or malformed settings; with the path.
    """
    fields = tuple(
        Document.of(
            FIELD_LAYER,
            write_original_field(one.allotments)
            if configs is None
            else write_field(one.allotments, partitions=partitions, labels=one.labels),
        )
        for one in contents
    )
    images: list[Document] = []
    own: list[Document] = []
    for image, at in zip(base.images, of_image or [0] * len(base.images), strict=True):
        config = None if configs is None else _own_config(image, configs, fields[at], settings)
        own += [] if config is None else [config]
        images.append(_with_field(image.manifest, config, fields[at], settings))
    below = (*fields, *{one.digest: one for one in own}.values())
    if configs is not None and base.index is None and len(images) == 1 and anchor is Anchor.NONE:
        return Composed(images[0], fields, (*below, images[0]))
    entries = [_entry(image, manifest) for image, manifest in zip(base.images, images, strict=True)]
    anchored = [one for content in contents for one in content.allotments] if anchor is Anchor.INDEX else ()
    root, anchors = with_anchors(base, entries, anchored, settings)
    return Composed(root, fields, (*below, *images, *anchors.documents, root))


@dataclass(frozen=True, slots=True)
class Anchors:
    """The anchors of an image: their configs, which are blobs, and their manifests."""

    configs: tuple[Document, ...]
    manifests: tuple[Document, ...]

    @property
    def documents(self) -> tuple[Document, ...]:
        """All of them."""
        return (*self.configs, *self.manifests)


def with_anchors(
    base: Base,
    entries: Iterable[Mapping[str, object]],
    allotments: Sequence[Allotment],
    settings: ImageSettings = NO_SETTINGS,
) -> tuple[Document, Anchors]:
    """Return an index of ``entries`` and the anchors of ``allotments``, of ``base``'s kind; and these.

    The index has the annotations of ``settings``.
    """
    pairs = list(_anchors(allotments))
    anchors = Anchors(tuple(config for config, _ in pairs), tuple(manifest for _, manifest in pairs))
    named = (
        {**one.descriptor, "artifactType": ANCHOR_ARTIFACT, "platform": dict(_UNKNOWN)} for one in anchors.manifests
    )
    return _index(base, [*map(dict, entries), *named], settings), anchors


def is_anchor(entry: Descriptor) -> bool:
    """Say whether an index's ``entry`` is an anchor, of this release or another."""
    return entry.raw.get("artifactType") == ANCHOR_ARTIFACT


def _own_config(
    image: BaseImage, configs: Mapping[Digest, ImageConfig], field: Document, settings: ImageSettings
) -> Document:
    """Return the config of a new image."""
    described = image.manifest.config
    config = configs[described.digest]
    created = {} if config.created is None else {"created": config.created}
    with within(f"config {described.digest}"):
        history = complete_history(config.history, len(image.manifest.layers), created)
        content = settings.configured(config.raw)
    return Document.of(described.media_type, {**content, "history": [*history, field_line(field.digest, created)]})


def _with_field(manifest: Manifest, config: Document | None, field: Document, settings: ImageSettings) -> Document:
    layers = [*(layer.raw for layer in manifest.layers), field.descriptor]
    named = manifest.config.raw if config is None else manifest.config.pointing_at(config)
    content = {**manifest.raw, "config": named, "layers": layers}
    return Document.of(manifest.media_type, settings.annotated(content))


def _entry(image: BaseImage, manifest: Document) -> Json:
    if image.entry is not None:
        return image.entry.pointing_at(manifest)
    return {**manifest.descriptor, "platform": image.platform.to_dict()}


def _index(base: Base, entries: list[Json], settings: ImageSettings) -> Document:
    if base.index is not None:
        media_type, content = base.index.media_type, dict(base.index.raw)
    else:
        # A client that knows Docker's types alone reads a Docker image in a Docker list, not in an OCI index.
        media_type = DOCKER_LIST if base.images[0].manifest.is_docker else OCI_INDEX
        content = {"schemaVersion": 2, "mediaType": media_type}
    content["manifests"] = entries
    return Document.of(media_type, settings.annotated(content))


def _anchors(allotments: Sequence[Allotment]) -> Iterator[tuple[Document, Document]]:
    """Yield config and manifest of each anchor.

    The config has the members that validators look for in an image's; its type is none of an image's, since tools such
    as skopeo change the compression of an image's layers when they copy it.
    """
    once = {one.digest: one for one in sorted(allotments, key=lambda one: (-one.row, -one.col))}
    kept = sorted(once.values(), key=lambda one: (one.row, one.col))
    for at in range(0, len(kept), MAX_ANCHORED):
        part = kept[at : at + MAX_ANCHORED]
        rootfs = {"type": "layers", "diff_ids": [one.diff_id for one in part]}
        config = Document.of(ANCHOR_CONFIG, {**_UNKNOWN, "rootfs": rootfs})
        content: Json = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": ANCHOR_ARTIFACT,
            "config": config.descriptor,
            "layers": [{"mediaType": one.media_type, "digest": one.digest, "size": one.size} for one in part],
        }
        yield config, Document.of(OCI_MANIFEST, content)
