"""Documents by digest: from disk where the client's right is known, else from the registry, and onto the disk."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from http import HTTPStatus

from aiohttp import hdrs

from proxy.edge.offline.answers import Answers
from proxy.edge.offline.documents import BLOB_TYPE, EdgeDocuments, OpenDocument, disk_reply, whole_reply
from proxy.edge.offline.line import Line
from proxy.edge.offline.outage import GONE, UnavailableError, is_foreign, is_portal, is_refusal
from proxy.edge.offline.questions import EdgeQuestion
from proxy.edge.offline.rights import OfflineRights
from proxy.metrics.catalogue import UPSTREAM_ERRORS
from proxy.upstream.registry import UpstreamRegistry
from proxy.upstream.replies import GIVEN, REFUSALS, RefusedError, Reply, Take, UpstreamError
from twodfs.errors import DigestError
from twodfs.oci.digest import verify
from twodfs.oci.documents import MAX_MANIFEST_BYTES, Document

Ask = Callable[[], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class _Right:
    """What is known of a client's right to content without a question.

    Attributes:
        is_here: whether the content is on disk.
        is_covered: whether it may be read now.
        is_lasting: whether it may be read while the registry cannot be asked.
        may_read: whether the client may read anything in the repository then.
    """

    is_here: bool
    is_covered: bool
    is_lasting: bool
    may_read: bool


class ContentByDigest:
    """Reads documents by digest."""

    def __init__(
        self,
        upstream: UpstreamRegistry,
        line: Line,
        *,
        answers: Answers,
        documents: EdgeDocuments,
        rights: OfflineRights,
    ) -> None:
        self._upstream = upstream
        self._line = line
        self._answers = answers
        self._documents = documents
        self._rights = rights

    async def get(self, question: EdgeQuestion, limit: int) -> Reply:
        """Return a whole document, or the registry's no; raises ``UpstreamError``."""
        right = await self._right(question)
        if right.is_covered and (found := await self._read(question, limit)) is not None:
            return found

        async def ask() -> Reply:
            return await self._upstream.get(question.path, question.identity, limit=limit, accept=question.accept)

        asked_at = time.monotonic()
        try:
            come = await self._bring(question, right, limit, asked_at)
            if isinstance(come, OpenDocument):
                with come:
                    return whole_reply(question, await come.read())
            reply = come or await self._line.ask(ask, has_answer=right.is_lasting)
            await self._judge(question, reply, right)
        except UnavailableError as error:
            found = await self._read(question, limit, is_late=True) if right.is_lasting else None
            return found or await self._rights.without_answer(question, error, may_read=right.may_read)
        if reply.status == HTTPStatus.OK:
            await self._keep(question, reply, asked_at)
        return reply

    async def download(self, question: EdgeQuestion, take: Take, limit: int) -> Reply:
        """Give ``take`` the bytes of a blob; the reply has no body. Raises ``UpstreamError``."""
        right = await self._right(question)
        if right.is_covered and await self._pass_on(question, take, limit):
            return disk_reply(question, HTTPStatus.OK, ())

        async def ask() -> Reply:
            return await self._upstream.download(question.path, question.identity, take, limit=limit)

        asked_at = time.monotonic()
        try:
            come = await self._bring(question, right, limit, asked_at)
            if isinstance(come, OpenDocument):
                with come:
                    await come.pass_on(take)
                    return disk_reply(question, HTTPStatus.OK, ())
            reply = come or await self._line.ask(ask, has_answer=False)
            await self._judge(question, reply, right)
        except UnavailableError as error:
            if right.is_lasting and await self._pass_on(question, take, limit):
                return disk_reply(question, HTTPStatus.OK, (), is_late=True)
            return await self._rights.without_answer(question, error, may_read=right.may_read)
        if reply.status == HTTPStatus.OK and not reply.is_stale:
            await self._rights.accepted(question, question.digest, asked_at)
        return reply

    async def head(self, question: EdgeQuestion, held: str | None) -> Reply:
        """Return the head of a document; of a manifest, the registry's yes. Raises ``UpstreamError``."""
        right = await self._right(question)
        if right.is_covered and question.kind == "blob" and (found := await self._head(question)) is not None:
            return found

        async def ask() -> Reply:
            return await self._upstream.head(question.path, question.identity, question.accept, held)

        return await self._asked(question, right, ask, self._head)

    async def first_byte(self, question: EdgeQuestion) -> Reply:
        """Return what tells the size of a blob; raises ``UpstreamError``."""
        right = await self._right(question)
        if right.is_covered and (found := await self._first_byte(question)) is not None:
            return found

        async def ask() -> Reply:
            return await self._upstream.first_byte(question.path, question.identity)

        # A refusal has its words, as it has where the content is not here.
        return await self._asked(replace(question, method="GET"), right, ask, self._first_byte)

    async def _asked(
        self,
        question: EdgeQuestion,
        right: _Right,
        ask: Ask,
        otherwise: Callable[..., Awaitable[Reply | None]],
    ) -> Reply:
        """Return the registry's answer to a question for no body, or the one from disk."""
        asked_at = time.monotonic()
        try:
            reply = await self._line.ask(ask, has_answer=right.is_lasting)
            await self._judge(question, reply, right)
        except UnavailableError as error:
            found = await otherwise(question, is_late=True) if right.is_lasting else None
            return found or await self._rights.without_answer(question, error, may_read=right.may_read)
        if reply.status in (*GIVEN, HTTPStatus.NOT_MODIFIED) and not reply.is_stale:
            await self._rights.accepted(question, question.digest, asked_at)
        return reply

    async def _right(self, question: EdgeQuestion) -> _Right:
        is_here = self._documents.has(question.digest)
        may_read = await self._rights.may_read_offline(question)
        # The size is known of more.
        is_known = is_here or question.method == hdrs.METH_HEAD or self._documents.is_coming(question.digest)
        return _Right(
            is_here,
            is_known and await self._rights.covers(question),
            is_known and may_read and await self._rights.is_there(question),
            may_read,
        )

    async def _bring(
        self, question: EdgeQuestion, right: _Right, limit: int, asked_at: float
    ) -> OpenDocument | Reply | None:
        """Return the document from disk for a client that the registry lets read it, fetched first if need be.

        Returns:
            The document; the registry's no to a blob; None where the registry is to be asked for it by itself.

        Raises:
            UnavailableError: the registry gave no answer.
            UpstreamError: its answer is too long.
        """
        if right.is_here:
            is_allowed = await self._is_allowed(question, right, asked_at)
            return await self._documents.open(question.digest, limit) if is_allowed else None
        if question.kind != "blob":
            return None
        come: list[OpenDocument] = []

        async def ask() -> Reply:
            try:
                document = await self._documents.fetch(question.repository, question.digest, question.identity, limit)
            except RefusedError as error:
                return error.reply
            come.extend([document] if document is not None else ())
            return disk_reply(question, HTTPStatus.OK, ())

        reply = await self._line.ask(ask, has_answer=False)
        if not come:
            return None if reply.status == HTTPStatus.OK else reply
        (document,) = come
        try:
            if document.was_asked:
                await self._rights.accepted(question, question.digest, asked_at)
            elif not (right.is_covered or await self._is_allowed(question, right, asked_at)):
                document.close()
                return None
        except BaseException:
            document.close()
            raise
        return document

    async def _pass_on(self, question: EdgeQuestion, take: Take, limit: int) -> bool:
        """Give ``take`` what is on disk; False where it is not, or is too long."""
        document = await self._documents.open(question.digest, limit)
        if document is None:
            return False
        with document:
            await document.pass_on(take)
        return True

    async def _is_allowed(self, question: EdgeQuestion, right: _Right, asked_at: float) -> bool:
        """Ask the registry whether the client may read what is on disk."""

        async def ask() -> Reply:
            return await self._upstream.head(question.path, question.identity, question.accept)

        reply = await self._line.ask(ask, has_answer=right.is_lasting)
        size = await self._documents.size(question.repository, question.digest)
        if reply.status != HTTPStatus.OK or is_portal(question, reply, size):
            return False  # a GET brings the words of the refusal
        if not reply.is_stale:
            await self._rights.accepted(question, question.digest, asked_at)
        return True

    async def _judge(self, question: EdgeQuestion, reply: Reply, right: _Right) -> None:
        """Take down a refusal.

        Raises:
            UnavailableError: the answer is none of the registry's.
        """
        size = None
        if right.is_here and reply.status == HTTPStatus.OK and not reply.body:
            size = await self._documents.size(question.repository, question.digest)
        is_none = is_portal(question, reply, size)
        if reply.status in GONE and right.is_lasting:
            words = reply if reply.body else await self._words(question, right)
            is_none = words.status in GONE and is_foreign(words)
        if is_none:
            raise self._line.unavailable("something else answers in the place of the registry")
        if reply.status in REFUSALS and is_refusal(reply):
            await self._rights.refused(question, reply)

    async def _words(self, question: EdgeQuestion, right: _Right) -> Reply:
        """Return the registry's words for a "not found" that came without."""

        async def ask() -> Reply:
            if question.kind == "blob":
                return await self._upstream.first_byte(question.path, question.identity)
            return await self._upstream.get(
                question.path, question.identity, limit=MAX_MANIFEST_BYTES, accept=question.accept
            )

        return await self._line.ask(ask, has_answer=right.is_lasting)

    async def _keep(self, question: EdgeQuestion, reply: Reply, asked_at: float) -> None:
        """Put what the registry gave on disk, and take down that it gave it; raises ``UpstreamError``."""
        try:
            verify(reply.body, question.digest)
        except DigestError as error:
            UPSTREAM_ERRORS.of("digest", question.repository.upstream).add()
            raise UpstreamError(f"the registry answered {question.path} with other content: {error}") from None
        if question.kind == "manifest":
            document = Document(reply.media_type, question.digest, reply.body)
            await self._documents.keep_manifest(question.repository, document)
        else:
            await self._documents.keep(question.digest, reply.body)
        if not reply.is_stale:
            await self._rights.accepted(question, question.digest, asked_at)

    async def _read(self, question: EdgeQuestion, limit: int, *, is_late: bool = False) -> Reply | None:
        body = await self._documents.read(question.digest, limit)
        return None if body is None else whole_reply(question, body, is_late=is_late)

    async def _head(self, question: EdgeQuestion, *, is_late: bool = False) -> Reply | None:
        if question.kind == "manifest":
            found = await self._read(question, MAX_MANIFEST_BYTES, is_late=is_late)
            if found is not None:
                return Reply(found.status, found.reason, found.headers, b"")
            # What is cut from an image outlives its documents on disk.
            media_type = await self._answers.media_type(question.repository, question.digest)
            if media_type is None:
                return None
            return disk_reply(question, HTTPStatus.OK, ((hdrs.CONTENT_TYPE, media_type),), is_late=is_late)
        size = await self._documents.size(question.repository, question.digest)
        if size is None:
            return None
        headers = ((hdrs.CONTENT_LENGTH, str(size)), (hdrs.CONTENT_TYPE, BLOB_TYPE))
        return disk_reply(question, HTTPStatus.OK, headers, is_late=is_late)

    async def _first_byte(self, question: EdgeQuestion, *, is_late: bool = False) -> Reply | None:
        size = await self._documents.size(question.repository, question.digest)
        if not size:
            return None
        headers = ((hdrs.CONTENT_RANGE, f"bytes 0-0/{size}"), (hdrs.CONTENT_TYPE, BLOB_TYPE))
        return disk_reply(question, HTTPStatus.PARTIAL_CONTENT, headers, is_late=is_late)
