"""The parts that an image is made of: content by digest, with its size and the part that it plays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from proxy.cache.images.source import AbsentError, DiskSource
from twodfs.errors import FormatError
from twodfs.field.document import read_field
from twodfs.flatten.budget import MAX_FIELD_BYTES
from twodfs.images.source import ImageSource
from twodfs.oci.digest import Digest
from twodfs.oci.documents import FIELD_LAYER, IMAGE_TYPES, INDEX_TYPES, Descriptor, Document, Index, parse_manifest
from twodfs.oci.platforms import Platform, is_wanted

_MOST_LEVELS: Final = 4
"""Of indexes in indexes, of which the usual ones have one."""


class PartKind(StrEnum):
    """The part that content plays in an image."""

    INDEX = "index"
    MANIFEST = "manifest"
    CONFIG = "config"
    LAYER = "layer"
    FIELD = "field"
    ALLOTMENT = "allotment"
    REFERRER = "referrer"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Part:
    """Content that an image needs; ``size`` in bytes, None where no document says it."""

    digest: Digest
    size: int | None
    kind: PartKind


def parts_of(
    source: ImageSource, root: Document, *, allotments: bool, platforms: tuple[Platform, ...] = (), level: int = 0
) -> Iterator[Part]:
    """Yield the parts of the image ``root``, itself first; parts below a document that is missing are left out.

    Args:
        source: has the documents.
        root: its manifest or index.
        allotments: whether those of its field, if it has one, are parts as well.
        platforms: of the images of an index; empty for all.
        level: how many indexes are above it.

    Raises:
        FormatError: a document is malformed, or there are indexes in indexes without an end.
    """
    if level > _MOST_LEVELS:
        raise FormatError(f"{root.digest} is an index in an index in an index, more than {_MOST_LEVELS} deep")
    yield Part(root.digest, len(root.body), kind_of(root.media_type))
    try:
        parsed = parse_manifest(root.body, root.media_type)
    except FormatError:
        return  # such as a signature of a kind that we do not know
    if isinstance(parsed, Index):
        for entry in wanted_entries(parsed, platforms):
            yield from _below(source, entry, allotments=allotments, level=level + 1)
        return
    yield Part(parsed.config.digest, parsed.config.size, PartKind.CONFIG)
    for layer in parsed.layers:
        is_field = layer.media_type == FIELD_LAYER
        yield Part(layer.digest, layer.size, PartKind.FIELD if is_field else PartKind.LAYER)
        if is_field and allotments:
            yield from _allotments(source, layer.digest)


def wanted_entries(index: Index, platforms: tuple[Platform, ...]) -> Iterator[Descriptor]:
    """Yield the entries of ``index``: with ``platforms``, their images alone."""
    images = {entry.digest for _, entry in index.image_entries()}
    for entry in index.manifests:
        if not platforms or (entry.digest in images and is_wanted(Platform.of(entry.platform), platforms)):
            yield entry


def distinct(parts: Iterable[Part]) -> tuple[Part, ...]:
    """Return each part once, in their order."""
    return tuple({one.digest: one for one in parts}.values())


def kind_of(media_type: str) -> PartKind:
    """Return the part that a document of ``media_type`` plays."""
    return PartKind.INDEX if media_type in INDEX_TYPES else PartKind.MANIFEST


def _below(source: ImageSource, entry: Descriptor, *, allotments: bool, level: int) -> Iterator[Part]:
    if entry.media_type not in IMAGE_TYPES:
        yield Part(entry.digest, entry.size, PartKind.OTHER)
        return
    try:
        found = source.manifest(entry.digest)
    except AbsentError:
        yield Part(entry.digest, entry.size, kind_of(entry.media_type))
        return
    document = Document(entry.media_type, found.digest, found.body)
    yield from parts_of(source, document, allotments=allotments, level=level)


def _allotments(source: ImageSource, field: Digest) -> Iterator[Part]:
    try:
        cells = read_field(source.blob(field, limit=MAX_FIELD_BYTES))
    except AbsentError:
        return
    for one in cells:
        yield Part(one.digest, one.size, PartKind.ALLOTMENT)


def sources_of(source: DiskSource, root: Document) -> Iterator[Part]:
    """Yield the documents of a 2DFS image that its partitions are cut from: no layers and no allotments."""
    for part in parts_of(source, root, allotments=False):
        if part.kind not in (PartKind.LAYER, PartKind.OTHER):
            yield part
