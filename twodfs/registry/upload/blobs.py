"""Blobs given to a repository: as one stream, in parts, or taken from another repository of the registry."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import quote

from twodfs.errors import AuthError, RegistryError
from twodfs.oci.digest import Digest
from twodfs.oci.documents import Descriptor
from twodfs.progress import Advance, silent
from twodfs.registry.exchange import located
from twodfs.registry.message import Request
from twodfs.registry.requests import RepositoryRequests
from twodfs.registry.upload.content import BlobContent, FileContent, Position, WholeBlob
from twodfs.registry.upload.parts import Forgetful, PartedUpload, UploadMemory, UploadSession, put_blob

IN_PARTS: Final = 16 * 1024 * 1024
"""Bytes from which on a blob goes in parts, which takes a request more."""

_REFUSED: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})


class BlobUploads:
    """Gives blobs to one repository."""

    def __init__(self, requests: RepositoryRequests) -> None:
        """Prepare for the repository of ``requests``."""
        self._requests = requests
        self._transport = requests.transport

    def upload(
        self,
        blob: Descriptor,
        content: Path | bytes | BlobContent,
        *,
        mount_from: str | None = None,
        verify: bool = False,
        memory: UploadMemory | None = None,
        advance: Advance = silent,
    ) -> bool:
        """Give the repository a blob, a big one in parts. What fails for the moment is tried again.

        Args:
            blob: its digest and size.
            content: a file, read piece by piece, the bytes, or another place that they come from.
            mount_from: another repository of the registry that may have it, and that the user may perhaps
                read; then no byte need travel.
            verify: hash a file or bytes on the way, and hold the last of it back when it is not the blob's.
            memory: uploads that were begun before, to go on with.
            advance: called with the number of bytes as they go out.

        Returns:
            Whether bytes travelled; False when the blob was mounted.

        Raises:
            RegistryError: the registry refuses, or finds another digest than the blob's.
            DigestError: the content is not the blob's.
        """
        source = FileContent(content, blob, verify=verify) if isinstance(content, bytes | Path) else content
        position = Position(advance)
        if blob.size < IN_PARTS:
            return self._upload_whole(blob, source, mount_from, position)
        parts = PartedUpload(self._requests, blob, source, memory or Forgetful(), position)
        session = parts.begun_before()
        if session is None and mount_from:
            location = self._opened(blob.digest, mount_from)
            if location is None:
                return False
            session = UploadSession(location)
        parts.send(session, self._begun, lambda: self.has_blob(blob.digest))
        return True

    def has_blob(self, digest: Digest) -> bool:
        """Say whether the repository has a blob.

        Raises:
            RegistryError: the registry does not say.
        """
        answer = self._transport.fetch(
            self._requests.of("HEAD", f"blobs/{digest}"), HTTPStatus.OK, HTTPStatus.NOT_FOUND, limit=0
        )
        return answer.status == HTTPStatus.OK

    def mount(self, digest: Digest, source: str) -> bool:
        """Let the registry take a blob from its repository ``source``; return whether it did.

        Raises:
            RegistryError: the registry fails.
        """
        return self._opened(digest, source) is None

    def _upload_whole(self, blob: Descriptor, content: BlobContent, mount_from: str | None, position: Position) -> bool:
        location = self._opened(blob.digest, mount_from) if mount_from else self._begun()
        attempts = self._transport.attempts(is_transfer=True)
        while location is not None:
            try:
                put_blob(self._requests, location, blob.digest, WholeBlob(content, blob, position))
            except RegistryError as error:
                position.set(0)
                if not attempts.waits_after(error):
                    raise
            else:
                return True
            # The part that the registry has is not known, so it gets another place.
            location = self._begun()
        return False

    def _opened(self, digest: Digest, source: str) -> str | None:
        """Return None when the registry has mounted the blob from ``source``, else where it goes."""
        query = f"?mount={quote(digest, safe='')}&from={quote(source, safe='')}"
        scopes = (*self._requests.scopes, f"repository:{source}:pull")
        request = replace(self._requests.of("POST", f"blobs/uploads/{query}"), scopes=scopes)
        try:
            return self._transport.retry(partial(self._opened_by, request))
        except AuthError:
            return self._begun()
        except RegistryError as error:
            if error.status not in _REFUSED:
                raise
            return self._begun()

    def _begun(self) -> str:
        """Return where a blob goes."""
        request = self._requests.of("POST", "blobs/uploads/")
        location = self._transport.retry(partial(self._opened_by, request))
        if location is None:
            raise request.failed("opened no upload, and took no blob")
        return location

    def _opened_by(self, request: Request) -> str | None:
        with self._transport.exchange(request, HTTPStatus.CREATED, HTTPStatus.ACCEPTED) as (response, address):
            if response.status == HTTPStatus.CREATED:
                return None
            location = response.headers.get("location")
            if not location:
                raise request.failed("opened an upload without saying where", status=response.status)
            return located(request, str(address), location)
