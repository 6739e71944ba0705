"""One repository: manifests and blobs, read verified and written whole (distribution-spec v1.1)."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import quote

from aiohttp import hdrs
from yarl import URL

from twodfs.digest import Digest, digest_of, is_digest, parse_digest, verify
from twodfs.errors import DigestError, FormatError, RegistryError
from twodfs.oci import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    MAX_MANIFEST_BYTES,
    OCI_INDEX,
    Descriptor,
    Document,
    Index,
    expect,
    parse_manifest,
    parse_object,
)
from twodfs.progress import Advance, silent
from twodfs.registry.message import Request
from twodfs.registry.transport import Transport

MAX_ANSWER_BYTES: Final = 64 * 1024
CHUNK: Final = 1024 * 1024
"""Bytes of a blob in memory at a time."""

DIGEST_HEADER: Final = "Docker-Content-Digest"
_KNOWN = INDEX_TYPES | MANIFEST_TYPES
_ACCEPT: dict[str, str] = {hdrs.ACCEPT: ", ".join(sorted(_KNOWN))}
_OCTETS: dict[str, str] = {hdrs.CONTENT_TYPE: "application/octet-stream"}


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a tag names at this moment. ``size`` is in bytes."""

    digest: Digest
    media_type: str
    size: int


class Repository:
    """One repository of a registry. Every step may be made again, and is, when it fails for the moment."""

    def __init__(self, transport: Transport, name: str, scopes: tuple[str, ...]) -> None:
        self.name = name
        self._transport = transport
        self._scopes = scopes

    def __str__(self) -> str:
        return f"{self._transport.registry}/{self.name}"

    async def resolve(self, reference: str) -> Resolved:
        """Return what ``reference``, a tag or digest, names; without reading the manifest where that works.

        Raises:
            RegistryError: it names nothing (status 404), or the registry does not say.
            AuthError: the registry wants other credentials.
        """
        answer = await self._transport.fetch(
            self._request("HEAD", f"manifests/{reference}", _ACCEPT), 200, limit=0
        )
        found = answer.headers.get(DIGEST_HEADER, "")
        length = answer.headers.get(hdrs.CONTENT_LENGTH, "")
        if is_digest(found) and length.isdecimal() and answer.media_type in _KNOWN:
            return Resolved(Digest(found), answer.media_type, int(length))
        document = await self.manifest(reference)
        return Resolved(document.digest, document.media_type, len(document.body))

    async def manifest(self, reference: str) -> Document:
        """Return the manifest or index that ``reference``, a tag or digest, names; verified.

        Raises:
            RegistryError: as for ``resolve``; or it has more than 4 MiB.
            DigestError: the bytes are not those of the digest asked for, or answered.
        """
        request = self._request("GET", f"manifests/{reference}", _ACCEPT)
        answer = await self._transport.fetch(request, 200, limit=MAX_MANIFEST_BYTES)
        media_type = answer.media_type
        if media_type not in _KNOWN:
            media_type = _own_type(answer.body, media_type)
        promised = reference if is_digest(reference) else answer.headers.get(DIGEST_HEADER)
        digest = parse_digest(promised) if promised else digest_of(answer.body)
        return Document(media_type, digest, verify(answer.body, digest))

    async def blob(self, digest: Digest, *, limit: int) -> bytes:
        """Return a blob of at most ``limit`` bytes; verified.

        Raises:
            RegistryError: it is not there (status 404), or bigger.
            DigestError: the bytes are others.
        """
        answer = await self._transport.fetch(self._request("GET", f"blobs/{digest}"), 200, limit=limit)
        return verify(answer.body, digest)

    async def referrers(self, digest: Digest, artifact_type: str) -> tuple[Descriptor, ...]:
        """Return what of one type refers to a manifest; nothing where the registry has no such API.

        Raises:
            RegistryError: as for ``resolve``; or it answers more than 4 MiB.
            FormatError: the answer is no index.
        """
        plain = self._request("GET", f"referrers/{digest}", {hdrs.ACCEPT: OCI_INDEX})
        request = replace(plain, url=plain.url.with_query({"artifactType": artifact_type}))
        answer = await self._transport.fetch(request, 200, 404, limit=MAX_MANIFEST_BYTES)
        if answer.status == 404:  # noqa: PLR2004
            return ()
        listed = parse_manifest(answer.body, OCI_INDEX)
        if not isinstance(listed, Index):
            raise FormatError("a list of referrers is an index, this is a manifest")
        # A registry may leave the filter to its clients (distribution-spec, "Listing Referrers").
        return tuple(one for one in listed.manifests if one.raw.get("artifactType") == artifact_type)

    async def download(self, blob: Descriptor, file: BinaryIO, advance: Advance = silent) -> None:
        """Write a blob into ``file``, from its start; verified, of any size.

        Raises:
            RegistryError: it is not there (status 404), or has another size than its descriptor says.
            DigestError: the bytes are others.
        """
        request = self._request("GET", f"blobs/{blob.digest}")
        await self._transport.retry(partial(self._download_once, request, blob, file, advance))

    async def _download_once(
        self, request: Request, blob: Descriptor, file: BinaryIO, advance: Advance
    ) -> None:
        hasher = hashlib.new(blob.digest.partition(":")[0])
        received = 0

        def take(chunk: bytes) -> None:
            hasher.update(chunk)
            file.write(chunk)

        file.seek(0)
        file.truncate()
        try:
            async with self._transport.exchange(request, 200) as response:
                async for chunk in response.content.iter_chunked(CHUNK):
                    received += len(chunk)
                    if received > blob.size:
                        raise request.failed(f"sent more than the {blob.size} bytes its descriptor says")
                    await asyncio.to_thread(take, chunk)
                    advance(len(chunk))
        except RegistryError:
            advance(-received)
            raise
        if received != blob.size:
            raise request.failed(f"sent {received} bytes where its descriptor says {blob.size}")
        if hasher.hexdigest() != blob.digest.partition(":")[2]:
            raise DigestError(f"{self} sent other content than {blob.digest}")

    async def has_blob(self, digest: Digest) -> bool:
        """Say whether the repository has a blob.

        Raises:
            RegistryError: the registry does not say.
        """
        answer = await self._transport.fetch(self._request("HEAD", f"blobs/{digest}"), 200, 404, limit=0)
        return answer.status == 200  # noqa: PLR2004

    async def size(self, digest: Digest) -> int:
        """Return a blob's bytes.

        Raises:
            RegistryError: it is not there (status 404), or the registry does not say.
        """
        request = self._request("HEAD", f"blobs/{digest}")
        answer = await self._transport.fetch(request, 200, limit=0)
        length = answer.headers.get(hdrs.CONTENT_LENGTH, "")
        if not length.isdecimal():
            raise request.failed("the registry does not tell the size of the blob", status=answer.status)
        return int(length)

    async def upload(
        self,
        blob: Descriptor,
        content: Path | bytes,
        *,
        mount_from: str | None = None,
        verify: bool = False,
        advance: Advance = silent,
    ) -> bool:
        """Give the repository a blob, as one stream (distribution-spec, "POST then PUT").

        Args:
            blob: its digest and size.
            content: a file, read piece by piece, or the bytes.
            mount_from: another repository of the registry that may have it; then no byte need travel.
            verify: hash the content on its way, and hold the last of it back when it is not the blob's.
            advance: hears of bytes as they go out.

        Returns:
            Whether bytes travelled; False when the blob was mounted.

        Raises:
            RegistryError: the registry refuses, or finds another digest than the blob's.
            DigestError: the content is not the blob's.
        """
        once = partial(self._upload_once, blob, content, mount_from, blob if verify else None, advance)
        return await self._transport.retry(once)

    async def _upload_once(
        self,
        blob: Descriptor,
        content: Path | bytes,
        mount_from: str | None,
        expected: Descriptor | None,
        advance: Advance,
    ) -> bool:
        location = await self._begin_upload(blob.digest, mount_from)
        if location is None:
            return False
        with _opened(content) as file:
            outgoing = _Outgoing(file, advance, expected)
            request = Request(
                "PUT",
                _with_digest(location, blob.digest),
                self._scopes,
                _OCTETS,
                body=outgoing.chunks,
                length=blob.size,
            )
            try:
                async with self._transport.exchange(request, 201, 204):
                    return True
            except RegistryError:
                if outgoing.is_damaged:
                    raise DigestError(f"what should be {blob.digest} has other content") from None
                outgoing.rewind()
                raise

    async def _begin_upload(self, digest: Digest, mount_from: str | None) -> URL | None:
        """Return where the blob goes; None when the registry mounted it instead."""
        request = self._request("POST", "blobs/uploads/")
        if mount_from is not None:
            asked = {"mount": digest, "from": mount_from}
            request = Request("POST", request.url.with_query(asked), self._scopes)
        async with self._transport.exchange(request, 201, 202) as response:
            if response.status == 201:  # noqa: PLR2004
                return None
            location = response.headers.get(hdrs.LOCATION)
            if location is None:
                raise request.failed("opened an upload without saying where", status=response.status)
            return self._transport.located(request, response.url, location)

    async def put_manifest(self, document: Document, tag: str | None = None) -> None:
        """Store a manifest or index, under ``tag`` or by its digest alone.

        Raises:
            RegistryError: the registry refuses it, or understood other bytes.
        """
        if len(document.body) > MAX_MANIFEST_BYTES:
            raise FormatError(
                f"the manifest has {len(document.body)} bytes; registries take {MAX_MANIFEST_BYTES}"
            )
        request = Request(
            "PUT",
            self._url(f"manifests/{tag or document.digest}"),
            self._scopes,
            {"Content-Type": document.media_type},
            body=_Outgoing(io.BytesIO(document.body), silent).chunks,
            length=len(document.body),
        )
        answer = await self._transport.fetch(request, 200, 201, 202, limit=MAX_ANSWER_BYTES)
        stored = answer.headers.get(DIGEST_HEADER, document.digest)
        if stored != document.digest:
            raise request.failed(f"the registry made {stored[:140]} of the manifest {document.digest}")

    def _url(self, path: str) -> URL:
        return self._transport.origin / "v2" / self.name / path

    def _request(self, method: str, path: str, headers: dict[str, str] | None = None) -> Request:
        return Request(method, self._url(path), self._scopes, headers or {})


