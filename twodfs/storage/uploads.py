"""Uploads that were begun and not ended, so that the next push goes on with them: a small file for each.

A file that is lost or cut short costs an upload from its start; so they are not forced to the disk. The addresses in
them may be all that it takes to write to an upload, so nobody else may read them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from pathlib import Path
from typing import Final

from twodfs.files import open_file, read_up_to
from twodfs.oci.digest import Digest
from twodfs.storage.writing import writing

MAX_AGE: Final = 7 * 24 * 3600.0
"""Seconds after which a registry is taken to have forgotten an upload; the stock one does after a week."""
_MAX_BYTES: Final = 16 * 1024
_PRIVATE: Final = 0o600


class BegunUploads:
    """The uploads to one repository, below the directory ``uploads`` of a store."""

    def __init__(self, store: Path, repository: str) -> None:
        """Name the places for ``repository``, its registry included; nothing is looked at."""
        self._store = store
        self._directory = store / "uploads"
        self._repository = repository

    def recall(self, digest: Digest) -> str | None:
        """Return where the upload of a blob goes on; None where none was begun of late."""
        path = self._path(digest)
        try:
            with open_file(path) as file:
                if time.time() - os.fstat(file.fileno()).st_mtime > MAX_AGE:
                    return None
                location = read_up_to(file, _MAX_BYTES + 1).decode("ascii")
        except (OSError, UnicodeDecodeError):
            return None
        return location if location and len(location) <= _MAX_BYTES else None

    def keep(self, digest: Digest, location: str) -> None:
        """Remember where it goes on.

        Raises:
            BuildError: there is no room, or the store may only be read.
        """
        path = self._path(digest)
        with writing(self._store):
            self._directory.mkdir(exist_ok=True)
            new = path.with_name(f"{path.name}.{os.getpid()}")
            new.touch(_PRIVATE)
            new.write_bytes(location.encode("ascii"))
            new.replace(path)

    def forget(self, digest: Digest) -> None:
        """Forget it, and those that are too old."""
        with contextlib.suppress(FileNotFoundError), writing(self._store):
            self._path(digest).unlink(missing_ok=True)
            for one in list(self._directory.iterdir()):
                if time.time() - one.stat().st_mtime > MAX_AGE:
                    one.unlink(missing_ok=True)

    def _path(self, digest: Digest) -> Path:
        return self._directory / hashlib.sha256(f"{self._repository}@{digest}".encode()).hexdigest()
