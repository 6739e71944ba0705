"""Base tag -> digest: what the tag names now, and whether this client may read it, in one question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aiohttp import hdrs
from cachetools import TTLCache

from proxy.flight import SingleFlight
from proxy.identity import Identity
from proxy.tracing.spans import traced
from proxy.upstream import RefusedError, Reply, Upstream
from twodfs.digest import Digest, digest_of, is_digest
from twodfs.oci import INDEX_TYPES, MANIFEST_TYPES

MAX_MANIFEST: Final = 4 * 2**20
"""Bytes; the distribution-spec asks registries to take manifests of up to 4 MiB."""
ALL_TYPES: Final = ", ".join(sorted(INDEX_TYPES | MANIFEST_TYPES))

_OK: Final = 200
_NOT_FOUND: Final = 404
_MOST_TAGS: Final = 65_536
_DIGEST_HEADER: Final = "Docker-Content-Digest"


@dataclass(frozen=True, slots=True)
class Source:
    """The manifest or index that the upstream gives this client for a tag or digest, now."""

    repository: str
    reference: str
    digest: Digest
    media_type: str

    @property
    def image(self) -> str:
        """What people call it."""
        separator = "@" if is_digest(self.reference) else ":"
        return f"{self.repository}{separator}{self.reference}"


_Question = tuple[str, str, str, bytes]


class Sources:
    """Asks the upstream, once for all who ask the same with the same rights at the same time."""

    def __init__(self, upstream: Upstream, *, tag_ttl: float) -> None:
        """``tag_ttl``: seconds for which an answer is given again without asking; 0 for never."""
        self._upstream = upstream
        self._flight: SingleFlight[Source | None] = SingleFlight()
        self._known: TTLCache[_Question, Source] | None = TTLCache(_MOST_TAGS, tag_ttl) if tag_ttl else None
        self._writes = 0

    async def resolve(
        self, repository: str, reference: str, identity: Identity, accept: str
    ) -> Source | None:
        """Return what ``reference`` names for this client; None when the upstream does not know it.

        Args:
            repository: as in the request.
            reference: a tag or a digest.
            identity: the client's own credentials; the upstream's yes is for them.
            accept: the client's; a registry may give another manifest for another ``Accept``.

        Raises:
            RefusedError: the upstream answered neither yes nor "unknown", such as 401.
            UpstreamError: it did not answer.
        """
        question = (repository, reference, accept, identity.fingerprint)
        if self._known is not None and (known := self._known.get(question)):
            return known
        return await self._flight.do(question, lambda: self._ask(question, identity))

    def forget(self, repository: str) -> None:
        """Drop what is known of ``repository``: a tag of it may have moved."""
        self._writes += 1
        if self._known is not None:
            for question in [one for one in self._known if one[0] == repository]:
                self._known.pop(question, None)

    @traced("resolve")
    async def _ask(self, question: _Question, identity: Identity) -> Source | None:
        repository, reference, accept, _ = question
        writes = self._writes
        source = await self._look_up(repository, reference, identity, accept)
        # An answer that was on its way while a tag was pushed may be the old one.
        if self._known is not None and source is not None and writes == self._writes:
            self._known[question] = source
        return source

    async def _look_up(
        self, repository: str, reference: str, identity: Identity, accept: str
    ) -> Source | None:
        path = f"/v2/{repository}/manifests/{reference}"
        reply = await self._upstream.head(path, identity, accept)
        if reply.status == _NOT_FOUND:
            return None
        digest = reply.headers.get(_DIGEST_HEADER, "")
        if reply.status != _OK or not is_digest(digest):
            # Some registries answer HEAD badly or without the digest; GET also brings the words of a refusal.
            reply = await self._upstream.get(path, identity, limit=MAX_MANIFEST, accept=accept)
            digest = digest_of(reply.body)
        if reply.status == _NOT_FOUND:
            return None
        if reply.status != _OK:
            raise RefusedError(reply)
        return Source(repository, reference, Digest(digest), _media_type(reply))


def _media_type(reply: Reply) -> str:
    return reply.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip()


def accepts_indexes(accept: str) -> bool:
    """Say whether a client's ``Accept`` takes any kind of index."""
    return any(media_type in accept for media_type in INDEX_TYPES)
