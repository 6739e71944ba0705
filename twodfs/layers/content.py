"""Content that is made of pieces: bytes, and ranges of files, which are read when the layer is written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from twodfs.errors import BuildError
from twodfs.files import Stamp, open_file


@dataclass(frozen=True, slots=True)
class FileRange:
    """Bytes of a file.

    Attributes:
        path: of the file.
        offset: the first byte.
        size: how many.
        stamp: of the file as it was when the range was chosen.
    """

    path: Path
    offset: int
    size: int
    stamp: Stamp


Piece: TypeAlias = bytes | FileRange


@dataclass(frozen=True, slots=True)
class MadeContent:
    """The content of a file in the image: ``pieces``, one behind the other."""

    pieces: tuple[Piece, ...]

    @property
    def size(self) -> int:
        """Its bytes."""
        return sum(map(_size, self.pieces))

    @property
    def stamps(self) -> dict[Path, Stamp]:
        """The files that it is read from."""
        return {one.path: one.stamp for one in self.pieces if isinstance(one, FileRange)}

    def check(self) -> None:
        """Look at the files again.

        Raises:
            BuildError: one has changed, or is gone.
        """
        for path, stamp in self.stamps.items():
            try:
                found = Stamp.of(path.stat())
            except OSError as error:
                raise _unreadable(path, error) from None
            if not found.is_unchanged(stamp):
                raise changed(path)

    def read(self, buffer: memoryview) -> Iterator[memoryview]:
        """Yield the content, each piece until the next is asked for; a file's through ``buffer``.

        Raises:
            BuildError: a file cannot be read, or has changed.
        """
        for piece in self.pieces:
            if isinstance(piece, FileRange):
                yield from _read(piece, buffer)
            else:
                for at in range(0, len(piece), len(buffer)):
                    yield memoryview(piece)[at : at + len(buffer)]

    def excerpt(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset`` on; fewer at the end.

        Raises:
            BuildError: as for ``read``.
        """
        found = bytearray()
        begin = 0
        for piece in self.pieces:
            end = begin + _size(piece)
            first, behind = max(offset, begin) - begin, min(offset + size, end) - begin
            if first < behind:
                if isinstance(piece, FileRange):
                    part = FileRange(piece.path, piece.offset + first, behind - first, piece.stamp)
                    found += b"".join(map(bytes, _read(part, memoryview(bytearray(behind - first)))))
                else:
                    found += piece[first:behind]
            begin = end
        return bytes(found)

    def key(self) -> tuple[object, ...]:
        """Return what tells it from other content without reading it: stamps, ranges, and hashes of what is no file."""
        return tuple(
            (str(one.path.absolute()), one.offset, one.size, one.stamp)
            if isinstance(one, FileRange)
            else hashlib.sha256(one).hexdigest()
            for one in self.pieces
        )


def changed(path: Path | None) -> BuildError:
    """Return the error for a file that did not stay as it was while a layer was made of it."""
    return BuildError(f"{path} changed while it was read; build again when nothing writes to it")


def _size(piece: Piece) -> int:
    return piece.size if isinstance(piece, FileRange) else len(piece)


def _read(piece: FileRange, buffer: memoryview) -> Iterator[memoryview]:
    left = piece.size
    try:
        with open_file(piece.path) as file:
            file.seek(piece.offset)
            while left and (size := file.readinto(buffer[:left])):
                left -= size
                yield buffer[:size]
            stamp = Stamp.of(os.fstat(file.fileno()))
    except OSError as error:
        raise _unreadable(piece.path, error) from None
    if left or not stamp.is_unchanged(piece.stamp):
        raise changed(piece.path)


def _unreadable(path: Path, error: OSError) -> BuildError:
    return BuildError(f"cannot read {path}: {error.strerror}")
