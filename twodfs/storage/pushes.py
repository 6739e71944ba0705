"""The image that was last pushed under each reference: a small file for each.

A record is a hint, and nothing in it is precious: the digest in it counts only where the registry's tag and a
document of the store have the same one. So a record that is lost, cut short or made up costs questions, no more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from twodfs.oci.digest import Digest, is_digest
from twodfs.oci.documents import IMAGE_TYPES, Descriptor, Document
from twodfs.storage.writing import writing

_MAX_BYTES: Final = 4096


class PushRecords:
    """The records of a store, in the directory ``pushed``."""

    def __init__(self, store: Path) -> None:
        """Name the places below the directory of the ``store``; nothing is looked at."""
        self._store = store
        self._directory = store / "pushed"

    def find(self, reference: str) -> Descriptor | None:
        """Return the image that was last pushed as ``reference``; None where that is not known."""
        try:
            with self._path(reference).open("rb") as file:
                digest, media_type, size = file.read(_MAX_BYTES).decode("ascii").split()
        except (OSError, ValueError):  # as of a file that was cut short
            return None
        if not (is_digest(digest) and media_type in IMAGE_TYPES and size.isdecimal()):
            return None
        return Descriptor(media_type, Digest(digest), int(size), {})

    def record(self, reference: str, root: Document) -> None:
        """Remember that the registry has ``root`` and all that it names, and calls it ``reference``.

        Raises:
            BuildError: there is no room, or the store may only be read.
        """
        path = self._path(reference)
        content = f"{root.digest} {root.media_type} {len(root.body)}\n".encode("ascii")
        with writing(self._store):
            self._directory.mkdir(exist_ok=True)
            path.write_bytes(content)

    def keep(self, references: Iterable[str]) -> None:
        """Forget all but ``references``."""
        kept = {self._path(one).name for one in references}
        with writing(self._store):
            for one in self._directory.iterdir() if self._directory.is_dir() else ():
                if one.name not in kept:
                    one.unlink(missing_ok=True)

    def _path(self, reference: str) -> Path:
        return self._directory / hashlib.sha256(reference.encode()).hexdigest()
