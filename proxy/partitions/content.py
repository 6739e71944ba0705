"""The documents a partition is cut from: fetched by digest, verified, remembered.

They are content-addressed, so a cached document is right for ever. Nothing here decides who may read: a
caller comes only after the upstream allowed its client the source image.
"""

from __future__ import annotations

import asyncio
import re
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs

from proxy.auth.identity import Identity
from proxy.confinement.field_body import FieldBody
from proxy.logs import get_logger
from proxy.metrics.catalogue import UPSTREAM_ERRORS
from proxy.partitions.records import BlobSize, BlobSizeKey, Content, ContentKey, FieldKey, ParsedField
from proxy.repository import Repository
from proxy.single_flight import SingleFlight
from proxy.store.tiered import TieredStore
from proxy.tracing.spans import traced
from proxy.upstream.registry import Upstreams
from proxy.upstream.replies import GIVEN, RefusedError, Reply, UpstreamError
from twodfs.errors import DigestError
from twodfs.field.field import Field
from twodfs.flatten.budget import MAX_FIELD_BYTES
from twodfs.oci.digest import Digest, verify
from twodfs.oci.documents import ACCEPT_IMAGES, MAX_MANIFEST_BYTES
from twodfs.oci.image_config import MAX_CONFIG_BYTES

LARGE_DOCUMENT: Final = 256 * 1024
"""Bytes that parse in a millisecond or two."""
_CONCURRENT_SIZES: Final = 16

_SIZE: Final = re.compile(r"[0-9]{1,18}")


