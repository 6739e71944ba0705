"""What a fill has written, and how often it tries again.

Every byte is hashed in the order in which it is written, and nothing is written twice: what the file has at any time
is the beginning of what is judged at its end.
"""

from __future__ import annotations

import errno
import hashlib
import os
from typing import Final

from proxy.edge.filling.growth import Hash, hash_file

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_MOST_IDLE_ATTEMPTS: Final = 6
"""Attempts in a row that bring no byte."""
_MOST_ATTEMPTS: Final = 100
_BYTES_OF_AN_ATTEMPT: Final = 8 * 2**20
"""A large blob may break off more often: once more for each so many bytes."""
_SHORTEST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 3.0


class UnlikeError(Exception):
    """A part that comes again differs from what came before, or more comes than was announced."""


class DiskError(Exception):
    """The file cannot be written or read."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror or str(error))
        self.is_full = error.errno in _FULL


class Written:
    """What is in the file and was hashed; used by one thread at a time."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = 0
        self.position = 0
        self.hash: Hash = hashlib.sha256()

    def write(self, piece: memoryview) -> None:
        """Append ``piece``.

        Raises:
            UnlikeError: it is more than was announced.
            DiskError: not all of it could be written; what could is hashed.
        """
        if self.position + len(piece) > self.size:
            raise UnlikeError("more comes than was announced")
        while piece:
            try:
                size = os.pwrite(self._descriptor, piece, self.position)
            except OSError as error:
                raise DiskError(error) from None
            self.hash.update(piece[:size])
            self.position += size
            piece = piece[size:]

    def read(self, stop: int, buffer: memoryview) -> None:
        """Hash some more of what is in the file before ``stop``.

        Raises:
            DiskError: it cannot be read.
        """
        try:
            self.position = hash_file(self._descriptor, range(self.position, stop), self.hash, buffer)
        except OSError as error:
            raise DiskError(error) from None


class Repeated:
    """Compares the part of a blob that comes again, then goes on."""

    def __init__(self, written: Written) -> None:
        self._written = written
        self._left = written.position
        self._expected = written.hash.digest()
        self._hash = hashlib.sha256()

    def take(self, piece: memoryview) -> None:
        """Take the next bytes from the first one on; raises like ``Written.write``."""
        again, new = piece[: self._left], piece[self._left :]
        if again:
            self._hash.update(again)
            self._left -= len(again)
            if not self._left and self._hash.digest() != self._expected:
                raise UnlikeError("the blob has another content than before")
        if new:
            self._written.write(new)


class Patience:
    """How often to try again, and after which pause."""

    def __init__(self) -> None:
        self._attempts = 0
        self._idle = 0

    def after(self, size: int, *, has_moved: bool) -> float | None:
        """Return the seconds to wait after an attempt that broke off; None: give up.

        ``size`` is the blob's; ``has_moved`` says whether the attempt brought anything.
        """
        self._attempts += 1
        self._idle = 0 if has_moved else self._idle + 1
        if self._idle >= _MOST_IDLE_ATTEMPTS or self._attempts >= _MOST_ATTEMPTS + size // _BYTES_OF_AN_ATTEMPT:
            return None
        return min(_SHORTEST_PAUSE * 2.0**self._idle, _LONGEST_PAUSE)
