"""An archive read, and its content put into an edge directory: each blob is hashed before it counts.

Nothing is unpacked: content is looked up by its digest, so no name in the archive leads anywhere. What the archive says
of repositories and tags is taken as the operator's own word.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Final, cast

from proxy.cache.archive.facts import FACTS, MOST_FACTS, CarriedAnswer, Facts
from proxy.cache.images.parts import Part, PartKind, distinct, parts_of
from proxy.cache.images.reference import CachedName
from proxy.cache.images.source import AbsentError, DiskSource
from proxy.edge.disk.files import beside
from proxy.edge.disk.store import EdgeStore
from proxy.edge.offline.answers import Answers
from proxy.edge.offline.questions import class_of
from proxy.edge.rights.names import Names
from proxy.edge.rights.places import Places
from proxy.repository import Repository
from twodfs.errors import BuildError, FormatError, InvalidReferenceError
from twodfs.images.archive import Files
from twodfs.images.layout import INDEX, MARKER, read_bounded
from twodfs.images.source import copy_verified
from twodfs.images.tarball import blob_path
from twodfs.oci.digest import Digest, is_digest, verify
from twodfs.oci.documents import (
    ACCEPT_IMAGES,
    MAX_MANIFEST_BYTES,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Document,
    Index,
    annotation_in,
    own_media_type,
    parse_manifest,
)
from twodfs.progress import Advance, Progress, silent
from twodfs.storage.index import REF_NAME

_DOCUMENTS: Final = (PartKind.INDEX, PartKind.MANIFEST)
_MOST_INDEX: Final = 64 * 2**20


@dataclass(frozen=True, slots=True)
class ArchiveSource:
    """An archive as an ``ImageSource``, and behind it the directory, which may have what was left out."""

    files: Files
    disk: DiskSource

    def carries(self, digest: Digest) -> bool:
        """Say whether the archive has the content."""
        return self.files.has(blob_path(digest))

    def has(self, digest: Digest) -> bool:
        """Say whether the archive or the directory has the content."""
        return self.carries(digest) or self.disk.has(digest)

    def manifest(self, reference: str) -> Document:
        """Return the manifest with the digest ``reference``; raises ``TwodfsError``."""
        if not is_digest(reference):
            raise BuildError(f"{reference!r} is no digest")
        body = self.blob(Digest(reference), limit=MAX_MANIFEST_BYTES)
        return Document(own_media_type(body, OCI_MANIFEST), Digest(reference), body)

    def blob(self, digest: Digest, *, limit: int) -> bytes:
        """Return content of at most ``limit`` bytes, hashed; raises ``TwodfsError``."""
        if self.carries(digest):
            return verify(read_bounded(self.files, blob_path(digest), limit=limit), digest)
        return self.disk.blob(digest, limit=limit)

    def download(self, blob: Descriptor, file: BinaryIO, advance: Advance = silent) -> None:
        """Write a blob of the archive into ``file``; raises ``TwodfsError``."""
        with self.files.open(blob_path(blob.digest)) as content:
            copy_verified(content, blob, file, advance)


@dataclass(frozen=True, slots=True)
class ArrivingImage:
    """An image of an archive.

    Attributes:
        name: as it was exported.
        root: its manifest or index.
        missing: parts that neither archive nor directory have; allotments that it can do without are none.
    """

    name: CachedName
    root: Document
    missing: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Intake:
    """What an archive brings.

    Attributes:
        images: by name.
        content: to be put into the directory: blobs first, documents last, with the bytes of each.
        trees: the documents and blobs of each repository.
        answers: to be remembered.
    """

    images: tuple[ArrivingImage, ...]
    content: Mapping[Digest, int] = field(repr=False)
    trees: Mapping[Repository, Mapping[Digest, Document | None]] = field(repr=False)
    answers: tuple[CarriedAnswer, ...] = field(repr=False)

    @property
    def size(self) -> int:
        """Bytes of the content."""
        return sum(self.content.values())


def plan_intake(source: ArchiveSource) -> Intake:
    """Return what the archive brings; its documents are read and hashed, its blobs are not yet.

    Raises:
        BuildError, FormatError, DigestError: it is no archive of images, or malformed.
    """
    place = str(source.files)
    entries = _entries(source.files)
    facts = Facts()
    if source.files.has(FACTS):
        facts = Facts.decode(read_bounded(source.files, FACTS, limit=MOST_FACTS), place)
    images = []
    found: dict[Digest, Part] = {}
    trees: dict[Repository, dict[Digest, Document | None]] = {}
    for name, root in _named(source, entries, place):
        parts = distinct(parts_of(source, root, allotments=True))
        needed = [one for one in parts if one.kind is not PartKind.ALLOTMENT]
        images.append(ArrivingImage(name, root, tuple(one for one in needed if not source.has(one.digest))))
        _grow(source, trees.setdefault(name.place, {}), found, parts)
    for answer in facts.answers:
        if answer.digest:
            parts = distinct(_carried_parts(source, answer))
            _grow(source, trees.setdefault(Repository.of_key(answer.repository), {}), found, parts)
    if not images:
        raise BuildError(
            f"{place} names no image; 'twodfs-proxy cache export' and 'skopeo copy' write archives that do"
        )
    carried = [one for one in found.values() if source.carries(one.digest) and not source.disk.has(one.digest)]
    carried.sort(key=lambda one: (one.kind in _DOCUMENTS, one.digest))
    content = {one.digest: source.files.size(blob_path(one.digest)) for one in carried}
    return Intake(tuple(images), content, trees, (*facts.answers, *_own_answers(images, facts.answers)))


async def take_in(intake: Intake, source: ArchiveSource, store: EdgeStore, progress: Progress) -> None:
    """Put the content of an archive into the directory; what is there by then stays, whatever fails.

    Raises:
        BuildError, DigestError: the archive is damaged, or there is no room.
        OSError: the disk fails.
    """
    for digest, size in intake.content.items():
        if not await store.space.reserve(digest, size):
            raise BuildError(
                f"there is no room for {digest} ({size} bytes): raise edge.max_size, or make room with "
                "'twodfs-proxy cache prune'"
            )
        try:
            with progress.step(f"import {digest[:19]}", size) as advance:
                await _adopt(source, Descriptor("", digest, size, {}), store, advance)
        finally:
            store.space.release(digest)


async def remember(intake: Intake, store: EdgeStore, answers: Answers) -> None:
    """Let the node know what came: which repositories have it, which documents name it, and what tags mean.

    Raises:
        sqlite3.Error: it cannot be written.
    """
    names, places = await Names.open(store.state), await Places.open(store.state)
    for repository, tree in intake.trees.items():
        await places.remember(repository, tree)
        for document in tree.values():
            if document is not None:
                await names.name_document(repository, document)
    for answer in intake.answers:
        if not answer.digest or store.blobs.has(Digest(answer.digest)):
            await answers.put(answer.row)
    for image in intake.images:
        root = image.root
        await store.listing.named(image.name.place, image.name.tag, root.digest, root.media_type, len(root.body))
    await store.listing.write()


async def _adopt(source: ArchiveSource, blob: Descriptor, store: EdgeStore, advance: Advance) -> None:
    target = store.directory.blob(blob.digest)
    with beside(target) as (descriptor, path):
        with os.fdopen(os.dup(descriptor), "wb") as file:
            await asyncio.to_thread(source.download, blob, cast("BinaryIO", file), advance)
        await store.blobs.adopt(blob.digest, path, descriptor)


def _entries(files: Files) -> Index:
    if not (files.has(MARKER) and files.has(INDEX)):
        raise BuildError(f"{files} is no OCI archive: it lacks {MARKER} or {INDEX}")
    try:
        index = parse_manifest(read_bounded(files, INDEX, limit=_MOST_INDEX), OCI_INDEX)
    except FormatError as error:
        raise BuildError(f"{files}: {INDEX}: {error}") from None
    if not isinstance(index, Index):
        raise BuildError(f"{INDEX} of {files} is no index")
    return index


def _named(source: ArchiveSource, index: Index, place: str) -> Iterator[tuple[CachedName, Document]]:
    for entry in index.manifests:
        text = annotation_in(entry.raw, REF_NAME)
        if text is None:
            continue
        try:
            name = CachedName.parse(text)
        except InvalidReferenceError as error:
            raise BuildError(f"{place}: an image has a name that nobody could pull: {error}") from None
        found = source.manifest(entry.digest)
        yield name, Document(entry.media_type, found.digest, found.body)


def _carried_parts(source: ArchiveSource, answer: CarriedAnswer) -> Iterator[Part]:
    """Yield the parts of the document that an answer names, and of the referrers that it lists."""
    try:
        found = source.manifest(answer.digest)
    except AbsentError:
        return
    root = Document(answer.media_type or found.media_type, found.digest, found.body)
    yield from parts_of(source, root, allotments=True)


def _grow(
    source: ArchiveSource, tree: dict[Digest, Document | None], found: dict[Digest, Part], parts: tuple[Part, ...]
) -> None:
    """Put ``parts`` into the ``tree`` of a repository, and among all that was ``found``."""
    for part in parts:
        if part.digest in tree or not source.has(part.digest):
            continue
        found.setdefault(part.digest, part)
        tree[part.digest] = source.manifest(part.digest) if part.kind in _DOCUMENTS else None


def _own_answers(images: list[ArrivingImage], carried: tuple[CarriedAnswer, ...]) -> Iterator[CarriedAnswer]:
    """Yield answers for the tags that no carried answer is about, such as of another tool's archive."""
    known = {(one.repository, one.tag) for one in carried}
    for image in images:
        name = image.name
        tags = (name.tag, *(reading.base for reading in name.readings))
        place = str(name.place)
        if any((place, tag) in known for tag in tags):
            continue
        root = image.root
        headers = (
            ("Content-Type", root.media_type),
            ("Content-Length", str(len(root.body))),
            ("Docker-Content-Digest", root.digest),
            ("ETag", f'"{root.digest}"'),
        )
        accept = class_of(ACCEPT_IMAGES)
        resource = f"manifests/{name.tag}"
        yield CarriedAnswer(place, resource, accept, 200, root.digest, root.media_type, headers, "", time.time())
