"""Cut a partition from an image of the store or of a registry, with the code that the proxy runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import BinaryIO, Final, TypeAlias

from twodfs.concurrency import concurrently
from twodfs.errors import RegistryError
from twodfs.field.document import read_field
from twodfs.field.partition import PartitionTag, readings
from twodfs.flatten.budget import MAX_FIELD_BYTES, Budget
from twodfs.flatten.cut import Partition, cut
from twodfs.flatten.needs import DocumentAnswer, DocumentKind, DocumentNeed
from twodfs.images.source import Fetch, SizedSource, StoredImage
from twodfs.oci.digest import Digest
from twodfs.oci.documents import Descriptor, Document
from twodfs.oci.image_config import MAX_CONFIG_BYTES
from twodfs.progress import Advance, silent
from twodfs.registry.session import RemoteRepository
from twodfs.storage.store import ImageStore

_AT_A_TIME: Final = 8


@dataclass(frozen=True, slots=True)
class CutImage:
    """A partition as a source: its own documents, and the blobs of its source."""

    source: SizedSource
    partition: Partition
    documents: Mapping[Digest, Document]

    def manifest(self, reference: str) -> Document:
        """Return a manifest of the partition; its root for any other name."""
        return self.documents.get(Digest(reference), self.partition.root)

    def blob(self, digest: Digest, *, limit: int) -> bytes:
        """Return a blob of at most ``limit`` bytes."""
        document = self.documents.get(digest)
        return self.source.blob(digest, limit=limit) if document is None else document.body

    def size(self, digest: Digest) -> int:
        """Return a blob's bytes."""
        document = self.documents.get(digest)
        return self.source.size(digest) if document is None else len(document.body)

    def download(self, blob: Descriptor, file: BinaryIO, advance: Advance = silent) -> None:
        """Write a blob into ``file``."""
        document = self.documents.get(blob.digest)
        if document is None:
            self.source.download(blob, file, advance)
        else:
            file.write(document.body)
            advance(len(document.body))


@dataclass(frozen=True, slots=True)
class FoundImage:
    """An image: where its parts are, its manifest or index, and its tag in canonical form.

    ``base`` is the tag of the image that it was cut from; None for an image as it is.
    """

    source: SizedSource
    root: Document
    tag: str
    base: str | None = None

    @property
    def uncut(self) -> SizedSource:
        """Where its blobs are: of a partition that this process has cut, the source of the image it was cut from."""
        return self.source.source if isinstance(self.source, CutImage) else self.source


Lookup: TypeAlias = Callable[[str], FoundImage | None]
"""Finds the image that a tag names, in one place; None when it has no such tag."""


def in_store(store: ImageStore, repository: str, fetch_for: Callable[[Descriptor], Fetch | None]) -> Lookup:
    """Return a look-up in ``store`` of the tags of ``repository``, whose name includes the registry.

    ``fetch_for`` returns what brings layers of an image that the store lacks, where there is anything.
    """

    def look_up(tag: str) -> FoundImage | None:
        image = store.index.find(f"{repository}:{tag}")
        if image is None:
            return None
        source = StoredImage(store, image, fetch_for(image))
        return FoundImage(source, source.manifest(tag), tag)

    return look_up


def in_registry(repository: RemoteRepository) -> Lookup:
    """Return a look-up in a registry."""

    def look_up(tag: str) -> FoundImage | None:
        try:
            return FoundImage(repository, repository.manifest(tag), tag)
        except RegistryError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    return look_up


def find_image(look_up: Lookup, tag: str, *, repository: str) -> FoundImage | None:
    """Return the image that ``tag`` names, read as the proxy reads it: a partition first, then the tag itself.

    ``TAG--image`` is the image under ``TAG`` as it is, where the tag itself is none. None when there is neither the
    tag nor a tag that it could be a partition of.

    Raises:
        PartitionError: the partition selects nothing, or too much.
        FormatError: the image is malformed.
        RegistryError: the registry does not give it.
    """
    for reading in readings(tag):
        base = look_up(reading.base)
        image = _partition(base, reading, repository) if base else None
        if image is not None:
            return FoundImage(image, image.partition.root, str(reading), reading.base)
    itself = next((one.base for one in readings(tag) if one.is_of_image), None)
    return look_up(tag) or (None if itself is None else look_up(itself))


def _partition(base: FoundImage, reading: PartitionTag, repository: str) -> CutImage | None:
    steps = cut(base.root, reading.selection(), image=f"{repository}:{reading.base}")
    budget = Budget()  # an image whose documents are larger than announced is not read to the end
    try:
        needs = next(steps)
        while True:
            jobs = [partial(_answer, base.source, need, budget) for need in needs]
            answers = concurrently(jobs, limit=_AT_A_TIME)
            needs = steps.send(dict(zip(needs, answers, strict=True)))
    except StopIteration as done:
        partition: Partition | None = done.value
    if partition is None:
        return None
    return CutImage(base.source, partition, {one.digest: one for one in partition.documents})


def _answer(source: SizedSource, need: DocumentNeed, budget: Budget) -> DocumentAnswer:
    match need.kind:
        case DocumentKind.MANIFEST:
            body = source.manifest(need.digest).body
            budget.take(body)
            return body
        case DocumentKind.CONFIG:
            body = source.blob(need.digest, limit=MAX_CONFIG_BYTES)
            budget.take(body)
            return body
        case DocumentKind.FIELD:
            return read_field(source.blob(need.digest, limit=MAX_FIELD_BYTES))
        case DocumentKind.SIZE:
            return source.size(need.digest)
