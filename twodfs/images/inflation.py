"""Gzip data, inflated up to a limit: deflate makes a thousand bytes of one."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from twodfs.concurrency import scope
from twodfs.errors import BuildError

GZIP_MAGIC: Final = b"\x1f\x8b"

FACTOR: Final = 100
"""How many times its own size something inflates to at most. File systems shrink to a fifth as a rule; those
that shrink a hundredfold hold nothing."""

ALWAYS: Final = 1_000_000_000
"""Bytes that anything may inflate to."""

_CHUNK: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Inflation:
    """How much may come out. ``most`` are bytes; None for ``FACTOR`` times the input, or ``ALWAYS``."""

    most: int | None = None

    def limit(self, compressed: int) -> int:
        """Return the bytes that ``compressed`` bytes may inflate to."""
        return max(compressed * FACTOR, ALWAYS) if self.most is None else self.most


def inflate(file: BinaryIO, compressed: int, inflation: Inflation, name: str) -> Iterator[bytes]:
    """Yield the content of ``file``, piece by piece.

    Args:
        file: compressed with gzip, read to its end.
        compressed: its bytes.
        inflation: how much may come out.
        name: its name in errors.

    Raises:
        BuildError: it is damaged, or more comes out.
    """
    left = inflation.limit(compressed)
    wanted = scope()
    try:
        with gzip.GzipFile(fileobj=file) as packed:
            while piece := packed.read(min(_CHUNK, left + 1)):
                wanted.check()
                left -= len(piece)
                if left < 0:
                    raise BuildError(
                        f"{name} inflates to more than {inflation.limit(compressed)} bytes, and is refused; "
                        f"--max-inflated allows more"
                    )
                yield piece
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise BuildError(f"{name} is damaged, it cannot be decompressed: {error}") from None
