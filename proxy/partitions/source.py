"""Base tag -> digest: the digest that the tag names now, and whether this client may read it, in one question."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs
from cachetools import LRUCache, TTLCache

from proxy.auth.grants import Grants
from proxy.auth.identity import Identity
from proxy.repository import Repository
from proxy.single_flight import SingleFlight
from proxy.tracing.spans import traced
from proxy.upstream.registry import Upstreams
from proxy.upstream.replies import RefusedError
from twodfs.oci.digest import Digest, digest_of, is_digest
from twodfs.oci.documents import INDEX_TYPES, MAX_MANIFEST_BYTES

_MOST_TAGS: Final = 65_536
_LONGEST_ACCEPT: Final = 1024
"""Bytes; engines send half of that. Clients choose it freely, so the answer to a longer one is not kept."""
_DIGEST_HEADER: Final = "Docker-Content-Digest"


@dataclass(frozen=True, slots=True)
class SourceImage:
    """The manifest or index that the upstream gives this client for a tag or digest, now.

    ``is_stale``: it gave it before, and cannot be asked now; so that is no yes to remember.
    """

    repository: Repository
    reference: str
    digest: Digest
    media_type: str
    is_stale: bool = False

    @property
    def image(self) -> str:
        """Its name in messages."""
        separator = "@" if is_digest(self.reference) else ":"
        return f"{self.repository.name}{separator}{self.reference}"


_Question = tuple[Repository, str, str, bytes]


class Sources:
    """Asks the upstream, once for all clients that ask the same with the same rights at the same time."""

    def __init__(self, upstreams: Upstreams, grants: Grants, *, tag_ttl: float) -> None:
        """``tag_ttl``: seconds for which a client with a grant is told the same without asking; 0: never."""
        self._upstreams = upstreams
        self._grants = grants
        self._single_flight: SingleFlight[SourceImage | None] = SingleFlight()
        self._known: TTLCache[_Question, SourceImage] | None = TTLCache(_MOST_TAGS, tag_ttl) if tag_ttl else None
        self._writes = 0
        # The question to ask for every client anew: a yes is for that client alone.
        self._seen: LRUCache[tuple[Repository, str, str], SourceImage] = LRUCache(_MOST_TAGS)

    async def resolve(
        self, repository: Repository, reference: str, identity: Identity, accept: str
    ) -> SourceImage | None:
        """Return the image that ``reference`` names for this client; None when the upstream does not know it.

        Args:
            repository: as in the request.
            reference: a tag or a digest.
            identity: the client's own credentials; the upstream's yes is for them.
            accept: the client's; a registry may give another manifest for another ``Accept``.

        Raises:
            RefusedError: the upstream answered neither yes nor "unknown", such as 401.
            UpstreamError: it did not answer.
        """
        place = (repository, reference, accept)
        question = (*place, identity.fingerprint)
        known = self._known.get(question) if self._known is not None else None
        # The digest of a tag may be known for longer than the right to read it.
        if known is not None and self.may_read(identity, repository, known.digest):
            return known
        # A client that asks after a write must not get an answer from before it.
        shared, own = (*place, self._writes), (*question, self._writes)
        seen = self._seen.get(place)
        if seen is not None and self.may_read(identity, repository, seen.digest):
            # The digest of the tag is the same for all clients that the registry lets read it.
            with contextlib.suppress(RefusedError):
                source = await self._single_flight.do(shared, lambda: self._ask(question, identity))
                if source is not None and self.may_read(identity, repository, source.digest):
                    return source
        return await self._single_flight.do(own, lambda: self._ask(question, identity))

    def may_read(self, identity: Identity, repository: Repository, source: Digest) -> bool:
        """Say whether the upstream's yes to this client for ``source`` is known, without asking."""
        return self._grants.holds(identity, repository, source)

    async def forget(self, repository: Repository) -> None:
        """Drop the answers for ``repository``: a tag of it may have moved, an image may be gone."""
        self._writes += 1
        await self._grants.forget(repository)
        if self._known is not None:
            for question in [one for one in self._known if one[0] == repository]:
                self._known.pop(question, None)

    @traced("resolve")
    async def _ask(self, question: _Question, identity: Identity) -> SourceImage | None:
        repository, reference, accept, _ = question
        writes, asked_at = self._writes, time.monotonic()
        source = await self._look_up(repository, reference, identity, accept)
        # An answer that was on its way while a tag was pushed may be the old one.
        if source is not None and not source.is_stale and writes == self._writes:
            if self._known is not None and len(accept) <= _LONGEST_ACCEPT:
                self._known[question] = source
            await self._grants.remember(identity, repository, source.digest, asked_at)
        return source

    async def _look_up(
        self, repository: Repository, reference: str, identity: Identity, accept: str
    ) -> SourceImage | None:
        path = f"/v2/{repository.name}/manifests/{reference}"
        seen = self._seen.get((repository, reference, accept))
        held = None if seen is None else f'"{seen.digest}"'
        upstream = self._upstreams[repository.upstream]
        reply = await upstream.head(path, identity, accept, held=held)
        # The registry need not read the manifest to say this, which is a quarter of its work.
        if reply.status == HTTPStatus.NOT_MODIFIED and seen is not None:
            return seen
        if reply.status == HTTPStatus.NOT_FOUND:
            return None
        digest = reply.headers.get(_DIGEST_HEADER, "")
        if reply.status != HTTPStatus.OK or not is_digest(digest):
            # Some registries answer HEAD badly or without the digest; GET also brings the words of a refusal.
            reply = await upstream.get(path, identity, limit=MAX_MANIFEST_BYTES, accept=accept)
            digest = digest_of(reply.body)
        if reply.status == HTTPStatus.NOT_FOUND:
            return None
        if reply.status != HTTPStatus.OK:
            raise RefusedError(reply)
        source = SourceImage(repository, reference, Digest(digest), reply.media_type, reply.is_stale)
        # No other validator is known to mean the bytes.
        is_kept = len(accept) <= _LONGEST_ACCEPT and not source.is_stale
        if is_kept and reply.headers.get(hdrs.ETAG) == f'"{digest}"':
            self._seen[repository, reference, accept] = source
        return source


def accepts_indexes(accept: str) -> bool:
    """Say whether a client's ``Accept`` takes any kind of index."""
    return any(media_type in accept for media_type in INDEX_TYPES)
