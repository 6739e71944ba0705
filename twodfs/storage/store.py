"""The content store: an OCI layout directory (image-spec, image-layout.md), so that other tools can read it.

Images are found by their full reference, in the annotation ``org.opencontainers.image.ref.name``::

    skopeo inspect oci:$HOME/.cache/twodfs:ghcr.io/you/model:v1

A blob gets its name once it is complete; the index is replaced in one step, under a lock. Several processes
may use a store at the same time: files in ``tmp`` are written while the store is in use, and swept
while it is not.

Is a blob still as it was written? Its name comes with a modification time of 0, so a blob that was written to
since, or cut short by a power failure, is one of another size or time, and counts as absent. A bit that flips
on the disk shows when the blob is read: a document whenever it is needed, a layer for a push or an export, or
with ``--checksum``. A document that is made again is compared with the stored one. That is why blobs are not
forced to the disk, which takes as long as hashing them: all of them can be made again, and no damaged one
leaves the store. A blob's access time is when it was last asked for; ``prune`` goes by it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from twodfs.errors import BuildError, FormatError
from twodfs.oci.documents import (
    Descriptor,
    annotation_in,
    parse_object,
)
from twodfs.storage.blobs import BlobStore
from twodfs.storage.index import ImageIndex, opened_lock
from twodfs.storage.pushes import PushRecords
from twodfs.storage.writing import READ_ONLY, replace, unusable, writing

BASE_NAME: Final = "org.opencontainers.image.base.name"

_LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'


def default_directory() -> Path:
    """Return ``$TWODFS_STORE``, else ``twodfs`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.

    Raises:
        BuildError: neither is known, as for a user without an entry on the machine.
    """
    chosen = os.environ.get("TWODFS_STORE")
    if chosen:
        return Path(chosen)
    cache = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(cache) if cache else Path.home() / ".cache") / "twodfs"
    except RuntimeError:
        raise BuildError("there is no home directory for the store; TWODFS_STORE names one") from None


class ImageStore(BlobStore):
    """A store in a directory, made when it is not there.

    Attributes:
        index: the images that it has names for.
        pushes: the images that were pushed.
    """

    def __init__(self, directory: Path) -> None:
        """Open the store.

        Raises:
            BuildError: the directory cannot be made or written, or is a layout of another version.
        """
        super().__init__(directory)
        self.index = ImageIndex(directory)
        self.pushes = PushRecords(directory)
        try:
            self.temporary.mkdir(parents=True, exist_ok=True)
            (directory / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
            marker = directory / "oci-layout"
            if not marker.exists():
                with self.index.locked():
                    replace(marker, _LAYOUT)
            self._check_version(marker)
        except OSError as error:
            raise unusable(directory, error.strerror) from None

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep blobs that no image needs yet from being pruned; sweep the leftovers of killed runs first.

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
        """Remove the leftovers of killed runs; no other process may use the store."""
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
        """Wait until the store is unused, and lock it; leftovers of killed runs are removed."""
        with opened_lock(self.directory, "use.lock") as file:
            _lock(file, fcntl.LOCK_EX)
            self._sweep()
            yield

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


def _lock(file: BinaryIO, how: int) -> bool:
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        return False
    return True
