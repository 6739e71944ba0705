"""Manifests, configs and fields by digest, as far as they are on disk; and how they get there."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from proxy.edge.disk.files import beside
from proxy.edge.disk.store import EdgeStore
from proxy.edge.rights.names import Names
from proxy.logs import get_logger
from proxy.repository import Repository
from proxy.upstream.replies import Take
from twodfs.errors import FormatError
from twodfs.oci.digest import Digest
from twodfs.oci.documents import OCI_INDEX, OCI_MANIFEST, Document, own_media_type, parse_object

_PIECE: Final = 2**20


class EdgeDocuments:
    """Documents among the content of an edge node."""

    def __init__(self, store: EdgeStore, names: Names) -> None:
        self._store = store
        self._names = names

    def has(self, digest: Digest) -> bool:
        """Say whether there seems to be content with ``digest``."""
        return self._store.blobs.has(digest)

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

    async def pass_on(self, digest: Digest, take: Take, limit: int) -> bool:
        """Give ``take`` the bytes with ``digest``, piece by piece; False where they are not there, or are too many."""
        blob = await self._store.blobs.find(digest)
        if blob is None:
            return False
        with blob:
            if blob.size > limit:
                return False
            for at in range(0, blob.size, _PIECE):
                await take(await asyncio.to_thread(os.pread, blob.descriptor, _PIECE, at))
        return True

    async def keep_manifest(self, repository: Repository, document: Document) -> None:
        """Put a manifest or index on disk, and take down the content that it names."""
        await self._store.blobs.put(document.digest, document.body)
        await self._names.name_document(repository, document)

    async def keep(self, digest: Digest, body: bytes) -> None:
        """Put another document on disk."""
        await self._store.blobs.put(digest, body)

    @asynccontextmanager
    async def copied(self, digest: Digest, take: Take) -> AsyncIterator[DocumentCopy]:
        """Yield what passes bytes on to ``take`` and copies them; what is left of the copy goes with the context."""
        copy = DocumentCopy(self._store.directory.ingest, digest, take)
        try:
            yield copy
        finally:
            await copy.close()

    async def keep_copy(self, copy: DocumentCopy) -> None:
        """Put a complete copy among the content, if it has the right digest and there is room."""
        if not await copy.is_right():
            return
        if (whole := copy.whole()) is not None:
            await self._store.blobs.put(copy.digest, whole)
        elif copy.file is not None and await self._store.space.reserve(copy.digest, copy.size):
            descriptor, path = copy.file
            try:
                await self._store.blobs.adopt(copy.digest, path, descriptor)
            except OSError as error:
                get_logger().warning("document not kept", digest=copy.digest, reason=str(error))
            finally:
                self._store.space.release(copy.digest)


class DocumentCopy:
    """Bytes on their way to a reader, copied: in memory while they are few, then into a file."""

    def __init__(self, directory: Path, digest: Digest, take: Take) -> None:
        self.digest = digest
        self.size = 0
        self.file: tuple[int, Path] | None = None
        """Open, and where it is; None while the bytes are few."""
        self._directory = directory
        self._stack = ExitStack()
        self._take = take
        self._hash = hashlib.new(digest.partition(":")[0], usedforsecurity=False)
        self._pending = bytearray()
        self._has_failed = False

    async def take(self, piece: bytes) -> None:
        """Pass bytes on; a disk that fails does not stop them."""
        await self._take(piece)
        if self._has_failed:
            return
        self._pending += piece
        self.size += len(piece)
        if len(self._pending) >= _PIECE:
            await self._write()

    async def is_right(self) -> bool:
        """Say whether all bytes are copied, and have the digest."""
        if self.file is not None and self._pending:
            await self._write()
        if self._has_failed:
            return False
        if self.file is None:
            self._hash.update(self._pending)
        return self._hash.hexdigest() == self.digest.partition(":")[2]

    def whole(self) -> bytes | None:
        """Return the bytes of a copy that is in memory; None where it is in the file."""
        return bytes(self._pending) if self.file is None else None

    async def close(self) -> None:
        """Remove the file, if it is still there."""
        if self.file is not None:
            self.file = None
            await asyncio.to_thread(self._stack.close)

    async def _write(self) -> None:
        pending, self._pending = self._pending, bytearray()
        try:
            if self.file is None:
                self.file = self._stack.enter_context(beside(self._directory / self.digest.partition(":")[2]))
            await asyncio.to_thread(_written, self.file[0], pending)
        except OSError as error:
            get_logger().warning("document not kept", digest=self.digest, reason=str(error))
            self._has_failed = True
        else:
            await asyncio.to_thread(self._hash.update, pending)


def _written(descriptor: int, content: bytearray) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def document_of(digest: Digest, body: bytes) -> Document:
    """Return a manifest or index of which only the bytes are known; one without a type has that of its shape."""
    try:
        shape = OCI_INDEX if "manifests" in parse_object(body) else OCI_MANIFEST
        return Document(own_media_type(body, shape), digest, body)
    except FormatError:
        return Document(OCI_MANIFEST, digest, body)
