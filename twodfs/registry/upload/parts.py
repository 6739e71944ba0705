"""A blob given to a repository in parts, which can be gone on with (distribution-spec, "Pushing a blob in chunks").

A part is as long as the connection holds and nobody interrupts it, and has no length that is said before, as Docker's
have. An interrupted one is brought to its end, so that the registry says where the next one goes. After a part that
broke, the registry is asked what it has; CNCF Distribution then forgets the upload, others go on. The digest is held
against the whole by the registry, at the end.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Protocol
from urllib.parse import quote

from twodfs.concurrency import scope
from twodfs.errors import DigestError, RegistryError
from twodfs.oci.digest import Digest
from twodfs.oci.documents import Descriptor
from twodfs.registry.exchange import ReceivedAnswer, TextBody, located
from twodfs.registry.message import Request
from twodfs.registry.requests import RepositoryRequests
from twodfs.registry.upload.content import BlobContent, BlobPart, Position, WholeBlob
from twodfs.wire.connection import OutgoingBody

_OCTETS: Final = {"Content-Type": "application/octet-stream"}
_NO_PARTS: Final = frozenset({HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.LENGTH_REQUIRED, HTTPStatus.NOT_IMPLEMENTED})
_RANGE: Final = re.compile(r"(?:bytes=)?0-([0-9]{1,18})")


class UploadMemory(Protocol):
    """Remembers uploads that were begun, beyond the end of this process."""

    def recall(self, digest: Digest) -> str | None:
        """Return where the upload of a blob goes on; None where none was begun."""

    def keep(self, digest: Digest, location: str) -> None:
        """Remember where it goes on."""

    def forget(self, digest: Digest) -> None:
        """Forget it."""


class Forgetful:
    """An ``UploadMemory`` of nothing."""

    def recall(self, _digest: Digest) -> str | None:
        """Return None."""
        return None

    def keep(self, _digest: Digest, _location: str) -> None:
        """Do nothing."""

    def forget(self, _digest: Digest) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class UploadSession:
    """An upload that was begun: where it goes on, and how many bytes the registry has."""

    location: str
    at: int = 0


class PartedUpload:
    """The upload of one blob."""

    def __init__(
        self,
        requests: RepositoryRequests,
        blob: Descriptor,
        content: BlobContent,
        memory: UploadMemory,
        position: Position,
    ) -> None:
        """Prepare it; nothing is asked."""
        self._requests = requests
        self._transport = requests.transport
        self._blob = blob
        self._content = content
        self._memory = memory
        self._position = position
        self._location = ""

    def begun_before(self) -> UploadSession | None:
        """Return the upload that an earlier process began, as far as the registry still knows it."""
        location = self._memory.recall(self._blob.digest)
        session = None if location is None else self._asked(location)
        if location is not None and session is None:
            self._memory.forget(self._blob.digest)
        return session

    def send(self, session: UploadSession | None, begin: Callable[[], str], is_there: Callable[[], bool]) -> None:
        """Send what the registry lacks.

        Args:
            session: an upload that was begun; None: a new one is.
            begin: begins a new one, and returns where it goes.
            is_there: says whether the registry has the blob.

        Raises:
            RegistryError, DigestError: as for ``BlobUploads.upload``.
        """
        attempts = self._transport.attempts(is_transfer=True)
        while True:
            is_old = session is not None and session.at > 0
            if session is None:
                session = UploadSession(begin())
            try:
                self._go_on(session)
            except DigestError:
                self._memory.forget(self._blob.digest)
                raise
            except RegistryError as error:
                self._position.set(0)
                if error.temporary:
                    if not attempts.waits_after(error):
                        raise
                    session = self._asked(self._location)
                    if session is None and is_there():
                        return
                elif is_old:
                    session = None  # what the registry had of it is no good
                else:
                    self._memory.forget(self._blob.digest)
                    raise
            else:
                self._memory.forget(self._blob.digest)
                return

    def _go_on(self, session: UploadSession) -> None:
        self._keep(session)
        while session.at < self._blob.size:
            self._position.set(session.at)
            try:
                session = self._sent_part(session)
            except RegistryError as error:
                if session.at or error.status not in _NO_PARTS:
                    raise
                self._finish(session.location, WholeBlob(self._content, self._blob, self._position))
                return
        self._finish(session.location, TextBody(b""))

    def _sent_part(self, session: UploadSession) -> UploadSession:
        """Send the rest of the blob, or as much as can be; return how far it came.

        Raises:
            Stopped: it was interrupted; the memory knows where it goes on.
        """
        part = BlobPart(self._content, self._blob, session.at, self._position)
        request = Request("PATCH", session.location, self._requests.scopes, _OCTETS, part)
        try:
            with self._transport.exchange(request, HTTPStatus.ACCEPTED, HTTPStatus.NO_CONTENT) as arrived:
                sent = _session(request, arrived, session.location, part.end if part.is_ended else session.at)
        finally:
            part.settle()
        self._keep(sent)
        scope().check()
        if part.failure is not None:
            raise part.failure
        if not session.at < sent.at <= self._blob.size:
            problem = f"says that it has {sent.at} bytes of {self._blob.digest}, of {self._blob.size}"
            raise request.failed(problem, temporary=True)
        return sent

    def _keep(self, session: UploadSession) -> None:
        self._location = session.location
        self._memory.keep(self._blob.digest, session.location)

    def _finish(self, location: str, body: OutgoingBody) -> None:
        put_blob(self._requests, location, self._blob.digest, body)

    def _asked(self, location: str) -> UploadSession | None:
        """Return what the registry has of an upload (distribution-spec, "Resuming"); None where it knows none.

        Raises:
            RegistryError: it does not answer.
        """
        request = Request("GET", location, self._requests.scopes)

        def attempt() -> UploadSession:
            with self._transport.exchange(request, HTTPStatus.NO_CONTENT, HTTPStatus.OK) as arrived:
                return _session(request, arrived, location, 0)

        try:
            session = self._transport.retry(attempt)
        except RegistryError as error:
            if error.temporary:
                raise
            return None
        return session if session.at <= self._blob.size else None


def put_blob(requests: RepositoryRequests, location: str, digest: Digest, body: OutgoingBody) -> None:
    """End an upload with ``body`` (distribution-spec, "POST then PUT").

    Raises:
        RegistryError: the registry refuses, or finds another digest.
    """
    separator = "&" if "?" in location else "?"
    url = f"{location}{separator}digest={quote(digest, safe='')}"
    request = Request("PUT", url, requests.scopes, _OCTETS, body)
    with requests.transport.exchange(request, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT):
        return


def _session(request: Request, arrived: ReceivedAnswer, location: str, sent: int) -> UploadSession:
    """Return the upload that an answer speaks of; ``location`` and ``sent`` are what is known without it."""
    headers = arrived.response.headers
    moved, received = headers.get("location"), _RANGE.fullmatch(headers.get("range"))
    last = None if received is None else int(received[1])
    # "0-0" stands for nothing, and for a byte.
    at = sent if last is None else last + 1 if last else 0
    return UploadSession(located(request, str(arrived.address), moved) if moved else location, at)
