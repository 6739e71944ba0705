"""The questions of a cut answered from the registry, with the credentials of the client that asked for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from proxy.auth.identity import Identity
from proxy.partitions.content import Contents
from proxy.partitions.source import SourceImage
from twodfs.flatten.budget import Budget
from twodfs.flatten.needs import DocumentAnswer, DocumentKind, DocumentNeed
from twodfs.oci.digest import Digest
from twodfs.oci.documents import Document

_READ_AT_ONCE: Final = 8
"""Documents of one image that are on their way at the same time."""


class Answering:
    """Answers the questions of one cut from the registry, with the credentials of the client that asked for it."""

    def __init__(
        self, contents: Contents, source: SourceImage, identity: Identity, permit: Callable[[], Awaitable[None]]
    ) -> None:
        """``permit`` returns where ``source`` may be cut, and raises where it may not."""
        self._contents = contents
        self._source = source
        self._identity = identity
        self._permit = permit
        self._places = asyncio.Semaphore(_READ_AT_ONCE)
        self._budget = Budget(most_field_bytes=contents.max_fields)
        self.has_fields = False
        """Whether the fields were read: an error from then on may depend on the selection."""
        self.fields: tuple[Digest, ...] | None = None
        """Of which fields the image told; None while it told of none."""

    async def document(self) -> Document:
        """Return the source itself."""
        source = self._source
        body = await self._contents.manifest(source.repository, source.digest, self._identity)
        return Document(source.media_type, source.digest, body)

    async def all(self, needs: tuple[DocumentNeed, ...]) -> dict[DocumentNeed, DocumentAnswer]:
        """Return the answers to ``needs``, asked for at the same time."""
        asks_fields = any(need.kind is DocumentKind.FIELD for need in needs)
        if asks_fields:
            self.fields = tuple(need.digest for need in needs if need.kind is DocumentKind.FIELD)
            # Now it is known to be a 2DFS image; any other with such a tag is none of the policy's.
            await self._permit()
        tasks = {need: asyncio.ensure_future(self._one(need)) for need in needs}
        try:
            await asyncio.gather(*tasks.values())  # the first to fail is the reason
            answers = {need: task.result() for need, task in tasks.items()}
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)
            # An error leads to this frame. Were the tasks still here, they would lead to the error and to all
            # that was read, in a circle that only the collector ends, which comes seldom (``proxy.process``).
            del task, tasks
        self.has_fields = self.has_fields or asks_fields
        return answers

    async def _one(self, need: DocumentNeed) -> DocumentAnswer:
        contents, repository, identity = self._contents, self._source.repository, self._identity
        if need.kind is DocumentKind.SIZE:
            return await contents.size(repository, need.digest, identity)
        async with self._places:
            match need.kind:
                case DocumentKind.MANIFEST:
                    return await contents.manifest(repository, need.digest, identity, need.announced)
                case DocumentKind.CONFIG:
                    return await contents.config(repository, need.digest, identity, need.announced)
                case DocumentKind.FIELD:
                    field = await contents.field(repository, need.digest, identity)
                    self._budget.take_field(len(field.packed))
                    return field
