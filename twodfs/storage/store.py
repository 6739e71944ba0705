"""The content store: an OCI layout directory (image-spec, image-layout.md), so that other tools can read it.

Images are found by their full reference, in the annotation ``org.opencontainers.image.ref.name``::

    skopeo inspect oci:$HOME/.cache/twodfs:ghcr.io/you/model:v1

A blob gets its name once it is complete; the index is replaced in one step, under a lock. Several processes
may use a store at the same time: what is written into ``tmp`` is written while the store is in use, and swept
while it is not.

Is a blob still what was written? Its name comes with a modification time of 0, so a blob that was written to
since, or cut short by a power failure, is one of another size or time, and counts as absent. A bit that flips
on the disk shows when the blob is read: a document whenever it is needed, a layer for a push or an export, or
with ``--checksum``. A document that is made again is held against what is stored. That is why blobs are not
forced to the disk, which takes as long as hashing them: all of them can be made again, and no damaged one
leaves the store. A blob's access time is when it was last asked for; ``prune`` goes by it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Final

import orjson

from twodfs.errors import BuildError, DamagedError, DigestError, FormatError
from twodfs.files import open_file, read_up_to
from twodfs.oci.digest import Digest, digest_of, verify
from twodfs.oci.documents import (
    OCI_INDEX,
    Descriptor,
    Document,
    Index,
    Json,
    annotation_in,
    parse_manifest,
    parse_object,
)
from twodfs.storage.writing import (
    READ_ONLY,
    FullError,
    having_room,
    overwrite,
    replace,
    unreadable,
    unusable,
    writing,
)

REF_NAME: Final = "org.opencontainers.image.ref.name"
BASE_NAME: Final = "org.opencontainers.image.base.name"
MAX_INDEX_BYTES: Final = 64 * 1024 * 1024

_SEALED = 0
"""When every blob was last modified, in nanoseconds."""
_LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'


def default_directory() -> Path:
    """Return ``$TWODFS_STORE``, else ``twodfs`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.

    Raises:
        BuildError: neither is known, as for a user whom the machine does not know.
    """
    chosen = os.environ.get("TWODFS_STORE")
    if chosen:
        return Path(chosen)
    cache = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(cache) if cache else Path.home() / ".cache") / "twodfs"
    except RuntimeError:
        raise BuildError("there is no home directory for the store; TWODFS_STORE names one") from None


@dataclass(frozen=True, slots=True)
class Ingest:
    """A blob on its way in: write to ``file``, then ``commit``; otherwise nothing stays of it."""

    file: BinaryIO
    _path: Path
    _store: ImageStore

    def commit(self, digest: Digest) -> None:
        """Give the blob its name. Whoever wrote the bytes vouches that they hash to ``digest``."""
        self.file.flush()
        os.utime(self.file.fileno(), ns=(time.time_ns(), _SEALED))
        target = self._store.path(digest)
        with writing(self._store.directory):
            target.parent.mkdir(parents=True, exist_ok=True)
            self._path.replace(target)


class ImageStore:
    """A store in a directory, made when it is not there."""

    def __init__(self, directory: Path) -> None:
        """Open the store.

        Raises:
            BuildError: the directory cannot be made or written, or is a layout of another version.
        """
        self.directory = directory
        try:
            self.temporary = directory / "tmp"
            self.temporary.mkdir(parents=True, exist_ok=True)
            (directory / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
            marker = directory / "oci-layout"
            if not marker.exists():
                with self._locked():
                    replace(marker, _LAYOUT)
            self._check_version(marker)
        except OSError as error:
            raise unusable(directory, error.strerror) from None

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

        What the store has damaged is written again.
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
        except FileNotFoundError:  # somebody found it damaged, and dropped it
            return False

    @contextmanager
    def ingest(self) -> Iterator[Ingest]:
        """Yield a place for a new blob; what is not committed at the end of the block is gone.

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

    def tag(self, reference: str, document: Document, annotations: Mapping[str, str]) -> None:
        """Let ``reference`` name ``document``, a manifest or index of the store, from now on."""
        entry = {
            "mediaType": document.media_type,
            "digest": document.digest,
            "size": len(document.body),
            "annotations": {**annotations, REF_NAME: reference},
        }
        with self._locked():
            index = self._index()
            if any(one.raw == entry for one in index.manifests):
                return
            self._write_index(index, [one for one in index.manifests if _name(one) != reference], entry)

    def untag(self, *references: str) -> tuple[str, ...]:
        """Let ``references`` name nothing; their blobs stay. Return those that do already, then all stay.

        It takes no room on the disk.
        """
        with self._locked():
            index = self._index()
            names = {_name(one) for one in index.manifests}
            unknown = tuple(one for one in references if one not in names)
            if not unknown:
                self._write_index(index, [one for one in index.manifests if _name(one) not in references])
            return unknown

    def images(self) -> list[tuple[str, Descriptor]]:
        """Return every reference and what it names, in the order in which they were given.

        Raises:
            BuildError: the store's index is malformed.
        """
        return [(name, one) for one in self._index().manifests if (name := _name(one)) is not None]

    def blobs(self) -> Iterator[tuple[Digest, os.stat_result]]:
        """Yield every blob, whatever its state."""
        for algorithm in (self.directory / "blobs").iterdir():
            with os.scandir(algorithm) as found:
                for one in found:
                    yield Digest(f"{algorithm.name}:{one.name}"), one.stat()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep blobs that no image needs yet from being pruned; sweep what killed runs have left first.

        A store that may only be read is read without being kept.
        """
        lock = self._use_lock()
        if lock is None:
            yield
            return
        with lock as file:
            if _lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
                self._sweep()
            _lock(file, fcntl.LOCK_SH)
            yield

    def _sweep(self) -> None:
        """Remove what killed runs have left; nobody else may use the store."""
        with writing(self.directory):
            for left in self.temporary.iterdir():
                if left.is_dir():
                    shutil.rmtree(left)
                else:
                    left.unlink(missing_ok=True)

    def _use_lock(self) -> BinaryIO | None:
        try:
            return (self.directory / "use.lock").open("ab")
        except OSError as error:
            if error.errno not in READ_ONLY:
                raise
            return None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until nobody uses the store, and keep it to oneself; what killed runs have left goes."""
        with self._opened_lock("use.lock") as file:
            _lock(file, fcntl.LOCK_EX)
            self._sweep()
            yield

    def _write_index(self, index: Index, kept: Iterable[Descriptor], *more: Json) -> None:
        content = orjson.dumps({**index.raw, "manifests": [*(one.raw for one in kept), *more]})
        path = self.directory / "index.json"
        try:
            with writing(self.directory):
                replace(path, content)
        except FullError:
            if more:
                raise
            with writing(self.directory):  # what gets shorter needs no room of its own
                overwrite(path, content)

    def find(self, reference: str) -> Descriptor | None:
        """Return the descriptor that ``reference`` names, None when the store has no such image.

        Raises:
            BuildError: the store's index is malformed.
        """
        return next((one for one in self._index().manifests if _name(one) == reference), None)

    def _index(self) -> Index:
        path = self.directory / "index.json"
        try:
            with open_file(path) as file:
                index = parse_manifest(read_up_to(file, MAX_INDEX_BYTES + 1), OCI_INDEX)
        except FileNotFoundError:
            return Index(OCI_INDEX, (), {"schemaVersion": 2, "mediaType": OCI_INDEX})
        except FormatError as error:
            raise BuildError(f"{path}: {error}; mend or remove it") from None
        if not isinstance(index, Index):
            raise BuildError(f"{path} is no index; mend or remove it")
        return index

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._opened_lock("index.lock") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield  # closing the file gives the lock back

    def _opened_lock(self, name: str) -> BinaryIO:
        with writing(self.directory):
            return (self.directory / name).open("ab")

    def _check_version(self, marker: Path) -> None:
        try:
            version = parse_object(marker.read_bytes()).get("imageLayoutVersion")
        except FormatError:
            version = None
        if version != "1.0.0":
            raise BuildError(f"{self.directory} holds a layout of version {version}; TWODFS_STORE names another store")


def base_name_of(image: Descriptor) -> str:
    """Return the reference of the base that an image of the store was built on; empty where there is none."""
    return annotation_in(image.raw, BASE_NAME) or ""


def _name(entry: Descriptor) -> str | None:
    return annotation_in(entry.raw, REF_NAME)


def _lock(file: BinaryIO, how: int) -> bool:
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        return False
    return True
