"""Blobs in a directory, by their digests. See ``store`` for their protection."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Final

from twodfs.errors import BuildError, DamagedError, DigestError
from twodfs.files import open_file, read_up_to
from twodfs.oci.digest import Digest, digest_of, verify
from twodfs.storage.writing import READ_ONLY, having_room, unreadable, writing

_SEALED: Final = 0
"""When every blob was last modified, in nanoseconds."""


@dataclass(frozen=True, slots=True)
class Ingest:
    """A blob on its way in: write to ``file``, then ``commit``; otherwise nothing stays of it."""

    file: BinaryIO
    _path: Path
    _store: BlobStore

    def commit(self, digest: Digest) -> None:
        """Give the blob its name. The caller vouches that the bytes hash to ``digest``."""
        self.file.flush()
        os.utime(self.file.fileno(), ns=(time.time_ns(), _SEALED))
        target = self._store.path(digest)
        with writing(self._store.directory):
            target.parent.mkdir(parents=True, exist_ok=True)
            self._path.replace(target)


class BlobStore:
    """The blobs of a store.

    Attributes:
        directory: of the store.
        temporary: where blobs are written, below it.
    """

    def __init__(self, directory: Path) -> None:
        """Name the places; nothing is looked at."""
        self.directory = directory
        self.temporary = directory / "tmp"

    def path(self, digest: Digest) -> Path:
        """Return where the blob of ``digest`` lies, or would."""
        algorithm, _, encoded = digest.partition(":")
        return self.directory / "blobs" / algorithm / encoded

    def has(self, digest: Digest, size: int) -> bool:
        """Say whether the store has a blob of ``size`` bytes, not written to since; note that it is used."""
        path = self.path(digest)
        try:
            status = path.stat()
            if (status.st_size, status.st_mtime_ns) != (size, _SEALED):
                return False
            os.utime(path, ns=(time.time_ns(), _SEALED))
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno not in READ_ONLY:
                raise
        return True

    def size(self, digest: Digest) -> int | None:
        """Return the bytes of a blob, None where the store has none."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def is_sound(self, digest: Digest, size: int) -> bool:
        """Say whether the store has a blob whose bytes still hash to its digest."""
        if not self.has(digest, size):
            return False
        with self.open(digest) as file:
            return hashlib.file_digest(file, digest.partition(":")[0]).hexdigest() == digest.partition(":")[2]

    def open(self, digest: Digest) -> FileIO:
        """Return the content of a blob, to be closed.

        Raises:
            BuildError: it may not be read.
            FileNotFoundError: there is none.
        """
        try:
            return open_file(self.path(digest))
        except FileNotFoundError:
            raise
        except OSError as error:
            raise unreadable(self.directory, error.strerror) from None

    def discard(self, digest: Digest) -> None:
        """Forget a blob."""
        with writing(self.directory):
            self.path(digest).unlink(missing_ok=True)

    def read(self, digest: Digest, *, limit: int) -> bytes:
        """Return a blob of at most ``limit`` bytes; verified.

        Raises:
            BuildError: it is bigger, or may not be read.
            DamagedError: the store does not have it, or it was damaged on the disk.
        """
        try:
            with self.open(digest) as file:
                content = read_up_to(file, limit + 1)
        except FileNotFoundError:
            raise self.lacks(digest) from None
        if len(content) > limit:
            raise BuildError(f"{digest} has more than {limit} bytes, which is all that is read here")
        try:
            return verify(content, digest)
        except DigestError:
            raise self.has_damaged(digest) from None

    def lacks(self, digest: Digest) -> DamagedError:
        """Return the error that says so."""
        return DamagedError(f"the store {self.directory} lacks {digest}; build the image again")

    def has_damaged(self, digest: Digest) -> DamagedError:
        """Return the error that says so."""
        return DamagedError(
            f"the store {self.directory} has {digest} damaged, its bytes are others; build the image again"
        )

    def put(self, content: bytes, digest: Digest | None = None) -> Digest:
        """Store ``content`` and return its digest: SHA-256, unless the caller verified another.

        A damaged blob of the store is written again.
        """
        digest = digest or digest_of(content)
        if not self._holds(digest, content):
            with self.ingest() as blob:
                blob.file.write(content)
                blob.commit(digest)
        return digest

    def _holds(self, digest: Digest, content: bytes) -> bool:
        try:
            if not self.has(digest, len(content)):
                return False
            with self.open(digest) as file:
                return read_up_to(file, len(content) + 1) == content
        except FileNotFoundError:  # another process found it damaged, and dropped it
            return False

    @contextmanager
    def ingest(self) -> Iterator[Ingest]:
        """Yield a place for a new blob; without a commit it is removed at the end of the block.

        The store must be in use.

        Raises:
            BuildError: there is no room for it.
        """
        with writing(self.directory):
            descriptor, name = tempfile.mkstemp(dir=self.temporary)
        path = Path(name)
        with having_room(self.directory):
            try:
                with open(descriptor, "w+b") as file:  # noqa: PTH123 - it is a descriptor, not a path
                    yield Ingest(file, path, self)
            finally:
                path.unlink(missing_ok=True)

    def blobs(self) -> Iterator[tuple[Digest, os.stat_result]]:
        """Yield every blob, damaged or not."""
        for algorithm in (self.directory / "blobs").iterdir():
            with os.scandir(algorithm) as found:
                for one in found:
                    yield Digest(f"{algorithm.name}:{one.name}"), one.stat()
