"""One repository: manifests and blobs, read verified and written whole (distribution-spec v1.1)."""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import quote

from twodfs.errors import AuthError, DigestError, FormatError, RegistryError
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
from twodfs.registry.message import Request
from twodfs.registry.transport import TextAnswer, Transport, located
from twodfs.wire.connection import RequestWriter
from twodfs.wire.response import Headers

MAX_ANSWER_BYTES: Final = 64 * 1024
CHUNK: Final = 1024 * 1024
"""Bytes of a blob in memory at a time."""

DIGEST_HEADER: Final = "docker-content-digest"
_ACCEPT: Final = {"Accept": ACCEPT_IMAGES}
_OCTETS: Final = {"Content-Type": "application/octet-stream"}
_FIRST_BYTE: Final = {"Range": "bytes=0-0"}
_CONTENT_RANGE = re.compile(r"bytes 0-\d+/(\d+)")
_REFUSED: Final = frozenset({401, 403, 404})
_NO_REFERRERS: Final = frozenset({400, 404, 405, 406, 501})
_MOST_PAGES: Final = 16
_TAGS_A_PAGE: Final = 1000
_BIG: Final = 4 * 1024 * 1024
"""Bytes of a file given to the kernel at a time."""


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

    def resolve(self, reference: str) -> Resolved:
        """Return what ``reference``, a tag or digest, names; without reading the manifest where that works.

        Raises:
            RegistryError: it names nothing (status 404), or the registry does not say.
            AuthError: the registry wants other credentials.
        """
        answer = self._transport.fetch(self._request("HEAD", f"manifests/{reference}", _ACCEPT), 200, limit=0)
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
        request = self._request("GET", f"manifests/{reference}", _ACCEPT)
        answer = self._transport.fetch(request, 200, limit=limit)
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
        answer = self._transport.fetch(self._request("GET", f"blobs/{digest}"), 200, limit=limit)
        return verify(answer.body, digest)

    def referrers(self, digest: Digest) -> tuple[Json, ...]:
        """Return the entries of what refers to a manifest, of all kinds.

        From the registry's API, of whose pages not too many are read; where it has none, from the tag under
        which clients keep such a list.

        Raises:
            RegistryError: as for ``resolve``; or it answers more than 4 MiB.
            FormatError: the answer is no index.
        """
        found: list[Json] = []
        request = self._request("GET", f"referrers/{digest}", {"Accept": OCI_INDEX})
        for _ in range(_MOST_PAGES):
            try:
                answer = self._transport.fetch(request, 200, limit=MAX_MANIFEST_BYTES)
            except RegistryError as error:
                if found or error.status not in _NO_REFERRERS:
                    raise
                return self._tagged_referrers(digest)
            if not found and answer.media_type != OCI_INDEX:
                return self._tagged_referrers(digest)
            found += entries_of(parse_object(answer.body))
            following = next_page(answer.headers.get("link"), f"/v2/{self.name}/referrers/{digest}")
            if following is None:
                break
            request = replace(request, url=f"{self._transport.url}{following}")
        return tuple(found)

    def tags(self) -> tuple[str, ...]:
        """Return the repository's tags; of very many, those of the first pages.

        Raises:
            RegistryError: as for ``resolve``; or a page has more than 4 MiB.
            FormatError: the answer is no list of tags.
        """
        found: list[str] = []
        request = self._request("GET", f"tags/list?n={_TAGS_A_PAGE}")
        for _ in range(_MOST_PAGES):
            answer = self._transport.fetch(request, 200, limit=MAX_MANIFEST_BYTES)
            listed = parse_object(answer.body).get("tags")
            found += (one for one in listed or () if isinstance(one, str)) if isinstance(listed, list) else ()
            following = next_page(answer.headers.get("link"), f"/v2/{self.name}/tags/list")
            if following is None:
                break
            request = replace(request, url=f"{self._transport.url}{following}")
        return tuple(found)

    def _tagged_referrers(self, digest: Digest) -> tuple[Json, ...]:
        request = self._request("GET", f"manifests/{referrers_tag(digest)}", {"Accept": OCI_INDEX})
        answer = self._transport.fetch(request, 200, 404, limit=MAX_MANIFEST_BYTES)
        return () if answer.status == 404 else tuple(entries_of(parse_object(answer.body)))  # noqa: PLR2004

    def download(self, blob: Descriptor, file: BinaryIO, advance: Advance = silent) -> None:
        """Write a blob into ``file``, from its start; verified, of any size.

        Raises:
            RegistryError: it is not there (status 404), or has another size than its descriptor says.
            DigestError: the bytes are others.
        """
        request = self._request("GET", f"blobs/{blob.digest}")
        self._transport.retry(partial(self._download_once, request, blob, file, advance), is_transfer=True)

    def _download_once(self, request: Request, blob: Descriptor, file: BinaryIO, advance: Advance) -> None:
        hasher = hashlib.new(blob.digest.partition(":")[0])
        received = 0
        buffer = memoryview(bytearray(min(CHUNK, blob.size + 1)))
        file.seek(0)
        file.truncate()
        try:
            with self._transport.exchange(request, 200) as (response, _):
                while size := response.readinto(buffer):
                    received += size
                    if received > blob.size:
                        raise request.failed(f"sent more than the {blob.size} bytes its descriptor says")
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

    def has_blob(self, digest: Digest) -> bool:
        """Say whether the repository has a blob.

        Raises:
            RegistryError: the registry does not say.
        """
        answer = self._transport.fetch(self._request("HEAD", f"blobs/{digest}"), 200, 404, limit=0)
        return answer.status == 200  # noqa: PLR2004

    def has_manifest(self, document: Document, tag: str | None = None) -> bool:
        """Say whether the repository has a manifest or index: as what ``tag`` names, or at all.

        A registry that does not say has it not: it is going to be given it.
        """
        request = self._request("HEAD", f"manifests/{tag or document.digest}", _ACCEPT)
        try:
            answer = self._transport.fetch(request, 200, limit=0)
        except RegistryError as error:
            if error.status is None:
                raise
            return False
        return answer.headers.get(DIGEST_HEADER) == document.digest

    def size(self, digest: Digest) -> int:
        """Return a blob's bytes, having asked for the first of them where the registry does not tell.

        Raises:
            RegistryError: it is not there (status 404), or the registry does not say.
        """
        request = self._request("HEAD", f"blobs/{digest}")
        try:
            length = self._transport.fetch(request, 200, limit=0).headers.get("content-length")
        except RegistryError as error:
            if error.status in (None, 404):
                raise
            length = ""
        return int(length) if length.isdecimal() else self._size_by_range(digest)

    def _size_by_range(self, digest: Digest) -> int:
        # ECR Public answers 401 to HEAD, and others leave the length out.
        request = self._request("GET", f"blobs/{digest}", _FIRST_BYTE)

        def attempt() -> tuple[int, Headers]:
            with self._transport.exchange(request, 200, 206) as (response, _):
                return response.status, response.headers

        status, headers = self._transport.retry(attempt)
        if status == 200:  # noqa: PLR2004 - it knows no ranges: the length is that of all
            length = headers.get("content-length")
        else:
            found = _CONTENT_RANGE.fullmatch(headers.get("content-range"))
            length = found[1] if found else ""
        if not length.isdecimal():
            raise request.failed("the registry does not tell the size of the blob", status=status)
        return int(length)

    def upload(
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
            mount_from: another repository of the registry that may have it, and that the user may perhaps
                read; then no byte need travel.
            verify: hash the content on its way, and hold the last of it back when it is not the blob's.
            advance: hears of bytes as they go out.

        Returns:
            Whether bytes travelled; False when the blob was mounted.

        Raises:
            RegistryError: the registry refuses, or finds another digest than the blob's.
            DigestError: the content is not the blob's.
        """
        location = self._mount(blob.digest, mount_from) if mount_from else self._begin_upload()
        retrying = self._transport.retrying(is_transfer=True)
        while location is not None:
            try:
                with _opened(content) as file:
                    self._send(location, blob, _Outgoing(file, blob, advance, verify=verify))
            except RegistryError as error:
                if not retrying.waits_after(error):
                    raise
            else:
                return True
            # What the registry has of the blob is not known, so it gets another place.
            location = self._begin_upload()
        return False

    def mount(self, digest: Digest, source: str) -> bool:
        """Let the registry take a blob from its repository ``source``; return whether it did.

        Raises:
            RegistryError: the registry fails.
        """
        return self._mount(digest, source) is None

    def _send(self, location: str, blob: Descriptor, outgoing: _Outgoing) -> None:
        request = Request("PUT", _with_digest(location, blob.digest), self._scopes, _OCTETS, outgoing)
        try:
            with self._transport.exchange(request, 201, 204):
                return
        except RegistryError:
            outgoing.take_back()
            raise

    def _mount(self, digest: Digest, source: str) -> str | None:
        """Return None when the registry has mounted the blob from ``source``, else where it goes."""
        query = f"?mount={quote(digest, safe='')}&from={quote(source, safe='')}"
        scopes = (*self._scopes, f"repository:{source}:pull")
        request = Request("POST", self._url(f"blobs/uploads/{query}"), scopes)
        try:
            return self._transport.retry(partial(self._opened_upload, request))
        except AuthError:
            return self._begin_upload()
        except RegistryError as error:
            if error.status not in _REFUSED:
                raise
            return self._begin_upload()

    def _begin_upload(self) -> str | None:
        """Return where a blob goes."""
        request = self._request("POST", "blobs/uploads/")
        return self._transport.retry(partial(self._opened_upload, request))

    def _opened_upload(self, request: Request) -> str | None:
        with self._transport.exchange(request, 201, 202) as (response, address):
            if response.status == 201:  # noqa: PLR2004
                return None
            location = response.headers.get("location")
            if not location:
                raise request.failed("opened an upload without saying where", status=response.status)
            return located(request, str(address), location)

    def put_manifest(self, document: Document, tag: str | None = None) -> None:
        """Store a manifest or index, under ``tag`` or by its digest alone.

        Raises:
            RegistryError: the registry refuses it, or understood other bytes.
        """
        if len(document.body) > MAX_MANIFEST_BYTES:
            raise FormatError(f"the manifest has {len(document.body)} bytes; registries take {MAX_MANIFEST_BYTES}")
        request = Request(
            "PUT",
            self._url(f"manifests/{tag or document.digest}"),
            self._scopes,
            {"Content-Type": document.media_type},
            TextAnswer(document.body),
        )
        answer = self._transport.fetch(request, 200, 201, 202, limit=MAX_ANSWER_BYTES)
        stored = answer.headers.get(DIGEST_HEADER) or document.digest
        if stored != document.digest:
            raise request.failed(f"the registry made {stored[:140]} of the manifest {document.digest}")

    def _url(self, path: str) -> str:
        return f"{self._transport.url}/v2/{self.name}/{path}"

    def _request(self, method: str, path: str, headers: dict[str, str] | None = None) -> Request:
        return Request(method, self._url(path), self._scopes, headers or {})


class _Outgoing:
    """A blob on its way to the registry; it sets out again as often as it takes."""

    def __init__(self, file: BinaryIO, blob: Descriptor, advance: Advance, *, verify: bool) -> None:
        self._file = file
        self._blob = blob
        self._advance = advance
        self._verify = verify
        self._sent = 0

    @property
    def length(self) -> int:
        """Its bytes."""
        return self._blob.size

    def write_to(self, outlet: RequestWriter) -> None:
        """Send the blob from its start; of one that is to be verified and is damaged, all but the end.

        Raises:
            DigestError: it is damaged.
        """
        self.take_back()
        if self._verify:
            self._send_verified(outlet)
        else:
            self._send_unread(outlet)

    def take_back(self) -> None:
        """Take back what was said to have gone out."""
        self._advance(-self._sent)
        self._sent = 0

    def _send_unread(self, outlet: RequestWriter) -> None:
        while left := self._blob.size - self._sent:
            sent = outlet.write_file(self._file, self._sent, min(left, _BIG))
            if not sent:
                raise self._damaged()
            self._tell(sent)

    def _send_verified(self, outlet: RequestWriter) -> None:
        algorithm, _, expected = self._blob.digest.partition(":")
        hasher = hashlib.new(algorithm)
        buffer = memoryview(bytearray(min(CHUNK, self._blob.size + 1)))
        left = self._blob.size
        self._file.seek(0)
        while size := self._file.readinto(buffer[: left + 1]):  # type: ignore[attr-defined]
            hasher.update(buffer[:size])
            left -= size
            if left < 0 or (not left and hasher.hexdigest() != expected):
                break
            outlet.write(buffer[:size])
            self._tell(size)
        if left or hasher.hexdigest() != expected:
            raise self._damaged()

    def _tell(self, sent: int) -> None:
        self._sent += sent
        self._advance(sent)

    def _damaged(self) -> DigestError:
        return DigestError(f"what should be {self._blob.digest} has other content")


def _with_digest(location: str, digest: Digest) -> str:
    separator = "&" if "?" in location else "?"
    return f"{location}{separator}digest={quote(digest, safe='')}"


def _opened(content: Path | bytes) -> BinaryIO:
    return io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")
