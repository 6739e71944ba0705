"""Write an image or a partition into an archive: which of its parts, and under which name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from twodfs.choices import ArchiveFormat
from twodfs.concurrency import concurrently
from twodfs.errors import BuildError
from twodfs.field.document import read_field
from twodfs.flatten.budget import MAX_FIELD_BYTES
from twodfs.images.layout import CONTAINERD_NAME
from twodfs.images.source import TRANSFERS, SizedSource, allotted_blob, platform_in
from twodfs.images.tarball import Tarball, docker_table, layout_texts
from twodfs.oci.documents import Descriptor, Document, Index, Json, Manifest, parse_manifest
from twodfs.oci.platforms import Platform, is_wanted
from twodfs.progress import Progress
from twodfs.publish.archive_output import write_file, write_stream
from twodfs.storage.index import REF_NAME


@dataclass(frozen=True, slots=True)
class Exported:
    """The content of an archive. ``root`` is the document that its name means, ``size`` the archive's bytes."""

    root: Document
    format: ArchiveFormat
    platforms: tuple[Platform, ...]
    size: int


@dataclass(frozen=True, slots=True)
class _Image:
    """One manifest, and the platform it is for; None where it is no image."""

    document: Document
    manifest: Manifest
    platform: Platform | None


@dataclass(frozen=True, slots=True)
class Export:
    """A planned export.

    Attributes:
        source: where the image's parts are.
        root: its manifest or index.
        name: the image's name; None where it has only a digest.
        format: of the archive.
        platforms: which of its images; empty for all.
        file: replaced once the archive is whole; None for ``stream``.
        stream: where it goes from its first byte to its last, one blob at a time; only in the end it is known
            whether it is whole.
    """

    source: SizedSource
    root: Document
    name: str | None
    format: ArchiveFormat
    platforms: Sequence[Platform]
    file: Path | None = None
    stream: BinaryIO | None = None


def export_image(asked: Export, progress: Progress) -> Exported:
    """Write an image into an archive; the same image gives the same bytes.

    Raises:
        BuildError: it has no image for a platform, or is none that Docker could load; or the file cannot be
            written.
        DigestError: a part of it is damaged.
        RegistryError: the registry does not give it.
        UsageError: see ``check_file``.
    """
    root, images = _chosen(asked)
    shown = asked.name or root.digest
    manifests = [image.document for image in images]
    if root not in manifests:
        manifests.append(root)
    texts = list(layout_texts(_entry(root, images, asked.name), manifests))
    if asked.format is ArchiveFormat.DOCKER:
        texts.append(docker_table(_loadable(images, shown), asked.name))
    blobs = {blob.digest: blob for image in images for blob in _blobs(asked.source, image.manifest)}
    tarball = Tarball.plan(texts, blobs.values())
    if asked.file:
        write_file(tarball, asked.source, asked.file, progress)
    elif asked.stream:
        write_stream(tarball, asked.source, asked.stream, progress)
    platforms = tuple(image.platform for image in images if image.platform)
    return Exported(root, asked.format, platforms, tarball.size)


def _chosen(asked: Export) -> tuple[Document, list[_Image]]:
    """Return the images to be written, and the document that names them all."""
    root = asked.root
    top = parse_manifest(root.body, root.media_type)
    if isinstance(top, Manifest):
        image = _Image(root, top, platform_in(asked.source, top) if top.is_image else None)
        _check(asked, [image])
        return root, [image]
    entries = {entry.digest: entry for entry in top.manifests}
    jobs = (partial(_image, asked.source, top, entry) for entry in entries.values())
    images = concurrently(jobs, limit=TRANSFERS)
    if not asked.platforms and asked.format is ArchiveFormat.OCI:
        return root, images
    kept = [image for image in images if image.platform and is_wanted(image.platform, asked.platforms)]
    _check(asked, kept or [image for image in images if image.platform])
    if len(kept) == 1:
        return kept[0].document, kept
    if asked.format is ArchiveFormat.DOCKER:
        offered = ", ".join(str(image.platform) for image in kept)
        raise BuildError(f"{asked.name} is for {offered}; a docker archive holds one, --platform says which")
    content = {**top.raw, "manifests": [entries[image.document.digest].raw for image in kept]}
    return Document.of(root.media_type, content), kept


def _image(source: SizedSource, index: Index, entry: Descriptor) -> _Image:
    document = source.manifest(entry.digest)
    manifest = parse_manifest(document.body, entry.media_type)
    if not isinstance(manifest, Manifest):
        raise BuildError(f"{entry.digest} is an index within an index, which no engine can load")
    is_image = manifest.is_image and any(one is entry for _, one in index.image_entries())
    platform = Platform.of(entry.platform) if is_image else None
    return _Image(Document(entry.media_type, entry.digest, document.body), manifest, platform)


def _check(asked: Export, images: Sequence[_Image]) -> None:
    offered = [image.platform for image in images if image.platform]
    for wanted in asked.platforms:
        if not any(platform.matches(wanted) for platform in offered):
            shown = ", ".join(map(str, offered)) or "none"
            raise BuildError(f"{asked.name or asked.root.digest} has no image for {wanted}; it has {shown}")


def _loadable(images: Sequence[_Image], shown: str) -> Manifest:
    (image,) = images
    if image.platform is None:
        raise BuildError(f"{shown} is an artifact, not an image")
    if image.manifest.field_positions():
        raise BuildError(f"{shown} has a field, which no engine can load; export a partition of it, as {shown}--all")
    return image.manifest


def _entry(root: Document, images: Sequence[_Image], name: str | None) -> Json:
    """Return the index entry that names the image: in whole, as each reader expects it."""
    platform = images[0].platform if images and images[0].document == root else None
    placed = {"platform": platform.to_dict()} if platform else {}
    named = {"annotations": {REF_NAME: name, CONTAINERD_NAME: name}} if name else {}
    return {**root.descriptor, **placed, **named}


def _blobs(source: SizedSource, manifest: Manifest) -> list[Descriptor]:
    """Return config and layers, and the allotments of a field among them."""
    blobs = [manifest.config, *manifest.layers]
    for position in manifest.field_positions():
        body = source.blob(manifest.layers[position].digest, limit=MAX_FIELD_BYTES)
        jobs = (partial(allotted_blob, source, one) for one in read_field(body))
        blobs += concurrently(jobs, limit=TRANSFERS)
    return blobs
