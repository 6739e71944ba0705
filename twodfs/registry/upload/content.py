"""The bytes of a blob on their way out, from any byte on; and the bodies of requests that carry them.

A blob goes as the body of one request, or in parts. A part has no length that is said before: it may end early, when
the command is interrupted or its source fails, and the registry then keeps what it has.
"""

from __future__ import annotations

import hashlib
import io
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from twodfs.concurrency import LEAVE_SECONDS, Stopped
from twodfs.errors import DigestError, RegistryError
from twodfs.oci.documents import Descriptor
from twodfs.progress import Advance
from twodfs.wire.connection import RequestWriter

CHUNK: Final = 1024 * 1024
"""Bytes of a blob in memory at a time."""
_BIG: Final = 4 * 1024 * 1024
"""Bytes of a file given to the kernel at a time."""
_FIRST: Final = 256 * 1024
_SMALL: Final = 64 * 1024
_SOON: Final = 0.05
_LATE: Final = 0.25
_FINISH_SECONDS: Final = LEAVE_SECONDS - 1
"""How long an interrupted part may take to end, and to be answered."""


class BlobContent(Protocol):
    """Where the bytes of a blob come from."""

    def pieces(self, outlet: RequestWriter, at: int) -> Iterator[int]:
        """Send the bytes from ``at`` on, and yield how many after each piece: whether to go on is the caller's.

        Raises:
            DigestError: they are not the blob's; the last piece is held back.
            RegistryError: they come from another registry, which failed.
        """


class FileContent:
    """A file, or bytes that are at hand."""

    def __init__(self, content: Path | bytes, blob: Descriptor, *, verify: bool) -> None:
        """``verify``: hash the content on its way, as it may be damaged."""
        self._content = content
        self._blob = blob
        self._verify = verify

    def pieces(self, outlet: RequestWriter, at: int) -> Iterator[int]:
        """Send them."""
        with self._opened() as file:
            yield from (self._verified if self._verify else self._unread)(file, outlet, at)

    def _opened(self) -> BinaryIO:
        return io.BytesIO(self._content) if isinstance(self._content, bytes) else self._content.open("rb")

    def _unread(self, file: BinaryIO, outlet: RequestWriter, at: int) -> Iterator[int]:
        size = PieceSize(_BIG)
        while left := self._blob.size - at:
            with size.measured():
                sent = outlet.write_file(file, at, min(left, size.now))
            if not sent:
                raise damaged(self._blob)
            at += sent
            yield sent

    def _verified(self, file: BinaryIO, outlet: RequestWriter, at: int) -> Iterator[int]:
        digest = BlobDigest(self._blob)
        buffer = memoryview(bytearray(min(CHUNK, self._blob.size + 1)))
        size = PieceSize(CHUNK)
        while count := file.readinto(buffer[: min(size.now, digest.left + 1)]):  # type: ignore[attr-defined]
            digest.update(buffer[:count])
            begin = max(at - digest.read + count, 0)  # the registry has what is before
            if begin < count:
                with size.measured():
                    outlet.write(buffer[begin:count])
                yield count - begin
        digest.check()


class BlobDigest:
    """Content that is hashed as it passes.

    Attributes:
        read: how many bytes did.
    """

    def __init__(self, blob: Descriptor) -> None:
        self._blob = blob
        algorithm, _, self._expected = blob.digest.partition(":")
        self._hasher = hashlib.new(algorithm)
        self.read = 0

    @property
    def left(self) -> int:
        """Bytes that are still to come."""
        return self._blob.size - self.read

    def update(self, piece: memoryview) -> None:
        """Take the next piece; raises ``DigestError`` where that is the last one, and the content another."""
        self._hasher.update(piece)
        self.read += len(piece)
        if self.left <= 0:
            self.check()

    def check(self) -> None:
        """Return where all of the blob has passed; raises ``DigestError``."""
        if self.left or self._hasher.hexdigest() != self._expected:
            raise damaged(self._blob)


