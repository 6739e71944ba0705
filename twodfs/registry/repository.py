"""One repository: manifests and blobs, read verified and written whole (distribution-spec v1.1)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import BinaryIO, Final

from twodfs.errors import DigestError, FormatError, RegistryError
from twodfs.oci.digest import Digest, digest_of, is_digest, parse_digest, verify
from twodfs.oci.documents import (
    ACCEPT_IMAGES,
    IMAGE_TYPES,
    MAX_MANIFEST_BYTES,
    OCI_INDEX,
    Descriptor,
    Document,
    Json,
    own_media_type,
    parse_object,
)
from twodfs.oci.referrers import entries_of, next_page, referrers_tag
from twodfs.progress import Advance, silent
from twodfs.registry.exchange import TextBody
from twodfs.registry.message import Request, WholeAnswer
from twodfs.registry.requests import RepositoryRequests
from twodfs.registry.transport import Transport
from twodfs.registry.upload.blobs import BlobUploads
from twodfs.registry.upload.content import CHUNK
from twodfs.wire.response import Headers, Response

MAX_ANSWER_BYTES: Final = 64 * 1024

DIGEST_HEADER: Final = "docker-content-digest"
_ACCEPT: Final = {"Accept": ACCEPT_IMAGES}
_FIRST_BYTE: Final = {"Range": "bytes=0-0"}
_CONTENT_RANGE = re.compile(r"bytes 0-\d+/(\d+)")
_PARTS: Final = (HTTPStatus.PARTIAL_CONTENT, HTTPStatus.OK, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
_STORED: Final = (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED)
_BEGIN = re.compile(r"bytes (\d{1,18})-")
_NO_REFERRERS: Final = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.NOT_ACCEPTABLE,
        HTTPStatus.NOT_IMPLEMENTED,
    }
)
_MOST_PAGES: Final = 16
_TAGS_A_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Resolved:
    """The manifest that a tag names at this moment. ``size`` is in bytes."""

    digest: Digest
    media_type: str
    size: int


class RemoteRepository(BlobUploads):
    """One repository of a registry. Every step may be made again, and is, when it fails for the moment."""

    def __init__(self, transport: Transport, name: str, scopes: tuple[str, ...]) -> None:
        super().__init__(RepositoryRequests(transport, name, scopes))
        self.name = name

    def __str__(self) -> str:
        return str(self._requests)

    def resolve(self, reference: str) -> Resolved:
        """Return the manifest that ``reference``, a tag or digest, names; without reading it where that works.

        Raises:
            RegistryError: it names nothing (status 404), or the registry does not say.
            AuthError: the registry wants other credentials.
        """
        answer = self._transport.fetch(
            self._requests.of("HEAD", f"manifests/{reference}", _ACCEPT), HTTPStatus.OK, limit=0
        )
        found = answer.headers.get(DIGEST_HEADER)
        length = answer.headers.get("content-length")
        if is_digest(found) and length.isdecimal() and answer.media_type in IMAGE_TYPES:
            return Resolved(Digest(found), answer.media_type, int(length))
        document = self.manifest(reference)
        return Resolved(document.digest, document.media_type, len(document.body))

    def manifest(self, reference: str, *, limit: int = MAX_MANIFEST_BYTES) -> Document:
        """Return the manifest or index that ``reference``, a tag or digest, names; verified.

        Raises:
            RegistryError: as for ``resolve``; or it has more than ``limit`` bytes.
            DigestError: the bytes are not those of the digest asked for, or answered.
        """
        request = self._requests.of("GET", f"manifests/{reference}", _ACCEPT)
        answer = self._transport.fetch(request, HTTPStatus.OK, limit=limit)
        media_type = answer.media_type
        if media_type not in IMAGE_TYPES:  # plain file servers know none to give it
            media_type = own_media_type(answer.body, media_type)
        promised = reference if is_digest(reference) else answer.headers.get(DIGEST_HEADER)
        digest = parse_digest(promised) if promised else digest_of(answer.body)
        return Document(media_type, digest, verify(answer.body, digest))

    def blob(self, digest: Digest, *, limit: int) -> bytes:
        """Return a blob of at most ``limit`` bytes; verified.

        Raises:
            RegistryError: it is not there (status 404), or bigger.
            DigestError: the bytes are others.
        """
        answer = self._transport.fetch(self._requests.of("GET", f"blobs/{digest}"), HTTPStatus.OK, limit=limit)
        return verify(answer.body, digest)

    def referrers(self, digest: Digest) -> tuple[Json, ...]:
        """Return the entries of a manifest's referrers, of all types.

        From the registry's API, of whose pages not too many are read; where it has none, from the tag under
        which clients keep such a list.

        Raises:
            RegistryError: as for ``resolve``; or it answers more than 4 MiB.
            FormatError: the answer is no index.
        """
        found: list[Json] = []
        request = self._requests.of("GET", f"referrers/{digest}", {"Accept": OCI_INDEX})
        try:
            for answer in self._pages(request, f"/v2/{self.name}/referrers/{digest}"):
                if not found and answer.media_type != OCI_INDEX:
                    break
                found += entries_of(parse_object(answer.body))
            else:
                return tuple(found)
        except RegistryError as error:
            if found or error.status not in _NO_REFERRERS:
                raise
        return self._tagged_referrers(digest)

    def tags(self) -> tuple[str, ...]:
        """Return the repository's tags; of very many, those of the first pages.

        Raises:
            RegistryError: as for ``resolve``; or a page has more than 4 MiB.
            FormatError: the answer is no list of tags.
        """
        found: list[str] = []
        request = self._requests.of("GET", f"tags/list?n={_TAGS_A_PAGE}")
        for answer in self._pages(request, f"/v2/{self.name}/tags/list"):
            listed = parse_object(answer.body).get("tags")
            found += (one for one in listed or () if isinstance(one, str)) if isinstance(listed, list) else ()
        return tuple(found)

    def _pages(self, request: Request, path: str) -> Iterator[WholeAnswer]:
        """Yield the first pages of the list at ``path``, of which ``request`` asks for the first."""
        for _ in range(_MOST_PAGES):
            answer = self._transport.fetch(request, HTTPStatus.OK, limit=MAX_MANIFEST_BYTES)
            yield answer
            following = next_page(answer.headers.get("link"), path)
            if following is None:
                return
            request = replace(request, url=f"{self._transport.url}{following}")

    def _tagged_referrers(self, digest: Digest) -> tuple[Json, ...]:
        request = self._requests.of("GET", f"manifests/{referrers_tag(digest)}", {"Accept": OCI_INDEX})
        answer = self._transport.fetch(request, HTTPStatus.OK, HTTPStatus.NOT_FOUND, limit=MAX_MANIFEST_BYTES)
        return () if answer.status == HTTPStatus.NOT_FOUND else tuple(entries_of(parse_object(answer.body)))

    def download(self, blob: Descriptor, file: BinaryIO, advance: Advance = silent) -> None:
        """Write a blob into ``file``, from its start; verified, of any size.

        Raises:
            RegistryError: it is not there (status 404), or has another size than its descriptor says.
            DigestError: the bytes are others.
        """
        request = self._requests.of("GET", f"blobs/{blob.digest}")
        self._transport.retry(partial(self._download_once, request, blob, file, advance), is_transfer=True)

    def _download_once(self, request: Request, blob: Descriptor, file: BinaryIO, advance: Advance) -> None:
        hasher = hashlib.new(blob.digest.partition(":")[0])
        received = 0
        buffer = memoryview(bytearray(min(CHUNK, blob.size + 1)))
        file.seek(0)
        file.truncate()
        try:
            with self._transport.exchange(request, HTTPStatus.OK) as (response, _):
                while size := response.readinto(buffer):
                    received += size
                    if received > blob.size:
                        raise self.sent_wrongly(blob, "more")
                    hasher.update(buffer[:size])
                    file.write(buffer[:size])
                    advance(size)
        except RegistryError:
            advance(-min(received, blob.size))
            raise
        if received != blob.size:
            raise request.failed(f"sent {received} bytes where its descriptor says {blob.size}")
        if hasher.hexdigest() != blob.digest.partition(":")[2]:
            raise DigestError(f"{self} sent other content than {blob.digest}")

    def part(self, digest: Digest, begin: int, size: int) -> bytes:
        """Return ``size`` bytes of a blob from byte ``begin`` on, fewer at its end; not verified, being a part.

        Raises:
            RegistryError: it is not there (status 404), or the registry gives no parts.
        """
        wanted = {"Range": f"bytes={begin}-{begin + size - 1}"}
        request = self._requests.of("GET", f"blobs/{digest}", wanted)

        def attempt() -> bytes:
            with self._transport.exchange(request, *_PARTS) as (response, _):
                if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # it begins behind the end
                    return b""
                if _begin(response) != begin:
                    raise request.failed("the registry gives no parts of blobs", status=response.status)
                return response.read(size)[:size]

        return self._transport.retry(attempt)

    @contextmanager
    def reading(self, blob: Descriptor, at: int) -> Iterator[Response]:
        """Yield an answer with the bytes of a blob from ``at`` on, not verified.

        Raises:
            RegistryError: it is not there (status 404), or the connection breaks.
        """
        headers = {"Range": f"bytes={at}-{blob.size - 1}"} if at else {}
        request = self._requests.of("GET", f"blobs/{blob.digest}", headers)
        with self._transport.exchange(request, HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT) as (response, _):
            begin = _begin(response)
            if begin is None or begin > at:
                raise request.failed("sent another range than was asked for", status=response.status)
            behind = at - begin
            skip = memoryview(bytearray(min(CHUNK, behind)))
            while behind and (count := response.readinto(skip[:behind])):
                behind -= count
            yield response

    def sent_wrongly(self, blob: Descriptor, how: str) -> RegistryError:
        """Return the error that says that a blob came with another length."""
        request = self._requests.of("GET", f"blobs/{blob.digest}")
        return request.failed(f"sent {how} than the {blob.size} bytes its descriptor says")

    def has_manifest(self, digest: Digest, tag: str | None = None) -> bool:
        """Say whether the repository has a manifest or index: under ``tag``, or at all.

        A registry that does not say has it not: it is going to be given it.
        """
        request = self._requests.of("HEAD", f"manifests/{tag or digest}", _ACCEPT)
        try:
            answer = self._transport.fetch(request, HTTPStatus.OK, limit=0)
        except RegistryError as error:
            if error.status is None:
                raise
            return False
        return answer.headers.get(DIGEST_HEADER) == digest

    def size(self, digest: Digest) -> int:
        """Return a blob's bytes, having asked for the first of them where the registry does not tell.

        Raises:
            RegistryError: it is not there (status 404), or the registry does not say.
        """
        request = self._requests.of("HEAD", f"blobs/{digest}")
        try:
            length = self._transport.fetch(request, HTTPStatus.OK, limit=0).headers.get("content-length")
        except RegistryError as error:
            if error.status in (None, HTTPStatus.NOT_FOUND):
                raise
            length = ""
        return int(length) if length.isdecimal() else self._size_by_range(digest)

    def _size_by_range(self, digest: Digest) -> int:
        # ECR Public answers 401 to HEAD, and others leave the length out.
        request = self._requests.of("GET", f"blobs/{digest}", _FIRST_BYTE)

        def attempt() -> tuple[int, Headers]:
            with self._transport.exchange(request, HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT) as (response, _):
                return response.status, response.headers

        status, headers = self._transport.retry(attempt)
        if status == HTTPStatus.OK:  # it knows no ranges: the length is that of all
            length = headers.get("content-length")
        else:
            found = _CONTENT_RANGE.fullmatch(headers.get("content-range"))
            length = found[1] if found else ""
        if not length.isdecimal():
            raise request.failed("the registry does not tell the size of the blob", status=status)
        return int(length)

    def put_manifest(self, document: Document, tag: str | None = None) -> None:
        """Store a manifest or index, under ``tag`` or by its digest alone.

        Raises:
            RegistryError: the registry refuses it, or understood other bytes.
        """
        if len(document.body) > MAX_MANIFEST_BYTES:
            raise FormatError(f"the manifest has {len(document.body)} bytes; registries take {MAX_MANIFEST_BYTES}")
        request = self._requests.of(
            "PUT",
            f"manifests/{tag or document.digest}",
            {"Content-Type": document.media_type},
            TextBody(document.body),
        )
        answer = self._transport.fetch(request, *_STORED, limit=MAX_ANSWER_BYTES)
        stored = answer.headers.get(DIGEST_HEADER) or document.digest
        if stored != document.digest:
            raise request.failed(f"the registry made {stored[:140]} of the manifest {document.digest}")


def _begin(response: Response) -> int | None:
    """Return the byte of a blob that an answer begins with; None where it does not say."""
    if response.status == HTTPStatus.OK:
        return 0
    told = _BEGIN.match(response.headers.get("content-range"))
    return int(told[1]) if told else None
