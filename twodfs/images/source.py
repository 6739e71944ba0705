"""Where an image is read from: a repository, the store, a layout or an archive."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from io import FileIO
from typing import BinaryIO, Final, Protocol, TypeAlias

from twodfs.concurrency import scope
from twodfs.errors import BuildError, DigestError
from twodfs.field.allotment import Allotment
from twodfs.files import read_up_to
from twodfs.oci.digest import Digest, is_digest
from twodfs.oci.documents import MAX_MANIFEST_BYTES, Descriptor, Document, Manifest, own_media_type
from twodfs.oci.image_config import MAX_CONFIG_BYTES, ImageConfig
from twodfs.oci.platforms import Platform
from twodfs.progress import Advance, silent
from twodfs.storage.store import ImageStore

CHUNK: Final = 1024 * 1024
"""Bytes of a blob in memory at a time."""
TRANSFERS: Final = 4
"""Blobs under way at a time."""


class ImageSource(Protocol):
    """Where an image is read from. All that it hands out was hashed."""

    def manifest(self, reference: str) -> Document:
        """Return the manifest or index of a tag or digest."""

    def blob(self, digest: Digest, *, limit: int) -> bytes:
        """Return a blob of at most ``limit`` bytes."""

    def download(self, blob: Descriptor, file: BinaryIO, advance: Advance = silent) -> None:
        """Write a blob of any size into ``file``, from its start."""


class SizedSource(ImageSource, Protocol):
    """A source that knows how big a blob is that it was not told of."""

    def size(self, digest: Digest) -> int:
        """Return a blob's bytes."""


Fetch: TypeAlias = Callable[[Descriptor], bool]
"""Brings a blob into the store that it lacks, such as a layer of a base; says whether it could."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image of the store as a ``ImageSource``: every name but a digest means the image itself.

    ``fetch`` brings layers that the store lacks, where that is possible.
    """

    store: ImageStore
    image: Descriptor
    fetch: Fetch | None = None

    def manifest(self, reference: str) -> Document:
        """Return the manifest of a digest, else the image's own."""
        return manifest_in(self, reference, self.image)

    def blob(self, digest: Digest, *, limit: int) -> bytes:
        """Return a blob."""
        return self.store.read(digest, limit=limit)

    def size(self, digest: Digest) -> int:
        """Return a blob's bytes.

        Raises:
            DamagedError: the store does not have it.
        """
        size = self.store.size(digest)
        if size is None:
            raise self.store.lacks(digest)
        return size

    def part(self, digest: Digest, begin: int, size: int) -> bytes:
        """Return ``size`` bytes of a blob from byte ``begin`` on, fewer at its end; not verified, being a part.

        Raises:
            DamagedError: the store does not have it.
        """
        try:
            with self.store.open(digest) as file:
                file.seek(begin)
                return read_up_to(file, size)
        except FileNotFoundError:
            raise self.store.lacks(digest) from None

    def download(self, blob: Descriptor, file: BinaryIO, advance: Advance = silent) -> None:
        """Copy a blob, which is fetched first where it must be.

        Raises:
            DamagedError: the store does not have it and it cannot be fetched, or it was damaged on the disk.
        """
        is_there = self.store.has(blob.digest, blob.size) or (self.fetch is not None and self.fetch(blob))
        if not is_there:
            raise self.store.lacks(blob.digest)
        with self.store.open(blob.digest) as stored:
            try:
                copy_verified(stored, blob, file, advance)
            except DigestError:
                raise self.store.has_damaged(blob.digest) from None


def manifest_in(source: ImageSource, reference: str, root: Descriptor) -> Document:
    """Return the manifest of a digest in the one image ``root`` of ``source``, that of ``root`` for any other name.

    Raises:
        FormatError: it is no manifest.
        TwodfsError: as ``source.blob`` does.
    """
    digest = Digest(reference) if is_digest(reference) else root.digest
    body = source.blob(digest, limit=MAX_MANIFEST_BYTES)
    return Document(own_media_type(body, root.media_type), digest, body)


def platform_in(source: ImageSource, manifest: Manifest) -> Platform:
    """Return the platform that the config of an image in ``source`` names; raises like ``manifest_in``."""
    config = source.blob(manifest.config.digest, limit=MAX_CONFIG_BYTES)
    return Platform.of(ImageConfig.parse(config).raw)


def allotted_blob(source: SizedSource, one: Allotment) -> Descriptor:
    """Return an allotment's blob, whose size ``source`` says where the field does not; raises like ``source.size``."""
    size = source.size(one.digest) if one.size is None else one.size
    return Descriptor(one.media_type, one.digest, size, {})


def copy_verified(source: BinaryIO | FileIO, blob: Descriptor, file: BinaryIO, advance: Advance) -> None:
    """Write the bytes of ``source`` into ``file``, which is to be ``blob``.

    Args:
        source: read piece by piece, to its end or a byte beyond the blob's.
        blob: its digest and size are compared with the bytes read.
        file: takes the bytes.
        advance: called with their number.

    Raises:
        BuildError: it has another size.
        DigestError: it has other content.
    """
    algorithm, _, encoded = blob.digest.partition(":")
    hasher = hashlib.new(algorithm)
    size = 0
    wanted = scope()
    while chunk := source.read(min(CHUNK, blob.size + 1 - size)):
        wanted.check()
        size += len(chunk)
        if size > blob.size:
            raise BuildError(f"{blob.digest} has more than the {blob.size} bytes that its descriptor says")
        hasher.update(chunk)
        file.write(chunk)
        advance(len(chunk))
    if size != blob.size:
        raise BuildError(f"{blob.digest} has {size} bytes where its descriptor says {blob.size}")
    if hasher.hexdigest() != encoded:
        raise DigestError(f"content of {size} bytes does not hash to {blob.digest}")
