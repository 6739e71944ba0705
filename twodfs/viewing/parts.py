"""Parts of a blob as a file: the bytes that are asked for come from the store or from a registry, the rest never.

A compressed one is inflated from its start up to them.

A part cannot be hashed, so what is read this way is the registry's word: for people to see, never to be built on.
"""

from __future__ import annotations

from typing import Final, Protocol, TypeAlias

from twodfs.concurrency import scope
from twodfs.errors import FormatError
from twodfs.images.source import StoredImage
from twodfs.oci.digest import Digest
from twodfs.publish.cutting import FoundImage
from twodfs.registry.session import RemoteRepository

FIRST: Final = 16 * 1024
"""Bytes of the first part: the headers of some files, or all of a small one."""
MOST_AT_ONCE: Final = 1024 * 1024
"""Bytes of a part, and of what a reader may ask for."""
_NEAR: Final = 1024 * 1024
_PIECE: Final = 64 * 1024

PartSource: TypeAlias = "RemoteRepository | StoredImage"


class EnoughRead(Exception):  # noqa: N818 - a bound is reached, which is no error
    """The reader has had as many bytes as it is allowed."""


def source_of_cells(image: FoundImage) -> PartSource:
    """Return where the blobs of the cells of ``image`` are."""
    if not isinstance(image.uncut, (RemoteRepository, StoredImage)):
        raise TypeError("an image is found in a store or in a registry")
    return image.uncut


class BlobFile:
    """A blob as a file for reading.

    Neighbouring reads come in parts that double up to ``MOST_AT_ONCE``; a leap begins with a small one again.
    """

    def __init__(self, source: PartSource, digest: Digest, *, most: int) -> None:
        """Begin at its first byte; ``most`` bytes are read at all."""
        self._source = source
        self._digest = digest
        self._left = most
        self._at = 0
        self._begin = 0
        self._part = b""
        self._step = FIRST
        self._end: int | None = None

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a byte, counted from the beginning alone.

        Raises:
            FormatError: it lies before the beginning.
        """
        self._at = _checked_place(offset, whence)
        return offset

    def tell(self) -> int:
        """Return where the next read begins."""
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        """Return the next ``size`` bytes, fewer at the end of the blob.

        Raises:
            EnoughRead: they are more than may be read.
            FormatError: they are too many to be those of a header.
            RegistryError, DamagedError: the source does not give them.
        """
        _check_size(size)
        if self._end is not None:
            size = min(size, max(self._end - self._at, 0))
        behind = self._at - self._begin
        if not 0 <= behind <= len(self._part) - size:
            self._fetch(size)
            behind = 0
        content = self._part[behind : behind + size]
        self._at += len(content)
        return content

    def _fetch(self, size: int) -> None:
        scope().check()
        is_near = 0 <= self._at - self._begin <= len(self._part) + _NEAR
        self._step = min(2 * self._step, MOST_AT_ONCE) if self._part and is_near else FIRST
        wanted = min(max(size, self._step), self._left)
        if wanted < size:
            raise EnoughRead
        self._part = self._source.part(self._digest, self._at, wanted)
        self._begin = self._at
        self._left -= len(self._part)
        if len(self._part) < wanted:
            self._end = self._begin + len(self._part)


class Inflating(Protocol):
    """A decompressor that reads its input itself."""

    def read1(self, size: int = -1, /) -> bytes:
        """Return some of the next bytes, ``size`` at most; none at the end."""


class InflatedFile:
    """A compressed blob as a file for reading, forwards but for a few bytes."""

    def __init__(self, inflating: Inflating, *, most: int) -> None:
        """Begin at its first byte; ``most`` bytes are inflated at all."""
        self._inflating = inflating
        self._left = most
        self._at = 0
        self._end = 0
        self._kept = b""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a byte; raises like ``BlobFile.seek``."""
        self._at = _checked_place(offset, whence)
        return offset

    def tell(self) -> int:
        """Return where the next read begins."""
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        """Return the next ``size`` bytes, fewer at the end.

        Raises:
            EnoughRead: they are more than may be inflated.
            FormatError: they are too many to be those of a header, or are gone by.
        """
        _check_size(size)
        while self._end < self._at + size and (piece := self._inflating.read1(_PIECE)):
            scope().check()
            self._left -= len(piece)
            if self._left < 0:
                raise EnoughRead
            self._end += len(piece)
            self._kept = (self._kept + piece)[-(size + _PIECE) :]
        begin = self._at - (self._end - len(self._kept))
        if begin < 0:
            raise FormatError("a header leads to before it")
        content = self._kept[begin : begin + size]
        self._at += len(content)
        return content


def _checked_place(offset: int, whence: int) -> int:
    if whence or offset < 0:
        raise FormatError("a header leads to before its beginning")
    return offset


def _check_size(size: int) -> None:
    if not 0 <= size <= MOST_AT_ONCE:
        raise FormatError(f"a header has more than {MOST_AT_ONCE} bytes")
