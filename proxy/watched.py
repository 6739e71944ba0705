"""Files that are read again when they change: keys, passwords and secrets are mounted and rotated."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

from proxy.logs import get_logger
from twodfs.files import MOST, read_file

T = TypeVar("T")

_LOOK_EVERY: Final = 1.0
"""Seconds between looks at a file's times."""


class FileError(Exception):
    """A file cannot be used; the message names it and never shows its content."""


class WatchedFile(Generic[T]):
    """The parsed content of a file. A version that cannot be used leaves the one before in force."""

    def __init__(self, path: Path, parse: Callable[[bytes], T], *, limit: int = MOST) -> None:
        """Read ``path`` for the first time.

        Args:
            path: of the file.
            parse: raises ``ValueError`` with a sentence that shows no secret.
            limit: most bytes that are read.

        Raises:
            FileError: it cannot be read or parsed.
        """
        self._path = path
        self._parse = parse
        self._limit = limit
        self._seen = self._version()
        self._value = self._read()
        self._looked_at = time.monotonic()
        self.changes = 0
        """How often another version came into force."""

    def get(self) -> T:
        """Return the file's content as it is now, or a second ago."""
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_EVERY:
            self._looked_at = now
            self._look()
        return self._value

    def _look(self) -> None:
        version = None
        try:
            version = self._version()
            if version == self._seen:
                return
            self._value = self._read()
        except FileError as error:
            if version != self._seen:
                get_logger().error("file cannot be used, the last good version stays", problem=str(error))
        else:
            self.changes += 1
            get_logger().info("file read again", file=str(self._path))
        self._seen = version

    def _version(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError as error:
            raise FileError(f"cannot read {self._path}: {error.strerror}") from None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> T:
        try:
            content = read_file(self._path, limit=self._limit)
        except OSError as error:
            raise FileError(f"cannot read {self._path}: {error.strerror}") from None
        try:
            return self._parse(content)
        except ValueError as error:
            raise FileError(f"{self._path}: {error}") from None
