"""Images and partitions of an edge directory, and what of each is there.

A partition need not have been pulled: where the documents of its source are there it is cut like the proxy cuts it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from proxy.cache.images.parts import Part, distinct, parts_of, sources_of
from proxy.cache.images.reference import CachedName
from proxy.cache.images.source import AbsentError, DiskSource
from proxy.cache.images.tags import TagAnswer
from twodfs.errors import TwodfsError
from twodfs.images.source import SizedSource
from twodfs.oci.digest import Digest
from twodfs.oci.documents import Document
from twodfs.publish.cutting import CutImage, FoundImage, find_image


class UnknownImageError(TwodfsError):
    """The node has no answer for a tag; the message says what to do."""

    def __init__(self, name: CachedName) -> None:
        super().__init__(
            f"{name} is not known here: 'twodfs-proxy cache ls --images' lists what is, "
            "'twodfs-proxy prefetch' brings more"
        )


@dataclass(frozen=True, slots=True)
class CachedImage:
    """An image or a partition by its tag.

    Attributes:
        name: the tag.
        root: its manifest or index.
        content: where its documents and blobs are.
        made: the documents that are not on the disk as they are, by their digests.
        parts: all that an engine pulls, ``root`` included, and of an image with a field every allotment.
        base: the image that it was cut from; None for an image as it is.
        sources: the documents of ``base``, which the node answers the partition's tag from.
    """

    name: CachedName
    root: Document
    content: SizedSource = field(repr=False)
    made: Mapping[Digest, Document] = field(repr=False)
    parts: tuple[Part, ...] = field(repr=False)
    base: TagAnswer | None = None
    base_name: CachedName | None = None
    sources: tuple[Part, ...] = field(default=(), repr=False)

    def missing(self, disk: DiskSource) -> tuple[Part, ...]:
        """Return the parts that are not there."""
        return tuple(
            one for one in (*self.parts, *self.sources) if one.digest not in self.made and not disk.has(one.digest)
        )


class CachedImages:
    """Finds images in an edge directory."""

    def __init__(self, disk: DiskSource, tags: Mapping[CachedName, TagAnswer]) -> None:
        """``tags``: what each tag means."""
        self._disk = disk
        self._tags = tags

    def find_all(self, names: Iterable[CachedName]) -> list[CachedImage]:
        """Return the images that ``names`` mean; raises like ``find``."""
        return [self.find(name) for name in names]

    def find(self, name: CachedName) -> CachedImage:
        """Return the image that ``name`` means.

        Raises:
            UnknownImageError: the node has no answer for it.
            AbsentError: its manifest, or a document that it would be cut from, is not there.
            PartitionError, FormatError, DigestError: it cannot be cut, or its documents are damaged.
        """

        def look_up(tag: str) -> FoundImage | None:
            known = self._tags.get(name.tagged(tag))
            if known is None:
                return None
            document = self._disk.manifest(known.digest)
            return FoundImage(
                self._disk, Document(known.media_type or document.media_type, known.digest, document.body), tag
            )

        try:
            found = find_image(look_up, name.tag, repository=name.repository)
        except AbsentError:
            if not name.readings or name not in self._tags:
                raise
            found = look_up(name.tag)  # it was cut before, and its source has gone since
        if found is None:
            raise UnknownImageError(name)
        return self._described(name, found)

    def _described(self, name: CachedName, found: FoundImage) -> CachedImage:
        made: Mapping[Digest, Document] = found.source.documents if isinstance(found.source, CutImage) else {}
        parts = distinct(parts_of(found.source, found.root, allotments=True))
        if found.base is None:
            return CachedImage(name, found.root, found.source, made, parts)
        base_name = name.tagged(found.base)
        base = self._tags[base_name]
        document = self._disk.manifest(base.digest)
        sources = distinct(sources_of(self._disk, Document(base.media_type, base.digest, document.body)))
        return CachedImage(name, found.root, found.source, made, parts, base, base_name, sources)
