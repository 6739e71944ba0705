"""A blob of one repository as content for another: it passes through memory, and nothing of it touches the disk."""

from __future__ import annotations

from collections.abc import Iterator

from twodfs.oci.documents import Descriptor
from twodfs.registry.content import CHUNK, BlobDigest, PieceSize
from twodfs.registry.repository import RemoteRepository
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
        digest = None if at else BlobDigest(self._blob)
        left = self._blob.size - at
        buffer = memoryview(bytearray(min(CHUNK, self._blob.size + 1)))
        size = PieceSize(CHUNK)
        with self._source.reading(self._blob, at) as response:
            while count := response.readinto(buffer[: min(size.now, left + 1)]):
                left -= count
                if digest is not None:
                    digest.update(buffer[:count])
                if left < 0:
                    raise self._source.sent_wrongly(self._blob, "more")
                with size.measured():
                    outlet.write(buffer[:count])
                yield count
            if left:
                raise self._source.sent_wrongly(self._blob, "fewer")
        if digest is not None:
            digest.check()
