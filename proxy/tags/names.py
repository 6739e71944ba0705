"""Tag -> the names of the partitions of its image, for clients that the registry lets read it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from itertools import chain, islice
from typing import Final

from cachetools import TTLCache

from proxy.auth.identity import Identity
from proxy.confinement.apart import EndedError
from proxy.partitions.cutting import Cutter
from proxy.partitions.policy import UnsignedError
from proxy.partitions.source import SourceImage, Sources
from proxy.repository import Repository
from proxy.store.tiered import TieredStore
from proxy.tags.records import PartitionNames, PartitionNamesKey
from proxy.upstream.replies import RefusedError, TooLongError, UpstreamError
from twodfs.errors import FormatError
from twodfs.field.partition import readings
from twodfs.oci.documents import ACCEPT_IMAGES
from twodfs.oci.reference import TAG

MOST_NAMES: Final = 1024
"""Names of one image that are listed; a field may have sixteen times as many."""
SEPARATOR: Final = "--"
"""Between a tag and a name."""
_ATTACHED: Final = re.compile(r"sha256-[0-9a-f]{64}(?:\..*)?")
"""Tags of signatures, attestations, lists of parts and lists of referrers."""
_MOST_FAULTY: Final = 4096
_FAULTY_SECONDS: Final = 600.0
_FROM_HERE_THE_REGISTRYS_FAULT: Final = 500


def may_have_partitions(tag: str) -> bool:
    """Say whether an image under ``tag`` is looked into: not where the tag is that of a partition or a signature."""
    return TAG.fullmatch(tag) is not None and not _ATTACHED.fullmatch(tag) and not readings(tag)


class NamesOfTags:
    """Looks into images, once for each digest."""

    def __init__(self, sources: Sources, cutter: Cutter, store: TieredStore) -> None:
        self._sources = sources
        self._cutter = cutter
        self._store = store
        # Of images with a fault, which may be costly to find.
        self._faulty: TTLCache[PartitionNamesKey, bool] = TTLCache(_MOST_FAULTY, _FAULTY_SECONDS)

    async def of(self, repository: Repository, tag: str, identity: Identity) -> Sequence[str]:
        """Return the names that can follow ``tag``; none where the image has none, or this client may not read it.

        Raises:
            RefusedError, UpstreamError: the registry cannot answer now.
            TooManyRequestsError: too many images are looked into before it.
        """
        if not may_have_partitions(tag):
            return ()
        try:
            source = await self._sources.resolve(repository, tag, identity, ACCEPT_IMAGES)
            return () if source is None else await self._of_image(source, identity)
        except (UnsignedError, EndedError):
            return ()
        except RefusedError as error:
            if error.reply.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT):
                raise
            if error.reply.status >= _FROM_HERE_THE_REGISTRYS_FAULT:
                raise
            return ()

    async def _of_image(self, source: SourceImage, identity: Identity) -> Sequence[str]:
        key = PartitionNamesKey(source.repository, source.digest)
        if key in self._faulty:
            return ()
        known = await self._store.get(key)
        if known is None:
            try:
                fields = await self._cutter.names(source, identity)
            except (FormatError, TooLongError):
                self._faulty[key] = True
                return ()
            except UpstreamError as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
                return ()  # a part of the image is missing
            some = set(islice(chain.from_iterable(fields or ()), MOST_NAMES))
            known = PartitionNames(tuple(sorted(some)))
            await self._store.put({key: known})
        elif known.names:
            await self._cutter.permit(source, identity)
        return known.names
