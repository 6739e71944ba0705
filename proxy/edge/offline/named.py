"""What a name stands for now, or stood for last: tags, lists of referrers, ``/v2/``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs
from cachetools import LRUCache
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.edge.disk.listing import ImageList
from proxy.edge.offline.answers import Answers, LastAnswer, kept_headers
from proxy.edge.offline.documents import EdgeDocuments
from proxy.edge.offline.line import Line
from proxy.edge.offline.outage import DIGEST_HEADER, GONE, UnavailableError, is_foreign, is_page, is_refusal, missing
from proxy.edge.offline.questions import EdgeQuestion, takes
from proxy.edge.offline.rights import OfflineRights
from proxy.metrics.catalogue import EDGE_STALE, EDGE_STALE_AGE, UPSTREAM_ERRORS
from proxy.repository import Repository
from proxy.upstream.registry import UpstreamRegistry
from proxy.upstream.replies import REFUSALS, STALE, Reply, UpstreamError
from twodfs.oci.digest import Digest, digest_of, is_digest
from twodfs.oci.documents import MAX_MANIFEST_BYTES, OCI_INDEX, Document

_MOST_LISTED: Final = 4096


@dataclass(frozen=True, slots=True)
class _Known:
    """What the disk has for a question.

    Attributes:
        answer: the last one; None where there is none, or it is too old.
        may_read: whether the client may have it while the registry cannot be asked.
        is_whole: whether its document is on disk, too.
    """

    answer: LastAnswer | None
    may_read: bool
    is_whole: bool

    @property
    def is_good(self) -> bool:
        return self.answer is not None and self.answer.is_good

    def last(self, method: str) -> LastAnswer | None:
        """Return the answer that this client may have."""
        return self.answer if self.may_read and (method == hdrs.METH_HEAD or self.is_whole) else None


class NamedAnswers:
    """Asks for names, and remembers the answers."""

    def __init__(
        self,
        upstream: UpstreamRegistry,
        line: Line,
        *,
        answers: Answers,
        documents: EdgeDocuments,
        rights: OfflineRights,
        listing: ImageList,
    ) -> None:
        self._upstream = upstream
        self._line = line
        self._answers = answers
        self._documents = documents
        self._rights = rights
        self._listing = listing
        self._listed: LRUCache[tuple[Repository, str], Digest] = LRUCache(_MOST_LISTED)
        self._oldest = 0.0

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Let the metrics see how old the answers are, for the time of the context."""
        line = self._line
        with EDGE_STALE_AGE.read_from(lambda: self._oldest if line.breaker.failing_for() else 0.0, line.name):
            yield

    async def get(self, question: EdgeQuestion, limit: int) -> Reply:
        """Return the document, or the registry's no; raises ``UpstreamError``."""
        known = await self._known(question)
        asked_at = time.monotonic()
        try:
            reply = await self._ask_get(question, known, limit)
        except UnavailableError as error:
            return await self._last(question, known, error, limit)
        await self._given(question, reply, known, asked_at)
        return reply

    async def head(self, question: EdgeQuestion, held: str | None) -> Reply:
        """Return the head of the document, 304 if it has the tag ``held``, or a no; raises ``UpstreamError``."""
        known = await self._known(question)
        asked_at = time.monotonic()
        try:
            reply = await self._ask_head(question, known, held)
        except UnavailableError as error:
            return await self._last(question, known, error, 0)
        await self._given(question, reply, known, asked_at, held)
        return reply if not reply.body else replace(reply, body=b"")

    async def _known(self, question: EdgeQuestion) -> _Known:
        answer = await self._answers.find(*self._place(question))
        digest = None if answer is None else answer.digest
        is_whole = answer is not None and (digest is None or self._documents.has(digest))
        return _Known(answer, await self._rights.may_read_offline(question), is_whole)

    def _place(self, question: EdgeQuestion) -> tuple[Repository, str, str]:
        accept = self._rights.hashed(question) if question.kind == "root" else question.accept_class
        return question.repository, question.resource, accept

    async def _ask_get(self, question: EdgeQuestion, known: _Known, limit: int) -> Reply:
        answer = known.answer
        has_answer = known.last(hdrs.METH_GET) is not None
        if answer is not None and answer.is_good and answer.digest is not None and known.is_whole:
            held = f'"{answer.digest}"'
            reply = await self._line.ask(lambda: self._get(question, limit, held), has_answer=has_answer)
            if reply.status == HTTPStatus.NOT_MODIFIED:
                body = await self._documents.read(answer.digest, limit)
                if body is not None:
                    return Reply(HTTPStatus.OK, "OK", _headers(answer), body)
                reply = await self._line.ask(lambda: self._get(question, limit), has_answer=False)
        else:
            reply = await self._line.ask(lambda: self._get(question, limit), has_answer=has_answer)
        return self._own(question, reply, known)

    async def _ask_head(self, question: EdgeQuestion, known: _Known, held: str | None) -> Reply:
        has_answer = known.last(hdrs.METH_HEAD) is not None

        async def send() -> Reply:
            return await self._upstream.head(question.path, question.identity, question.accept, held)

        reply = await self._line.ask(send, has_answer=has_answer)
        is_doubtful = (reply.status in GONE and known.is_good) or (
            reply.status in REFUSALS and known.may_read and not is_refusal(reply)
        )
        if not is_doubtful:
            if known.is_good and reply.status == HTTPStatus.OK and is_page(reply, is_root=question.kind == "root"):
                raise self._line.unavailable("something else answers in the place of the registry")
            return reply
        # Only its words tell a registry's no from an outage page.
        words = await self._line.ask(lambda: self._get(question, MAX_MANIFEST_BYTES), has_answer=has_answer)
        return self._own(question, words, known)

    async def _get(self, question: EdgeQuestion, limit: int, held: str | None = None) -> Reply:
        return await self._upstream.get(
            question.path, question.identity, limit=limit, accept=question.accept, held=held
        )

    def _own(self, question: EdgeQuestion, reply: Reply, known: _Known) -> Reply:
        """Return an answer to GET, where it is the registry's own."""
        if known.is_good and is_foreign(reply, is_root=question.kind == "root"):
            raise self._line.unavailable("something else answers in the place of the registry")
        return reply

    async def _given(
        self, question: EdgeQuestion, reply: Reply, known: _Known, asked_at: float, held: str | None = None
    ) -> None:
        """Remember an answer, and what it says of the client's rights."""
        if reply.is_stale:
            return  # of a registry that is a cache itself: another's memory is no answer
        if reply.status in REFUSALS:
            if is_refusal(reply):
                await self._rights.refused(question, reply)
            if question.kind == "root":
                await self._remember(question, reply, None)
        elif reply.status in GONE:
            # A stranger must not make the node forget what others read.
            if known.may_read:
                await self._remember(question, reply, None)
        elif reply.status == HTTPStatus.NOT_MODIFIED and held is not None:
            await self._confirmed(question, known, Digest(held.strip('"')), asked_at)
        elif reply.status == HTTPStatus.OK:
            await self._found(question, reply, asked_at)

    async def _confirmed(self, question: EdgeQuestion, known: _Known, digest: Digest, asked_at: float) -> None:
        await self._rights.accepted(question, digest, asked_at)
        if known.answer is not None and known.answer.digest == digest:
            await self._answers.remember(*self._place(question), replace(known.answer, asked_at=time.time()))

    async def _found(self, question: EdgeQuestion, reply: Reply, asked_at: float) -> None:
        if question.kind == "root":
            if not is_page(reply, is_root=True):
                await self._remember(question, reply, None)
            return
        if is_page(reply):
            return
        named = reply.headers.get(DIGEST_HEADER, "")
        digest = Digest(named) if is_digest(named) else None
        if reply.body:
            digest = self._checked(question, reply.body, digest)
            document = Document(reply.media_type, digest, reply.body)
            await self._documents.keep_manifest(question.repository, document)
        if digest is None:
            return
        if question.kind == "tag":
            await self._rights.accepted(question, digest, asked_at)
        await self._remember(question, reply, digest)

    def _checked(self, question: EdgeQuestion, body: bytes, named: Digest | None) -> Digest:
        digest = digest_of(body)
        if named is not None and named.startswith("sha256:") and named != digest:
            UPSTREAM_ERRORS.of("digest", question.repository.upstream).add()
            raise UpstreamError(f"the registry answered {question.path} with other content than its digest says")
        return digest

    async def _remember(self, question: EdgeQuestion, reply: Reply, digest: Digest | None) -> None:
        body = b"" if digest is not None else reply.body
        answer = LastAnswer(reply.status, digest, reply.media_type, kept_headers(reply.headers), body)
        await self._answers.remember(*self._place(question), answer)
        # A client that takes no index may get a part of what the tag names.
        if question.kind == "tag" and takes(question.accept_class, OCI_INDEX):
            await self._list(question, reply, digest)

    async def _list(self, question: EdgeQuestion, reply: Reply, digest: Digest | None) -> None:
        """Let other tools that read the directory know the tag, or that it is gone."""
        place = (question.repository, question.reference)
        if digest is None:
            self._listed.pop(place, None)
            await self._listing.forgotten(*place)
        elif self._listed.get(place) != digest:
            size = reply.headers.get(hdrs.CONTENT_LENGTH, "")
            if reply.body or size.isdecimal():
                self._listed[place] = digest
                await self._listing.named(*place, digest, reply.media_type, len(reply.body) or int(size))

    async def _last(self, question: EdgeQuestion, known: _Known, why: UnavailableError, limit: int) -> Reply:
        """Return the last answer, marked; raises ``UpstreamError`` where there is none for this client."""
        answer = known.last(question.method)
        if answer is None:
            return await self._rights.without_answer(question, why, may_read=known.may_read)
        body: bytes | None = answer.body
        if question.method == hdrs.METH_HEAD:
            body = b""
        elif answer.digest is not None:
            body = await self._documents.read(answer.digest, limit)
        if body is None:
            raise missing(question, why, may_read=True)
        EDGE_STALE.of(question.kind, question.repository.upstream).add()
        self._oldest = max(self._oldest, answer.age) if self._line.breaker.failing_for() else answer.age
        return Reply(answer.status, HTTPStatus(answer.status).phrase, _headers(answer, (hdrs.WARNING, STALE)), body)


def _headers(answer: LastAnswer, *more: tuple[str, str]) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict([*answer.headers, *more]))
