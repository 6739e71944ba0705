"""Manifests and blobs by digest on an edge node: from its disk, or from the registry through its disk."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web
from cachetools import LRUCache

from proxy.bodies.idle_timeout import IdleTimeout
from proxy.edge.disk.blobs import StoredBlob
from proxy.edge.disk.store import EdgeStore
from proxy.edge.filling.body import GrowingBlob, whole_body
from proxy.edge.filling.fills import Fills
from proxy.edge.offline.outage import is_failing
from proxy.edge.offline.registry import EdgeRegistry
from proxy.edge.rights.grants import EdgeGrants
from proxy.edge.rights.names import Names, children_of
from proxy.handlers.documents import blob_part, manifest
from proxy.handlers.errors import relayed_reply
from proxy.handlers.exchange import Answer, BodySource, Call
from proxy.handlers.headers import LocationRewriter
from proxy.repository import Repository
from proxy.requests.kinds import ContentPull
from proxy.upstream.replies import GIVEN, RefusedError, UpstreamError
from proxy.wire.responses import OutgoingResponse
from twodfs.oci.digest import Digest
from twodfs.oci.documents import ACCEPT_IMAGES, MAX_MANIFEST_BYTES, Document

_MOST_KNOWN: Final = 4096


class EdgeContent:
    """Answers pulls by digest with the disk in between."""

    def __init__(
        self,
        registry: EdgeRegistry,
        *,
        store: EdgeStore,
        fills: Fills,
        grants: EdgeGrants,
        names: Names,
        locations: LocationRewriter,
    ) -> None:
        """``registry``: that of the repositories that are asked for."""
        self._registry = registry
        self._store = store
        self._fills = fills
        self._grants = grants
        self._names = names
        self._locations = locations
        self._listed: LRUCache[tuple[Repository, str], Digest] = LRUCache(_MOST_KNOWN)
        self._children: LRUCache[Digest, tuple[Digest, ...]] = LRUCache(_MOST_KNOWN)

    @property
    def is_offline(self) -> bool:
        """Whether asking the registry is known to hang."""
        return self._registry.is_offline

    async def answer(self, call: Call[ContentPull]) -> Answer | None:
        """Return the content; None where the registry does not have it, or must answer by itself.

        Raises:
            RefusedError: the registry refuses.
            UpstreamError: it gave no answer, and this node has none for the client.
        """
        return await (self._manifest(call) if call.request.is_manifest else self._blob(call))

    async def served(
        self, repository: Repository, source: Digest, documents: Iterable[Document], *, tag: str = "", top: str = ""
    ) -> None:
        """Take down that a partition was asked for: its documents name layers, which are in use.

        Args:
            repository: of the partition.
            source: the digest of the image that it was cut from.
            documents: all of it.
            tag: the partition tag; empty where it was asked for by digest.
            top: the digest of the document that the tag names.
        """
        cut = tuple(documents)
        await self._names.name_partition(repository, source, cut)
        for document in cut:
            self._in_use(document)
            if document.digest == top and self._listed.get((repository, tag)) != top:
                size = len(document.body)
                await self._store.listing.named(repository, tag, document.digest, document.media_type, size)
                self._listed[repository, tag] = document.digest

    async def _manifest(self, call: Call[ContentPull]) -> Answer | None:
        request = call.request
        path = f"/v2/{request.repository.name}/manifests/{request.digest}"
        accept = ", ".join(call.http.headers.getall(hdrs.ACCEPT, (ACCEPT_IMAGES,)))
        reply = await self._registry.get(path, call.identity, limit=MAX_MANIFEST_BYTES, accept=accept)
        if reply.status == HTTPStatus.NOT_FOUND:
            return None
        if reply.status != HTTPStatus.OK:
            raise RefusedError(reply)
        document = Document(reply.media_type, request.digest, reply.body)
        self._in_use(document)
        return manifest(document, call.http)

    async def _blob(self, call: Call[ContentPull]) -> Answer | None:
        digest = call.request.digest
        may_read = await self._covers(call)
        if not may_read and (self._store.blobs.has(digest) or self._fills.is_under_way(digest)):
            may_read = await self._ask(call)
            if not may_read:
                return None  # in the registry's own words
        if may_read:
            kept = await self._kept(call)
            if kept is not None:
                return kept
        if call.http.method == hdrs.METH_HEAD:
            return await self._head(call)
        if self._registry.is_offline and not await self._registry.is_worth_asking():
            raise await self._registry.missing(call.request.target, call.identity)
        return await self._fetch(call, may_read=may_read)

    async def _head(self, call: Call[ContentPull]) -> Answer | None:
        """Return the head of a blob that is not here; None where the registry does not have it."""
        repository, digest = call.request.repository, call.request.digest
        reply = await self._registry.head(f"/v2/{repository.name}/blobs/{digest}", call.identity, "*/*")
        if reply.is_stale and reply.status not in GIVEN:
            raise RefusedError(reply)  # in the same words as for a blob that is here
        return None if reply.status == HTTPStatus.NOT_FOUND else relayed_reply(reply, self._locations, call.http)

    async def _fetch(self, call: Call[ContentPull], *, may_read: bool) -> Answer | None:
        """Begin to fetch a blob with the client's credentials; None where it cannot be kept, or is not there."""
        repository, digest = call.request.repository, call.request.digest
        asked_at = time.monotonic()
        try:
            growing = await self._fills.begin(
                repository, digest, call.identity, size=await self._names.size(repository, digest)
            )
        except RefusedError as error:
            if error.reply.status == HTTPStatus.NOT_FOUND:
                return None
            if is_failing(error.reply):
                why = f"the registry answers {error.reply.status}"
                raise await self._registry.missing(call.request.target, call.identity, why) from None
            raise
        except UpstreamError as error:
            if error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                raise  # of the proxy itself
            raise await self._registry.missing(call.request.target, call.identity, str(error)) from None
        if growing is None:
            return None
        try:
            return await self._begun(call, growing, asked_at, may_read=may_read)
        except BaseException:
            growing.close()
            raise

    async def _begun(
        self, call: Call[ContentPull], growing: GrowingBlob, asked_at: float, *, may_read: bool
    ) -> Answer | None:
        """Return a blob that was begun, to a client that may read it; else None, and it is closed."""
        remember = partial(self._grants.remember, call.identity, call.request.repository, call.request.digest, asked_at)
        if growing.is_named:
            await remember()
        elif not growing.is_joined:
            return _part(call, growing, lambda part: _Proving(growing.body(part), growing, remember))
        elif not may_read and not await self._ask(call):
            growing.close()
            return None
        return _part(call, growing, growing.body)

    async def _kept(self, call: Call[ContentPull]) -> Answer | None:
        """Return the blob as it is here, whole or growing, to a client that may read it."""
        repository, digest = call.request.repository, call.request.digest
        whole = await self._store.blobs.find(digest)
        if whole is not None:
            return _part(call, whole, lambda part: whole_body(whole, part, borrows=self._fills.borrows))
        growing = await self._fills.join(digest, repository, call.identity)
        return None if growing is None else _part(call, growing, growing.body)

    async def _covers(self, call: Call[ContentPull]) -> bool:
        try:
            return await self._grants.covers(call.identity, call.request.repository, call.request.digest)
        except sqlite3.Error:
            return False  # the registry is asked then

    async def _ask(self, call: Call[ContentPull]) -> bool:
        """Ask the registry, which remembers its yes, whether this client may read the blob under this repository."""
        repository, digest = call.request.repository, call.request.digest
        path = f"/v2/{repository.name}/blobs/{digest}"
        reply = await self._registry.head(path, call.identity, "*/*")
        is_last_word = reply.is_stale and call.http.method == hdrs.METH_HEAD
        if reply.status not in (*GIVEN, HTTPStatus.NOT_FOUND) and not is_last_word:
            reply = await self._registry.first_byte(path, call.identity)  # some registries answer HEAD badly
        if reply.status not in GIVEN:
            if reply.is_stale:
                raise RefusedError(reply)  # the registry cannot be asked for words of its own
            return False
        return True

    def _in_use(self, document: Document) -> None:
        children = self._children.get(document.digest)
        if children is None:
            children = self._children[document.digest] = tuple(children_of(document))
        self._store.blobs.used((document.digest, *children))


@dataclass(frozen=True, slots=True)
class _Proving:
    """The body of a blob whose giver did not say what it is: its yes counts when the digest is right."""

    body: BodySource
    growing: GrowingBlob
    remember: Callable[[], Awaitable[None]]

    async def send(self, response: OutgoingResponse, http: web.BaseRequest, idle_timeout: IdleTimeout) -> None:
        await self.body.send(response, http, idle_timeout)
        if self.growing.is_whole:
            await self.remember()

    async def close(self) -> None:
        await self.body.close()


def _part(call: Call[ContentPull], blob: StoredBlob | GrowingBlob, body: Callable[[range], BodySource]) -> Answer:
    """Return ``blob``, or the range of it that is asked for; it is closed with the answer."""
    answer = blob_part(call.http, blob.digest, blob.size, body)
    if answer.status not in GIVEN:  # which say nothing of its bytes
        blob.close()
    return answer
