"""Manifests, configs and fields by digest, as far as they are on disk; and how they get there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self

from aiohttp import hdrs
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.auth.identity import Identity
from proxy.edge.disk.store import EdgeStore
from proxy.edge.filling.fills import Fills
from proxy.edge.offline.outage import DIGEST_HEADER
from proxy.edge.offline.questions import EdgeQuestion
from proxy.edge.rights.names import Names
from proxy.repository import Repository
from proxy.upstream.replies import STALE, BrokeOffError, Reply, Take, TooLongError, UpstreamError
from twodfs.errors import FormatError
from twodfs.oci.digest import Digest
from twodfs.oci.documents import OCI_INDEX, OCI_MANIFEST, Document, own_media_type, parse_object

BLOB_TYPE: Final = "application/octet-stream"
_PIECE: Final = 2**20


@dataclass(frozen=True, slots=True)
class OpenDocument:
    """A whole document in a file, open to be read.

    Attributes:
        size: in bytes.
        was_asked: whether it came just now, with the credentials of the client that it is for.
    """

    size: int
    was_asked: bool
    _descriptor: int
    _close: Callable[[], None]

    def close(self) -> None:
        """Let it go."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def pass_on(self, take: Take) -> None:
        """Give ``take`` the bytes, piece by piece."""
        for at in range(0, self.size, _PIECE):
            await take(await asyncio.to_thread(os.pread, self._descriptor, _PIECE, at))

    async def read(self) -> bytes:
        """Return all bytes."""
        pieces: list[bytes] = []

        async def take(piece: bytes) -> None:
            pieces.append(piece)

        await self.pass_on(take)
        return b"".join(pieces)


class EdgeDocuments:
    """Documents among the content of an edge node."""

    def __init__(self, store: EdgeStore, names: Names, fills: Fills) -> None:
        self._store = store
        self._names = names
        self._fills = fills

    def has(self, digest: Digest) -> bool:
        """Say whether there seems to be content with ``digest``."""
        return self._store.blobs.has(digest)

    def is_coming(self, digest: Digest) -> bool:
        """Say whether a blob is being fetched to the disk, here or in another worker."""
        return self._fills.is_under_way(digest)

    async def read(self, digest: Digest, limit: int) -> bytes | None:
        """Return the content with ``digest``; None where it is not there, longer than ``limit`` bytes, or rotten."""
        return await self._store.blobs.read(digest, limit)

    async def size(self, repository: Repository, digest: Digest) -> int | None:
        """Return the bytes of the content with ``digest``: of the file, or as a manifest has it; None: unknown."""
        blob = await self._store.blobs.find(digest)
        if blob is None:
            return await self._names.size(repository, digest)
        with blob:
            return blob.size

    async def open(self, digest: Digest, limit: int) -> OpenDocument | None:
        """Return the document with ``digest``, to be closed; None where it is not there, or longer than ``limit``."""
        blob = await self._store.blobs.find(digest)
        if blob is not None and blob.size > limit:
            blob.close()
            return None
        return None if blob is None else OpenDocument(blob.size, False, blob.descriptor, blob.close)  # noqa: FBT003

    async def fetch(
        self, repository: Repository, digest: Digest, identity: Identity, limit: int
    ) -> OpenDocument | None:
        """Have a blob fetched to the disk, once for all who want it, and return it, to be closed.

        None where it cannot be kept, and must be read without the disk.

        Raises:
            RefusedError: the registry refuses it, or does not have it.
            UpstreamError: the registry did not give it, or it is longer than ``limit`` bytes.
        """
        growing = await self._fills.begin(repository, digest, identity, size=await self._names.size(repository, digest))
        if growing is None:
            return None
        problem: UpstreamError | None = None
        try:
            if growing.size > limit:
                problem = TooLongError(f"the registry's answer for {digest} is longer than {limit} bytes")
            elif not await growing.finished():
                problem = BrokeOffError(f"the registry did not give {digest} whole and right")
        except BaseException:
            growing.close()
            raise
        if problem is not None:
            growing.close()
            raise problem
        return OpenDocument(growing.size, not growing.is_joined, growing.descriptor, growing.close)

    async def keep_manifest(self, repository: Repository, document: Document) -> None:
        """Put a manifest or index on disk, and take down the content that it names."""
        await self._store.blobs.put(document.digest, document.body)
        await self._names.name_document(repository, document)

    async def keep(self, digest: Digest, body: bytes) -> None:
        """Put another document on disk."""
        await self._store.blobs.put(digest, body)


def document_of(digest: Digest, body: bytes) -> Document:
    """Return a manifest or index of which only the bytes are known; one without a type has that of its shape."""
    try:
        shape = OCI_INDEX if "manifests" in parse_object(body) else OCI_MANIFEST
        return Document(own_media_type(body, shape), digest, body)
    except FormatError:
        return Document(OCI_MANIFEST, digest, body)


def whole_reply(question: EdgeQuestion, body: bytes, *, is_late: bool = False) -> Reply:
    """Return the whole document that was asked for as the answer; ``is_late`` as for ``disk_reply``."""
    media_type = document_of(question.digest, body).media_type if question.kind == "manifest" else BLOB_TYPE
    headers = (hdrs.CONTENT_TYPE, media_type), (hdrs.CONTENT_LENGTH, str(len(body)))
    return disk_reply(question, HTTPStatus.OK, headers, body=body, is_late=is_late)


def disk_reply(
    question: EdgeQuestion,
    status: HTTPStatus,
    headers: tuple[tuple[str, str], ...],
    *,
    body: bytes = b"",
    is_late: bool = False,
) -> Reply:
    """Return an answer from disk; ``is_late``: the registry was asked first, and did not answer."""
    own = [(DIGEST_HEADER, question.reference), (hdrs.ETAG, f'"{question.reference}"')]
    late = [(hdrs.WARNING, STALE)] if is_late else []
    return Reply(status, status.phrase, CIMultiDictProxy(CIMultiDict([*own, *headers, *late])), body)
