"""The registry with the disk behind it: asked as ever, and where it does not answer, its last answer is given again.

Rule 5 of ``docs/design/edge.md`` says what counts as no answer, and who gets the last one.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from proxy.auth.identity import Identity
from proxy.bodies.transit import RequestBody
from proxy.config import EdgeConfig
from proxy.edge.disk.store import EdgeStore
from proxy.edge.filling.fills import Fills
from proxy.edge.offline.answers import Answers
from proxy.edge.offline.content import ContentByDigest
from proxy.edge.offline.documents import EdgeDocuments
from proxy.edge.offline.line import Line
from proxy.edge.offline.named import NamedAnswers
from proxy.edge.offline.questions import EdgeQuestion
from proxy.edge.offline.rights import OfflineRights
from proxy.edge.rights.acceptances import Acceptances
from proxy.edge.rights.grants import EdgeGrants
from proxy.edge.rights.names import Names
from proxy.edge.rights.places import Places
from proxy.edge.rights.tokens import EdgeTokens
from proxy.repository import DEFAULT_UPSTREAM
from proxy.requests.kinds import RegistryRequest
from proxy.upstream.origins import OriginPool
from proxy.upstream.registry import UpstreamRegistry
from proxy.upstream.replies import RefusedError, Reply, Take, UpstreamError
from proxy.upstream.session import Asked


class EdgeRegistry:
    """Answers like ``Upstream``, and with the disk's content where the registry gives no answer.

    Answers from disk that the registry could not be asked for have a ``Warning``. Each method raises ``UpstreamError``
    with status 503 where neither has an answer for this client; it names what is missing.
    """

    def __init__(
        self,
        upstream: UpstreamRegistry,
        line: Line,
        *,
        answers: Answers,
        rights: OfflineRights,
        named: NamedAnswers,
        content: ContentByDigest,
        name: str,
    ) -> None:
        self.name = name
        """As ``Repository.upstream`` has it."""
        self.answers = answers
        """What names stood for last."""
        self._upstream = upstream
        self._line = line
        self._rights = rights
        self.named = named
        self._content = content

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls,
        upstream: UpstreamRegistry,
        config: EdgeConfig,
        store: EdgeStore,
        *,
        grants: EdgeGrants,
        names: Names,
        acceptances: Acceptances,
        places: Places,
        fills: Fills,
        name: str = DEFAULT_UPSTREAM,
    ) -> AsyncIterator[EdgeRegistry]:
        """Put the disk behind ``upstream`` for the time of the context.

        Raises:
            sqlite3.Error: the file of small facts cannot be written.
        """
        line = Line(upstream, patience=config.offline_after, name=name)
        answers = await Answers.open(store.state, max_stale=config.max_stale)
        documents = EdgeDocuments(store, names, fills)
        tokens = await EdgeTokens.open(store.state, store.directory.secret(), acceptances)
        rights = OfflineRights(grants, acceptances, places, tokens, answers)
        named = NamedAnswers(upstream, line, answers=answers, documents=documents, rights=rights, listing=store.listing)
        content = ContentByDigest(upstream, line, answers=answers, documents=documents, rights=rights)
        async with line.watched():
            with named.measured():
                yield cls(upstream, line, answers=answers, rights=rights, named=named, content=content, name=name)

    @property
    def url(self) -> str:
        """The origins, for people."""
        return self._upstream.url

    @property
    def origins(self) -> OriginPool:
        """Where the registry is asked."""
        return self._upstream.origins

    @property
    def is_offline(self) -> bool:
        """Whether asking is known to hang."""
        return self._line.breaker.is_open

    async def is_worth_asking(self) -> bool:
        """Say whether asking does not hang; where it did, the next probe is waited for, some seconds at most."""
        return await self._line.breaker.is_worth_asking()

    @property
    def tokens(self) -> EdgeTokens:
        """Whose tokens were passed on, and tokens of the node's own."""
        return self._rights.tokens

    async def is_answering(self) -> bool:
        """Ask the registry whether it answers; bounded by the patience for questions that the disk can answer."""
        return await self._line.is_answering()

    async def missing(self, path: str, identity: Identity, why: str = "") -> RefusedError | UpstreamError:
        """Return the error for content that neither the registry nor the disk has for this client now.

        ``why``: the registry did not give it just now; empty where it was not asked.
        """
        question = EdgeQuestion.of("GET", path, identity, "*/*", upstream=self.name)
        may_read = await self._rights.may_read_offline(question)
        # A stranger hears the same of what is here and of what is not.
        last = self._line.breaker.reason or f"the registry at {self.url} cannot be reached"
        reason = why if why and may_read else last
        try:
            return RefusedError(await self._rights.without_answer(question, reason, may_read=may_read))
        except UpstreamError as error:
            return error

    async def head(self, path: str, identity: Identity, accept: str, held: str | None = None) -> Reply:
        """Ask for the headers of ``path``; 304 if it has the tag ``held``. Of a manifest it is a yes or no."""
        question = EdgeQuestion.of("HEAD", path, identity, accept, upstream=self.name)
        if question.resource:
            return await self.named.head(question, held)
        if question.kind == "other":
            return await self._upstream.head(path, identity, accept, held)
        return await self._content.head(question, held)

    async def get(self, path: str, identity: Identity, *, limit: int, accept: str, held: str | None = None) -> Reply:
        """Read ``path``, of at most ``limit`` bytes. ``held`` counts only where the disk has no say."""
        question = EdgeQuestion.of("GET", path, identity, accept, upstream=self.name)
        if question.resource:
            return await self.named.get(question, limit)
        if question.kind == "other":
            return await self._upstream.get(path, identity, limit=limit, accept=accept, held=held)
        return await self._content.get(question, limit)

    async def download(self, path: str, identity: Identity, take: Take, *, limit: int) -> Reply:
        """Read a blob piece by piece; the reply has no body."""
        question = EdgeQuestion.of("GET", path, identity, "*/*", upstream=self.name)
        if question.kind != "blob":
            return await self._upstream.download(path, identity, take, limit=limit)
        return await self._content.download(question, take, limit)

    async def first_byte(self, path: str, identity: Identity) -> Reply:
        """Ask for the first byte of a blob; the answer's headers tell its size, and the byte may be left out."""
        question = EdgeQuestion.of("HEAD", path, identity, "*/*", upstream=self.name)
        if question.kind != "blob":
            return await self._upstream.first_byte(path, identity)
        return await self._content.first_byte(question)

    async def send(self, method: str, target: str, headers: CIMultiDict[str], body: bytes) -> Reply:
        """Write something small; the disk has no part in it."""
        return await self._upstream.send(method, target, headers, body)

    def stream(
        self,
        request: RegistryRequest,
        headers: CIMultiDict[str],
        body: RequestBody | None = None,
        *,
        client: str,
        expect_continue: bool = False,
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Pass a request on; the disk has no part in it."""
        return self._upstream.stream(request, headers, body, client=client, expect_continue=expect_continue)

    def ask_realm(self, method: str, url: URL, headers: CIMultiDict[str], data: Any = None) -> Asked:
        """Ask a token server; the disk has no part in it."""
        return self._upstream.ask_realm(method, url, headers, data)
