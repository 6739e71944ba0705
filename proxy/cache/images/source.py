"""The content of an edge directory as a source of images. A node may go on to fill and evict meanwhile."""

from __future__ import annotations

import contextlib
import io
import os
from dataclasses import dataclass
from typing import BinaryIO

from proxy.edge.disk.directory import EdgeDirectory
from twodfs.errors import BuildError, DamagedError, DigestError
from twodfs.files import open_file, read_up_to
from twodfs.images.source import copy_verified
from twodfs.oci.digest import Digest, is_digest, verify
from twodfs.oci.documents import MAX_MANIFEST_BYTES, OCI_MANIFEST, Descriptor, Document, own_media_type
from twodfs.progress import Advance, silent


class AbsentError(DamagedError):
    """Content that is not in the directory.

    Attributes:
        digest: of it.
    """

    def __init__(self, digest: Digest) -> None:
        self.digest = digest
        super().__init__(f"{digest} is not on this node; pull the image through it, or run 'twodfs-proxy prefetch'")


@dataclass(frozen=True, slots=True)
class DiskSource:
    """An edge directory as a ``SizedSource``: only digests are names here."""

    directory: EdgeDirectory

    def has(self, digest: Digest) -> bool:
        """Say whether there is such content; whether it is whole is seen once it is read."""
        return self.directory.blob(digest).is_file()

    def manifest(self, reference: str) -> Document:
        """Return the manifest or index with the digest ``reference``.

        Raises:
            AbsentError: it is not there.
            DigestError, FormatError: it is damaged, or no manifest.
        """
        if not is_digest(reference):
            raise BuildError(f"{reference!r} is no digest")
        body = self.blob(Digest(reference), limit=MAX_MANIFEST_BYTES)
        return Document(own_media_type(body, OCI_MANIFEST), Digest(reference), body)

    def blob(self, digest: Digest, *, limit: int) -> bytes:
        """Return content of at most ``limit`` bytes; raises like ``manifest``, and ``BuildError`` where it has more."""
        with self._opened(digest) as file:
            content = read_up_to(file, limit + 1)
        if len(content) > limit:
            raise BuildError(f"{digest} has more than {limit} bytes, which is all that is read of its kind")
        return verify(content, digest)

    def size(self, digest: Digest) -> int:
        """Return the bytes of content; raises ``AbsentError``."""
        try:
            return self.directory.blob(digest).stat().st_size
        except FileNotFoundError:
            raise AbsentError(digest) from None

    def download(self, blob: Descriptor, file: BinaryIO, advance: Advance = silent) -> None:
        """Write a blob into ``file``; raises like ``manifest``."""
        with self._opened(blob.digest) as content:
            try:
                copy_verified(content, blob, file, advance)
            except DigestError:
                raise DamagedError(
                    f"{blob.digest} is damaged on this node; 'twodfs-proxy cache verify --repair' removes it"
                ) from None

    def all(self) -> list[tuple[Digest, os.stat_result]]:
        """Return the digest of all content, by their order, and what the file system says of its file."""
        found = []
        for folder in sorted((self.directory.root / "blobs").iterdir()):
            with os.scandir(folder) as entries:
                for entry in entries:
                    if is_digest(digest := f"{folder.name}:{entry.name}"):
                        with contextlib.suppress(FileNotFoundError):  # evicted meanwhile
                            found.append((Digest(digest), entry.stat(follow_symlinks=False)))
        return sorted(found, key=lambda one: one[0])

    def _opened(self, digest: Digest) -> io.FileIO:
        try:
            return open_file(self.directory.blob(digest), follow=False)
        except FileNotFoundError:
            raise AbsentError(digest) from None
