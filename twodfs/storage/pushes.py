"""Records of the images that were last pushed, a small file for each reference. What they say is the pusher's.

A record that is lost counts as none, as does one whose seal shows that it is not as it was written: cut short, or
of another reference. So they are not forced to the disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import orjson

from twodfs.errors import FormatError
from twodfs.files import open_file, read_up_to
from twodfs.oci.documents import Json, parse_object
from twodfs.storage.writing import writing

_MAX_BYTES: Final = 4 * 1024 * 1024


class PushRecords:
    """The records of a store, in the directory ``pushed``."""

    def __init__(self, store: Path) -> None:
        """Name the places below the directory of the ``store``; nothing is looked at."""
        self._store = store
        self._directory = store / "pushed"

    def find(self, reference: str) -> Json | None:
        """Return the record of ``reference``; None where there is none."""
        try:
            with open_file(self._path(reference)) as file:
                seal, _, content = read_up_to(file, _MAX_BYTES).partition(b"\n")
            return parse_object(content) if seal == _seal(reference, content) else None
        except (OSError, FormatError):
            return None

    def record(self, reference: str, record: Json) -> None:
        """Keep ``record`` in the place of the one that ``reference`` has; where it cannot be written, go without."""
        content = orjson.dumps(record)
        with suppress(OSError):  # the image has been pushed, and a full disk is told where more depends on it
            self._directory.mkdir(exist_ok=True)
            self._path(reference).write_bytes(_seal(reference, content) + b"\n" + content)

    def keep(self, references: Iterable[str]) -> None:
        """Forget all records but those of ``references``."""
        kept = {self._path(one).name for one in references}
        with writing(self._store):
            for one in self._directory.iterdir() if self._directory.is_dir() else ():
                if one.name not in kept:
                    one.unlink(missing_ok=True)

    def _path(self, reference: str) -> Path:
        return self._directory / hashlib.sha256(reference.encode()).hexdigest()


def _seal(reference: str, content: bytes) -> bytes:
    return hashlib.sha256(reference.encode() + b"\n" + content).hexdigest().encode("ascii")
