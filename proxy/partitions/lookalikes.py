"""Tags that look like partitions: errors for mistyped ones, and the ones that pushes must not use.

Both speak of an image, so they are for clients that the registry lets read it. Where that or anything else
stands in the way, there is nothing to say, and the registry's own words are the answer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from http import HTTPStatus
from itertools import chain, islice
from typing import Final

from proxy.auth.identity import Identity
from proxy.confinement.apart import EndedError
from proxy.partitions.cutting import Cutter
from proxy.partitions.policy import UnsignedError
from proxy.partitions.source import SourceImage, Sources
from proxy.repository import Repository
from proxy.upstream.replies import RefusedError, UpstreamError
from twodfs.errors import FormatError, PartitionError
from twodfs.field.partition import MAX_TAG_LENGTH, RESERVED, PartitionTag
from twodfs.oci.documents import ACCEPT_IMAGES

_MOST_SHOWN: Final = 16
_MOST_LOOKED_AT: Final = 4096
_UNTOLD: Final = (FormatError, PartitionError, UnsignedError, RefusedError, EndedError)
"""Errors that may keep the names of an image's partitions from being known."""


class UnknownPartitionError(Exception):
    """The registry does not know the tag, and no partition is called so; the message lists the existing ones."""


class ComputedTagError(Exception):
    """The tag to be written names a partition: a manifest stored under it would never be served."""


class Lookalikes:
    """Explains tags to clients that may read the image that they seem to be cut from."""

    def __init__(self, sources: Sources, cutter: Cutter) -> None:
        self._sources = sources
        self._cutter = cutter

    async def explain(self, source: SourceImage, reading: PartitionTag, identity: Identity) -> None:
        """Return without an error for a tag that is neither known upstream nor a partition.

        Args:
            source: the image that the upstream just allowed this client to read as the tag's base.
            reading: how the tag was read.
            identity: the client's own.

        Raises:
            UnknownPartitionError: why it is no partition.
        """
        try:
            names = await self._cutter.names(source, identity)
        except (*_UNTOLD, UpstreamError):
            return
        if names is None:
            raise UnknownPartitionError(f"{source.image} is an ordinary image, without a field: it has no partitions")
        wanted = [one for one in reading.selection().names if one not in RESERVED]
        # Where each has its place in some field, and all of them in none, no image of the index has them all.
        unknown = [one for one in wanted if not any(one in its for its in names)] or wanted
        if not any(its >= set(wanted) for its in names):
            raise UnknownPartitionError(
                f"{source.image} has no partition called {'--'.join(unknown)}; it has {listed_names(names)}"
            )

    async def explain_mistyped(
        self, repository: Repository, ways: Iterable[tuple[str, str]], identity: Identity
    ) -> None:
        """Return where no way to read a tag leads to a 2DFS image.

        Args:
            repository: as in the request.
            ways: base tags, and the text behind them in place of a rectangle.
            identity: the client's own.

        Raises:
            UnknownPartitionError: the correct form of a rectangle.
            UpstreamError: the registry did not answer.
        """
        for base, wrong in ways:
            source = await self._readable(repository, base, identity)
            if source is None:
                continue
            with contextlib.suppress(*_UNTOLD):
                if await self._cutter.names(source, identity) is not None:
                    raise UnknownPartitionError(
                        f"{wrong} is no partition of {source.image}: a rectangle has four numbers, "
                        f"first-row.first-column.last-row.last-column"
                    )

    async def check_write(self, repository: Repository, readings: Iterable[PartitionTag], identity: Identity) -> None:
        """Return where a tag may be written: this client's pulls of it do not get a partition.

        Raises:
            ComputedTagError: they do, or one is faulty.
            UpstreamError: the registry did not answer.
        """
        if identity.rights and not identity.may_pull(repository):
            return
        for reading in readings:
            source = await self._readable(repository, reading.base, identity)
            if source is not None and await self._is_computed(source, reading, identity):
                raise ComputedTagError(
                    f"{reading} names a partition of {source.image}, which is computed; push to another tag"
                )

    async def _is_computed(self, source: SourceImage, reading: PartitionTag, identity: Identity) -> bool:
        try:
            names = await self._cutter.names(source, identity)
        except _UNTOLD:
            return self._cutter.is_fielded(source)
        except UpstreamError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return self._cutter.is_fielded(source)  # a part of it is missing
        wanted = set(reading.selection().names) - RESERVED
        return names is not None and any(wanted <= its for its in names)

    async def _readable(self, repository: Repository, tag: str, identity: Identity) -> SourceImage | None:
        with contextlib.suppress(RefusedError):
            return await self._sources.resolve(repository, tag, identity, ACCEPT_IMAGES)
        return None


def listed_names(names: Iterable[AbstractSet[str]]) -> str:
    """Return some names for people to read, with bounded work: a field may have any number."""
    some = set(islice(chain.from_iterable(names), _MOST_LOOKED_AT))
    own = sorted(one for one in some if len(one) < MAX_TAG_LENGTH)
    shown = ", ".join(own[:_MOST_SHOWN])
    if len(own) > _MOST_SHOWN:
        return f"{shown} and more, besides all and base"
    return f"{shown}, all and base" if own else "all and base"