class _Outgoing:
    """Content on its way to the registry; it sets out again as often as it takes.

    The file is the caller's to close: a request that is given up leaves its body where it stands.
    """

    def __init__(self, file: BinaryIO, advance: Advance, expected: Descriptor | None = None) -> None:
        self.is_damaged = False
        self._file = file
        self._advance = advance
        self._expected = expected
        self._sent = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the content from its start; of what is not as expected, all but the end.

        Raises:
            DigestError: it is not as expected.
        """
        self.rewind()
        check = _Check(self._expected) if self._expected else None
        while chunk := await asyncio.to_thread(self._read, check):
            yield chunk
            self._sent += len(chunk)
            self._advance(len(chunk))

    def rewind(self) -> None:
        """Go back to the start, and take back what was said to have gone out."""
        self._file.seek(0)
        self._advance(-self._sent)
        self._sent = 0

    def _read(self, check: _Check | None) -> bytes:
        chunk = self._file.read(CHUNK)
        if check and not check.allows(chunk):
            self.is_damaged = True
            raise DigestError("damaged on its way out")
        return chunk


class _Check:
    """Hashes content that should be a blob."""

    def __init__(self, blob: Descriptor) -> None:
        algorithm, _, self._expected = blob.digest.partition(":")
        self._hasher = hashlib.new(algorithm)
        self._left = blob.size

    def allows(self, chunk: bytes) -> bool:
        """Say whether ``chunk`` may go out: not the last one, nor an end before it, of other content."""
        self._hasher.update(chunk)
        self._left -= len(chunk)
        if self._left > 0:
            return bool(chunk)
        return self._hasher.hexdigest() == self._expected


def _own_type(body: bytes, served_as: str) -> str:
    """Return the media type that a manifest gives itself: plain file servers know none to give it."""
    own = parse_object(body).get("mediaType", served_as)
    return expect(own, str, "mediaType")


def _with_digest(location: URL, digest: Digest) -> URL:
    separator = "&" if location.raw_query_string else "?"
    return URL(f"{location}{separator}digest={quote(digest, safe='')}", encoded=True)


def _opened(content: Path | bytes) -> BinaryIO:
    return io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")
