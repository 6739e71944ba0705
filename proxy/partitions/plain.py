"""The partition that a plain tag of a 2DFS image gives, where the operator wants one.

Engines cannot run a 2DFS image as it is, so ``docker pull model:v1`` can be answered with a partition of it. Images
without a field are none of this.
"""

from __future__ import annotations

from http import HTTPStatus

from proxy.auth.identity import Identity
from proxy.partitions.cutting import Cutter
from proxy.partitions.lookalikes import UnknownPartitionError, listed_names
from proxy.partitions.records import CutPartition, Provenance
from proxy.partitions.source import SourceImage
from proxy.partitions.synthesis import Partitions
from proxy.upstream.replies import UpstreamError
from twodfs.errors import FormatError
from twodfs.field.partition import Selection


class PlainTags:
    """Gives one partition of each 2DFS image for its plain tag."""

    def __init__(self, cutter: Cutter, partitions: Partitions, selection: Selection) -> None:
        """``selection``: the partition, by its name."""
        self._cutter = cutter
        self._partitions = partitions
        self._selection = selection

    def tag(self, plain: str) -> str:
        """Return the partition tag that means the same as the tag ``plain``."""
        return f"{plain}--{self._selection}"

    async def of(self, source: SourceImage, identity: Identity) -> CutPartition | None:
        """Return the partition of ``source``; None where that is no 2DFS image, as far as can be told.

        An image that is malformed or incomplete, and did not show to have a field by then, is none: it is the
        registry's, and was passed on before.

        Raises:
            UnknownPartitionError: its field has no such partition.
            PartitionError, FormatError, EndedError, UnsignedError: as for ``Partitions.get``.
            RefusedError, UpstreamError: a part of it could not be fetched; it may be a 2DFS image.
            TooManyRequestsError: too many partitions are to be cut before it.
        """
        if self._cutter.is_ordinary(source):
            return None
        try:
            provenance = Provenance(source.digest, self._selection)
            found = await self._partitions.get(source, provenance, identity)
            if found is not None:
                return found
            names = await self._cutter.names(source, identity)
        except FormatError:
            if self._cutter.is_fielded(source):
                raise
            return None
        except UpstreamError as error:
            if error.status != HTTPStatus.NOT_FOUND or self._cutter.is_fielded(source):
                raise
            return None
        if names is None:
            return None
        raise UnknownPartitionError(
            f"{source.image} has no partition called {self._selection}, which this proxy gives for plain tags; it has "
            f"{listed_names(names)}: pull one of them, as {source.reference}--all, or the 2DFS image itself as "
            f"{source.reference}--image"
        )