class Contents:
    """Reads source documents, with the credentials of the client that needs them."""

    def __init__(self, upstreams: Upstreams, store: TieredStore, *, max_field: int) -> None:
        """``max_field``: the largest field document that is read, in bytes."""
        self._upstreams = upstreams
        self._store = store
        self._max_field = max_field
        self.max_fields = max(max_field, MAX_FIELD_BYTES)
        """Bytes of all fields of an image, which are kept together while it is cut."""
        self._fetching: SingleFlight[bytes] = SingleFlight()
        self._reading: SingleFlight[Field] = SingleFlight()
        self._one_large_field = asyncio.Lock()
        self._size_slots = asyncio.Semaphore(_CONCURRENT_SIZES)

    async def manifest(
        self, repository: Repository, digest: Digest, identity: Identity, announced: int = MAX_MANIFEST_BYTES
    ) -> bytes:
        """Return the manifest or index that has ``digest``.

        Args:
            repository: as in the request.
            digest: of its bytes.
            identity: the client's own credentials.
            announced: bytes that its descriptor says it has; more are read of small ones alone.

        Raises:
            RefusedError, UpstreamError: it could not be fetched, or does not match the digest.
        """
        limit = min(MAX_MANIFEST_BYTES, max(announced, LARGE_DOCUMENT))
        return await self._content(repository, "manifests", digest, identity, limit)

    async def config(
        self, repository: Repository, digest: Digest, identity: Identity, announced: int = MAX_CONFIG_BYTES
    ) -> bytes:
        """Return the image config that has ``digest``; arguments and errors are those of ``manifest``."""
        limit = min(MAX_CONFIG_BYTES, max(announced, LARGE_DOCUMENT))
        return await self._content(repository, "blobs", digest, identity, limit)

    async def field(self, repository: Repository, digest: Digest, identity: Identity) -> Field:
        """Return the parsed field that has ``digest``; raises like ``manifest``, and ``FormatError``."""
        known = await self._store.get(FieldKey(repository, digest))
        if known is not None:
            return known.field
        shared = (repository, digest)
        try:
            return await self._reading.do(shared, lambda: self._read_field(repository, digest, identity))
        except RefusedError:
            # The shared work may have been another client's, refused for reasons of its own.
            own = (*shared, identity.fingerprint)
            return await self._reading.do(own, lambda: self._read_field(repository, digest, identity))

    async def size(self, repository: Repository, digest: Digest, identity: Identity) -> int:
        """Return the size of a blob in bytes, which fields of the original builder do not record.

        Raises:
            RefusedError, UpstreamError: the upstream does not tell.
        """
        key = BlobSizeKey(repository, digest)
        known = await self._store.get(key)
        if known is not None:
            return known.size
        async with self._size_slots:
            size = await self._ask_size(repository, digest, identity)
        await self._store.put({key: BlobSize(size)})
        return size

    async def _read_field(self, repository: Repository, digest: Digest, identity: Identity) -> Field:
        path = f"/v2/{repository.name}/blobs/{digest}"
        with FieldBody(digest, self._one_large_field) as body:
            upstream = self._upstreams[repository.upstream]
            _allowed(await upstream.download(path, identity, body.take, limit=self._max_field), digest)
            try:
                field = await body.parse()
            except DigestError as error:
                raise UpstreamError(f"the registry answered {path} with other content: {error}") from None
        key = FieldKey(repository, digest)
        await self._store.put({key: ParsedField(field)})
        if self._store.peek(key) is None:
            get_logger().warning(
                "field not kept, every new selection reads it again: cache.memory is too small",
                field=digest,
                bytes=len(field.packed),
            )
        return field

    async def _content(
        self, repository: Repository, kind: str, digest: Digest, identity: Identity, limit: int
    ) -> bytes:
        known = await self._store.get(ContentKey(repository, digest))
        if known is not None:
            return known.body
        return await self._fetching.do(
            (repository, digest, identity.fingerprint, limit),
            lambda: self._fetch(repository, kind, digest, identity, limit),
        )

    @traced("fetch")
    async def _fetch(self, repository: Repository, kind: str, digest: Digest, identity: Identity, limit: int) -> bytes:
        accept = ACCEPT_IMAGES if kind == "manifests" else "*/*"
        path = f"/v2/{repository.name}/{kind}/{digest}"
        upstream = self._upstreams[repository.upstream]
        reply = _allowed(await upstream.get(path, identity, limit=limit, accept=accept), digest)
        try:
            # Hashing lets others have the interpreter, so that a thread is of use.
            body = (
                await asyncio.to_thread(verify, reply.body, digest)
                if len(reply.body) > LARGE_DOCUMENT
                else verify(reply.body, digest)
            )
        except DigestError as error:
            UPSTREAM_ERRORS.of("digest", repository.upstream).add()
            raise UpstreamError(f"the registry answered {path} with other content: {error}") from None
        # A large one is read again for each selection: a few of them would leave no room for all others.
        if len(body) <= LARGE_DOCUMENT:
            await self._store.put({ContentKey(repository, digest): Content(body)})
        return body

    async def _ask_size(self, repository: Repository, digest: Digest, identity: Identity) -> int:
        path = f"/v2/{repository.name}/blobs/{digest}"
        upstream = self._upstreams[repository.upstream]
        reply = await upstream.head(path, identity, "*/*")
        size = reply.headers.get(hdrs.CONTENT_LENGTH, "")
        if reply.status == HTTPStatus.OK and _SIZE.fullmatch(size):
            return int(size)
        # ECR Public answers HEAD with 401, others leave the length out: one byte tells the length as well.
        reply = await upstream.first_byte(path, identity)
        _allowed(reply, digest)
        total = reply.headers.get(hdrs.CONTENT_RANGE, "").rpartition("/")[2]
        size = total if reply.status == HTTPStatus.PARTIAL_CONTENT else reply.headers.get(hdrs.CONTENT_LENGTH, "")
        if not _SIZE.fullmatch(size):
            raise UpstreamError(f"the registry does not tell the size of {digest}")
        return int(size)


def _allowed(reply: Reply, digest: Digest) -> Reply:
    if reply.status == HTTPStatus.NOT_FOUND:
        raise UpstreamError(f"the image is incomplete: the registry does not have {digest} of it", status=404)
    if reply.status not in GIVEN:
        raise RefusedError(reply)
    return reply