class PieceSize:
    """Bytes that are sent at a time: few enough that a slow line takes them soon, and an interruption is seen."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.now = min(_FIRST, most)

    def measured(self) -> _Measured:
        """Return a block in which that many are sent."""
        return _Measured(self)

    def took(self, seconds: float) -> None:
        """Adapt to the time that a piece took."""
        if seconds < _SOON:
            self.now = min(self.now * 2, self._most)
        elif seconds > _LATE:
            self.now = max(self.now // 2, min(_SMALL, self._most))


class _Measured:
    __slots__ = ("_begun", "_size")

    def __init__(self, size: PieceSize) -> None:
        self._size = size
        self._begun = 0.0

    def __enter__(self) -> None:
        self._begun = time.monotonic()

    def __exit__(self, *_failure: object) -> None:
        self._size.took(time.monotonic() - self._begun)


class Position:
    """How much of a blob the registry has, told to a listener."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self._told = 0

    def set(self, at: int) -> None:
        """Say that it has the bytes before ``at``."""
        if at != self._told:
            self._advance(at - self._told)
            self._told = at


class WholeBlob:
    """A blob as the body of one request; it sets out again as often as it takes."""

    def __init__(self, content: BlobContent, blob: Descriptor, position: Position) -> None:
        self._content = content
        self._blob = blob
        self._position = position

    @property
    def length(self) -> int:
        """Its bytes."""
        return self._blob.size

    def write_to(self, outlet: RequestWriter) -> None:
        """Send the blob from its start; of a damaged one that is verified on the way, all but the end."""
        self._position.set(0)
        at = 0
        for sent in self._content.pieces(outlet, 0):
            at += sent
            self._position.set(at)

    def stop(self, abort: Callable[[], None]) -> None:
        """Break it off."""
        abort()


class BlobPart:
    """The rest of a blob as a body that may end early.

    Attributes:
        end: the byte behind the last one that was sent.
        is_ended: whether it was sent to where it ends.
        failure: why it ended early; None where it did not.
    """

    length = None

    def __init__(self, content: BlobContent, blob: Descriptor, at: int, position: Position) -> None:
        """``at``: the first byte to be sent."""
        self._content = content
        self._blob = blob
        self._at = at
        self._position = position
        self._stopping = threading.Event()
        self._timer: threading.Timer | None = None
        self.end = at
        self.is_ended = False
        self.failure: RegistryError | Stopped | None = None

    def write_to(self, outlet: RequestWriter) -> None:
        """Send it, up to its end or to where it is stopped.

        Raises:
            DigestError: the content is not the blob's; the body stays without an end.
        """
        chunks = _Chunks(outlet)
        self.end, self.failure, self.is_ended = self._at, None, False
        try:
            for sent in self._content.pieces(chunks, self._at):
                self.end += sent
                self._position.set(self.end)
                if self._stopping.is_set():
                    self.failure = Stopped()
                    break
        except (RegistryError, Stopped) as failure:
            if chunks.is_torn:
                raise
            self.failure = failure
        chunks.finish()
        self.is_ended = True

    def stop(self, abort: Callable[[], None]) -> None:
        """End the body soon, so that the registry keeps what it has; break it off where that takes too long."""
        self._timer = threading.Timer(_FINISH_SECONDS, abort)
        self._timer.daemon = True
        self._timer.start()
        self._stopping.set()

    def settle(self) -> None:
        """Leave the connection alone from now on."""
        if self._timer is not None:
            self._timer.cancel()


class _Chunks:
    """Writes a body whose length nobody knows yet (RFC 9112, 7.1).

    Attributes:
        is_torn: whether a chunk was begun and not ended.
    """

    def __init__(self, outlet: RequestWriter) -> None:
        self._outlet = outlet
        self._unwritten = b""
        self.is_torn = False

    def write(self, content: bytes | memoryview, /) -> None:
        if content:
            self._begin(len(content))
            self._outlet.write(content)
            self._end()

    def write_file(self, file: BinaryIO, at: int, count: int, /) -> int:
        self._begin(count)
        sent = self._outlet.write_file(file, at, count)
        if sent == count:
            self._end()
        return sent if sent == count else 0  # the file is shorter than it was: the body stays without an end

    def finish(self) -> None:
        self._outlet.write(self._unwritten + b"0\r\n\r\n")

    def _begin(self, size: int) -> None:
        self.is_torn = True
        self._outlet.write(self._unwritten + b"%x\r\n" % size)

    def _end(self) -> None:
        self._unwritten = b"\r\n"
        self.is_torn = False


def damaged(blob: Descriptor) -> DigestError:
    """Return the error that says that content is not ``blob``."""
    return DigestError(f"what should be {blob.digest} has other content")
