"""Blobs given to a repository: as one stream, or taken from another repository of the registry."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import quote

from twodfs.errors import AuthError, DigestError, RegistryError
from twodfs.oci.digest import Digest
from twodfs.oci.documents import Descriptor
from twodfs.progress import Advance, silent
from twodfs.registry.exchange import located
from twodfs.registry.message import Request
from twodfs.registry.requests import RepositoryRequests
from twodfs.wire.connection import RequestWriter

CHUNK: Final = 1024 * 1024
"""Bytes of a blob in memory at a time."""

_OCTETS: Final = {"Content-Type": "application/octet-stream"}
_REFUSED: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})
_BIG: Final = 4 * 1024 * 1024
"""Bytes of a file given to the kernel at a time."""


class BlobUploads:
    """Gives blobs to one repository; begins anew where it fails for the moment."""

    def __init__(self, requests: RepositoryRequests) -> None:
        """Prepare for the repository of ``requests``."""
        self._requests = requests
        self._transport = requests.transport

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
            advance: called with the number of bytes as they go out.

        Returns:
            Whether bytes travelled; False when the blob was mounted.

        Raises:
            RegistryError: the registry refuses, or finds another digest than the blob's.
            DigestError: the content is not the blob's.
        """
        location = self._mount(blob.digest, mount_from) if mount_from else self._begin_upload()
        attempts = self._transport.attempts(is_transfer=True)
        while location is not None:
            try:
                with _opened(content) as file:
                    self._send(location, blob, OutgoingBlob(file, blob, advance, verify=verify))
            except RegistryError as error:
                if not attempts.waits_after(error):
                    raise
            else:
                return True
            # The part that the registry has is not known, so it gets another place.
            location = self._begin_upload()
        return False

    def mount(self, digest: Digest, source: str) -> bool:
        """Let the registry take a blob from its repository ``source``; return whether it did.

        Raises:
            RegistryError: the registry fails.
        """
        return self._mount(digest, source) is None

    def _send(self, location: str, blob: Descriptor, outgoing: OutgoingBlob) -> None:
        request = Request("PUT", _with_digest(location, blob.digest), self._requests.scopes, _OCTETS, outgoing)
        try:
            with self._transport.exchange(request, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT):
                return
        except RegistryError:
            outgoing.take_back()
            raise

    def _mount(self, digest: Digest, source: str) -> str | None:
        """Return None when the registry has mounted the blob from ``source``, else where it goes."""
        query = f"?mount={quote(digest, safe='')}&from={quote(source, safe='')}"
        scopes = (*self._requests.scopes, f"repository:{source}:pull")
        request = replace(self._requests.of("POST", f"blobs/uploads/{query}"), scopes=scopes)
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
        request = self._requests.of("POST", "blobs/uploads/")
        return self._transport.retry(partial(self._opened_upload, request))

    def _opened_upload(self, request: Request) -> str | None:
        with self._transport.exchange(request, HTTPStatus.CREATED, HTTPStatus.ACCEPTED) as (response, address):
            if response.status == HTTPStatus.CREATED:
                return None
            location = response.headers.get("location")
            if not location:
                raise request.failed("opened an upload without saying where", status=response.status)
            return located(request, str(address), location)


class OutgoingBlob:
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
        """Send the blob from its start; of a damaged blob that is verified on the way, all but the end.

        Raises:
            DigestError: it is damaged.
        """
        self.take_back()
        if self._verify:
            self._send_verified(outlet)
        else:
            self._send_unread(outlet)

    def take_back(self) -> None:
        """Take back the progress reported so far."""
        self._advance(-self._sent)
        self._sent = 0

    def _send_unread(self, outlet: RequestWriter) -> None:
        while left := self._blob.size - self._sent:
            sent = outlet.write_file(self._file, self._sent, min(left, _BIG))
            if not sent:
                raise self._damaged()
            self._count(sent)

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
            self._count(size)
        if left or hasher.hexdigest() != expected:
            raise self._damaged()

    def _count(self, sent: int) -> None:
        self._sent += sent
        self._advance(sent)

    def _damaged(self) -> DigestError:
        return DigestError(f"what should be {self._blob.digest} has other content")


def _with_digest(location: str, digest: Digest) -> str:
    separator = "&" if "?" in location else "?"
    return f"{location}{separator}digest={quote(digest, safe='')}"


def _opened(content: Path | bytes) -> BinaryIO:
    return io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")
