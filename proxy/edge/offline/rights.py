"""Who may read what, with and without the registry; and what those hear who may not."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.edge.offline.answers import Answers, LastAnswer, kept_headers
from proxy.edge.offline.outage import UnavailableError, missing
from proxy.edge.offline.questions import ROOT, EdgeQuestion
from proxy.edge.rights.acceptances import Acceptances
from proxy.edge.rights.grants import EdgeGrants
from proxy.edge.rights.places import Places
from proxy.edge.rights.tokens import EdgeTokens
from proxy.repository import Repository
from proxy.upstream.replies import STALE, Reply
from twodfs.oci.digest import Digest

_CHALLENGE: Final = "challenge"
"""The name of the answer that nobody gets in a repository that is not for everyone."""
_LOG_IN: Final = b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}'


@dataclass(frozen=True, slots=True)
class OfflineRights:
    """What the registry said to each client, and what of it still counts."""

    grants: EdgeGrants
    acceptances: Acceptances
    places: Places
    tokens: EdgeTokens
    answers: Answers

    async def covers(self, question: EdgeQuestion) -> bool:
        """Say whether the client may read the content that it asks for without a question to the registry."""
        try:
            return await self.grants.covers(question.identity, question.repository, question.digest)
        except sqlite3.Error:
            return False

    async def may_read_offline(self, question: EdgeQuestion) -> bool:
        """Say whether the client may read in the repository while the registry cannot be asked."""
        if question.kind == "root":
            return True  # its answer is remembered for these credentials alone
        if self.tokens.allow(question.identity, question.repository):
            return True
        try:
            return await self.acceptances.is_accepted_lately(question.identity, question.repository)
        except sqlite3.Error:
            return False

    async def is_there(self, question: EdgeQuestion) -> bool:
        """Say whether the registry gave the content that is asked for under this repository."""
        try:
            return await self.places.has(question.repository, question.digest)
        except sqlite3.Error:
            return False

    async def accepted(self, question: EdgeQuestion, digest: Digest, asked_at: float) -> None:
        """Keep the registry's yes to this client; ``asked_at`` is ``time.monotonic`` of the question."""
        await self.grants.remember(question.identity, question.repository, digest, asked_at)
        await self.tokens.accepted(question.identity, question.repository)

    async def refused(self, question: EdgeQuestion, reply: Reply) -> None:
        """Keep the registry's no to the client's credentials, and how it asks nobody for some."""
        if not question.repository.name:
            return
        await self.acceptances.refused(question.identity, question.repository)
        await self.tokens.refused(question.identity, question.repository)
        if not question.identity.headers and hdrs.WWW_AUTHENTICATE in reply.headers:
            challenge = LastAnswer(reply.status, None, "", kept_headers(reply.headers))
            await self.answers.remember(question.repository, _CHALLENGE, "", challenge)

    def hashed(self, question: EdgeQuestion) -> str:
        """Return what stands for the client's credentials in all workers; empty for none."""
        return self.acceptances.hashed(question.identity).hex() if question.identity.headers else ""

    async def without_answer(self, question: EdgeQuestion, why: UnavailableError | str, *, may_read: bool) -> Reply:
        """Return the answer where neither registry nor disk has one for the client.

        A client without credentials gets the registry's challenge: some engines show theirs only then.

        Raises:
            UpstreamError: the client has shown what it has.
        """
        if not may_read and not question.identity.headers:
            challenge = await self._challenge(question)
            if challenge is not None:
                return challenge
        raise missing(question, why, may_read=may_read)

    async def _challenge(self, question: EdgeQuestion) -> Reply | None:
        nowhere = Repository(question.repository.upstream, "")
        for repository, resource in ((question.repository, _CHALLENGE), (nowhere, ROOT)):
            last = await self.answers.find(repository, resource, "")
            if last is not None and last.status == HTTPStatus.UNAUTHORIZED:
                ways = [value for name, value in last.headers if name.lower() == hdrs.WWW_AUTHENTICATE.lower()]
                headers = CIMultiDict((hdrs.WWW_AUTHENTICATE, _scoped(way, question)) for way in ways)
                headers[hdrs.CONTENT_TYPE] = "application/json"
                headers[hdrs.WARNING] = STALE
                body = b"" if question.method == hdrs.METH_HEAD else _LOG_IN
                return Reply(last.status, HTTPStatus(last.status).phrase, CIMultiDictProxy(headers), body)
        return None


def _scoped(challenge: str, question: EdgeQuestion) -> str:
    """Return a challenge of ``/v2/`` as one of the repository, which names the right that a token needs."""
    if not challenge.lower().startswith("bearer ") or "scope=" in challenge.lower():
        return challenge
    return f'{challenge},scope="repository:{question.repository.name}:pull"'
