"""A blob of one repository as content for another: it passes through memory, and nothing of it touches the disk."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing

from twodfs.errors import DigestError
from twodfs.oci.documents import Descriptor
from twodfs.registry.repository import RemoteRepository
from twodfs.registry.upload.content import CHUNK, BlobDigest, PieceSize
from twodfs.wire.connection import RequestWriter


class RelayedBlob:
    """A ``BlobContent`` out of a repository.

    It is hashed on its way where it passes from its start; the rest of one is for the receiving registry to judge,
    which hashes the whole at the end.
    """

    def __init__(self, source: RemoteRepository, blob: Descriptor) -> None:
        """Name the blob; nothing is asked."""
        self._source = source
        self._blob = blob

    def pieces(self, outlet: RequestWriter, at: int) -> Iterator[int]:
        """Send the bytes from ``at`` on, as they come."""
        size = PieceSize(CHUNK)
        # What fails in writing is none of the source's failures, so it is written out here.
        with closing(self._received(at, size)) as received:
            for piece in received:
                with size.measured():
                    outlet.write(piece)
                yield len(piece)

    def _received(self, at: int, size: PieceSize) -> Generator[memoryview, None, None]:
        """Yield the bytes from ``at`` on, in pieces of ``size``; each is gone with the next."""
        digest = None if at else BlobDigest(self._blob)
        left = self._blob.size - at
        buffer = memoryview(bytearray(min(CHUNK, self._blob.size + 1)))
        try:
            with self._source.reading(self._blob, at) as response:
                while count := response.readinto(buffer[: min(size.now, left + 1)]):
                    left -= count
                    if left < 0:
                        raise self._source.sent_wrongly(self._blob, "more")
                    if digest is not None:
                        digest.update(buffer[:count])
                    yield buffer[:count]
                if left:
                    raise self._source.sent_wrongly(self._blob, "fewer")
        except DigestError:
            raise DigestError(f"{self._source} sent other content than {self._blob.digest}") from None
