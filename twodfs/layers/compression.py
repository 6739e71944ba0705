"""How the tar of a layer becomes its blob.

Plain tar needs no compressor at all; deflate and zstd give the same bytes for any split of the tar.
The bytes do depend on the library: zlib's own deflate, and the zstd that the locked ``zstandard`` brings.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from twodfs.choices import Compression
from twodfs.errors import BuildFileError
from twodfs.oci.documents import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD

__all__ = ["GZIP_LEVEL", "WORTHWHILE", "ZSTD_LEVEL", "Compression", "Compressor", "Packing"]

GZIP_LEVEL: Final = 1
"""The fastest: a field is for content that hardly shrinks at any level (weights: 7 % at level 6, at half the
speed of level 1)."""

ZSTD_LEVEL: Final = 3

WORTHWHILE: Final = 0.8
"""``auto`` compresses where at least a fifth is saved: inflating costs every node that pulls."""

_STORED = 0


_LEVELS: Final = {Compression.GZIP: (1, 9), Compression.ZSTD: (1, 22), Compression.AUTO: (1, 9)}


class Compressor(Protocol):
    """Takes a tar piece by piece; the bytes that it returns, put together, are the blob."""

    media_type: str

    def compress(self, data: bytes | memoryview, /) -> bytes | memoryview:
        """Return the bytes that can be written by now."""

    def flush(self) -> bytes:
        """Return the rest."""


@dataclass(frozen=True, slots=True)
class Packing:
    """How allotments are to be compressed.

    Attributes:
        compression: ``auto`` looks at a sample of each allotment: gzip where that is worth it, else none.
        level: of gzip or zstd; None for the default.
        gzip_only: the original registry takes nothing else; data that does not shrink is stored within gzip.
    """

    compression: Compression = Compression.AUTO
    level: int | None = None
    gzip_only: bool = False

    def check(self) -> None:
        """Hold the choices against each other.

        Raises:
            BuildFileError: no image can be made like that.
        """
        lowest, highest = _LEVELS.get(self.compression, (0, 0))
        if self.level is not None and not lowest <= self.level <= highest:
            levels = f"takes levels {lowest} to {highest}" if highest else "has no levels"
            raise BuildFileError(f"--compression {self.compression} {levels}, not {self.level}")
        if self.gzip_only and self.compression in (Compression.NONE, Compression.ZSTD):
            raise BuildFileError(
                f"the original registry takes gzip alone; --compat does not go with --compression {self.compression}"
            )

    def compressor(self, sample: Iterable[bytes]) -> Compressor:
        """Return a compressor for a tar that holds ``sample``, which is read for ``auto`` only."""
        gzip_level = GZIP_LEVEL if self.level is None else self.level
        match self.compression:
            case Compression.NONE:
                return Plain()
            case Compression.GZIP:
                return Gzip(gzip_level)
            case Compression.ZSTD:
                return Zstd(ZSTD_LEVEL if self.level is None else self.level)
            case Compression.AUTO:
                if shrinks(sample):
                    return Gzip(gzip_level)
                return Gzip(_STORED) if self.gzip_only else Plain()


def shrinks(sample: Iterable[bytes]) -> bool:
    """Say whether compressing ``sample`` saves enough."""
    before = after = 0
    for piece in sample:
        before += len(piece)
        after += len(zlib.compress(piece, GZIP_LEVEL))
    return after <= before * WORTHWHILE


class Plain:
    """The tar as it is."""

    media_type = OCI_LAYER

    def compress(self, data: bytes | memoryview, /) -> bytes | memoryview:
        """Return ``data``."""
        return data

    def flush(self) -> bytes:
        """Return nothing."""
        return b""


class Gzip:
    """RFC 1952 around zlib's deflate; zlib's own header tells the operating system it was built for."""

    media_type = OCI_LAYER_GZIP
    _SPEEDS: Final = {1: b"\x04", 9: b"\x02"}  # RFC 1952, 2.3.1, XFL

    def __init__(self, level: int) -> None:
        # No time, no name, system unknown.
        self._head = b"\x1f\x8b\x08\x00\x00\x00\x00\x00" + self._SPEEDS.get(level, b"\x00") + b"\xff"
        self._deflate = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._crc = 0
        self._size = 0

    def compress(self, data: bytes | memoryview, /) -> bytes:
        """Return the bytes that can be written by now."""
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)
        head, self._head = self._head, b""
        return head + self._deflate.compress(data)

    def flush(self) -> bytes:
        """Return the rest, and the trailer."""
        trailer = self._crc.to_bytes(4, "little") + (self._size % 2**32).to_bytes(4, "little")
        return self._deflate.flush() + trailer


class Zstd:
    """RFC 8878, one frame without a checksum: the blob's digest is one."""

    media_type = OCI_LAYER_ZSTD

    def __init__(self, level: int) -> None:
        import zstandard  # noqa: PLC0415 - takes 10 ms, and few ask for it

        frame: Any = zstandard.ZstdCompressor(level=level, write_checksum=False).compressobj()
        self._frame = frame

    def compress(self, data: bytes | memoryview, /) -> bytes:
        """Return the bytes that can be written by now."""
        written: bytes = self._frame.compress(data)
        return written

    def flush(self) -> bytes:
        """Return the rest."""
        rest: bytes = self._frame.flush()
        return rest
