"""Referrers of a manifest: from the registry's API, or read and kept under a tag where it has none.

A proxy that answers the referrers API for one digest has to for all: clients take its first answer for the
registry's ability. So in front of a registry without the API it does as clients would have done: reads the
list from the tag of the distribution-spec's "Referrers Tag Schema", and enters their pushes there, since a
client that believes in the API no longer does.

Whether a registry has the API is remembered for each repository: some have it for a part of theirs alone.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from aiohttp import hdrs
from cachetools import LRUCache, TTLCache
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.auth.identity import Identity
from proxy.logs import get_logger
from proxy.repository import Repository
from proxy.upstream.registry import Upstreams
from proxy.upstream.replies import NO_HEADERS, RefusedError, Reply, UpstreamError
from twodfs.errors import DigestError, FormatError
from twodfs.oci.digest import Digest, parse_digest, verify
from twodfs.oci.documents import (
    ACCEPT_IMAGES,
    MAX_MANIFEST_BYTES,
    OCI_INDEX,
    OCI_MANIFEST,
    Document,
    Json,
    parse_object,
)
from twodfs.oci.referrers import (
    entries_of,
    entry_of,
    is_unsure,
    merged_referrers,
    next_page,
    referrers_tag,
    without,
)

SUBJECT_HEADER: Final = "OCI-Subject"
"""With this, a registry says that a pushed manifest is in the list of its subject's referrers."""

# A registry without the API has no such route, or reads it as another and finds it malformed; some say that
# they do not support it.
_NO_API: Final = frozenset({400, 404, 405, 406, 501})
# The answer of a registry with the API for a repository that it does not have.
_OF_THE_REPOSITORY: Final = (b"NAME_", b"MANIFEST_UNKNOWN", b"DENIED", b"UNAUTHORIZED")
_REMEMBERED_SECONDS: Final = 300.0
_MOST_REPOSITORIES: Final = 8192
MOST_PAGES: Final = 16
"""Pages of a list that are read into one; the rest is left to the client."""
_MOST_UNSURE: Final = 32
_MOST_TYPES: Final = 8192
_MOST_TRIES: Final = 5

_List = tuple[Repository, Digest]


class MalformedListError(RefusedError):
    """The registry's API answers with something else than a list; a client that asked for one gets that answer."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The referrers of a digest that a registry lists.

    Attributes:
        listed: the index; of several pages the first, with the entries of all.
        is_by_api: whether it comes from the API; else from a tag, or there is none.
        headers: that the last page came with; its ``Link`` leads on.
    """

    listed: Json
    is_by_api: bool
    headers: CIMultiDictProxy[str] = field(default_factory=lambda: NO_HEADERS)


class Referrers:
    """Reads lists of referrers, and keeps them where a registry does not."""

    def __init__(self, upstreams: Upstreams) -> None:
        self._upstreams = upstreams
        self._api: TTLCache[Repository, bool] = TTLCache(_MOST_REPOSITORIES, _REMEMBERED_SECONDS)
        # Of manifests that lists say less of; a client is told only of the list's own entries.
        self._own_types: LRUCache[tuple[Repository, str], str] = LRUCache(_MOST_TYPES)
        # Writers of one list take turns; a list without writers has no lock.
        self._turns: weakref.WeakValueDictionary[_List, asyncio.Lock] = weakref.WeakValueDictionary()

    def has_api(self, repository: Repository) -> bool | None:
        """Say whether the registry is known to list referrers in ``repository``; None when that is unknown."""
        return self._api.get(repository)

    async def of(
        self, repository: Repository, digest: Digest, identity: Identity, artifact_type: str | None = None
    ) -> Listing:
        """Return the referrers of ``digest``, as far as the registry lists them for this client.

        Args:
            repository: where it is looked for.
            digest: of a manifest that need not be there.
            identity: the client's own credentials.
            artifact_type: the only type wanted; a registry may list the others all the same.

        Raises:
            RefusedError: the registry refuses the client.
            MalformedListError: its answer is no list.
            UpstreamError: it does not answer.
        """
        if self._api.get(repository) is not False:
            path = f"/v2/{repository.name}/referrers/{digest}"
            query = "" if artifact_type is None else f"?artifactType={quote(artifact_type, safe='')}"
            reply = await self._get(repository, path + query, identity, OCI_INDEX)
            if reply.status == HTTPStatus.OK and reply.media_type == OCI_INDEX:
                self._api[repository] = True
                return await self._pages(repository, reply, path, identity)
            if reply.status != HTTPStatus.OK and reply.status not in _NO_API:
                raise RefusedError(reply)
            if not any(code in reply.body for code in _OF_THE_REPOSITORY):
                self._api[repository] = False
        listed = await self._tagged(repository, digest, identity)
        return Listing(await self._with_own_types(repository, listed, identity), is_by_api=False)

    async def enter(self, repository: Repository, manifest: Document, subject: Digest, identity: Identity) -> bool:
        """See to it that ``manifest``, just pushed, is listed among the referrers of ``subject``.

        Returns:
            Whether it had to be entered here: the registry has no API that lists it.

        Raises:
            RefusedError: the registry does not take the list.
            UpstreamError: it does not answer, or others write the list all the time.
        """
        if await self._lists(repository, subject, identity):
            return False
        entry = entry_of(manifest)
        await self._change(repository, subject, identity, lambda listed: merged_referrers(listed, [entry]))
        get_logger().info("entered as a referrer", repository=str(repository), digest=manifest.digest, of=subject)
        return True

    async def strike(self, repository: Repository, digest: Digest, subject: Digest, identity: Identity) -> None:
        """Take ``digest``, just deleted, from the list of referrers of ``subject``; raises as ``enter``."""
        if not await self._lists(repository, subject, identity):
            await self._change(repository, subject, identity, lambda listed: without(listed, digest))

    async def _lists(self, repository: Repository, subject: Digest, identity: Identity) -> bool:
        """Say whether the registry keeps lists itself."""
        known = self._api.get(repository)
        if known is not None:
            return known
        try:
            return (await self.of(repository, subject, identity)).is_by_api
        except MalformedListError:
            return True

    async def _change(
        self, repository: Repository, subject: Digest, identity: Identity, change: Callable[[Json], Document]
    ) -> None:
        """Read, modify and write the list under the tag, until it is seen to have the change.

        Nothing locks a tag (a weakness of the schema itself), so another replica may write at
        the same time: the replica that finds its change gone makes it again.
        """
        target = f"/v2/{repository.name}/manifests/{referrers_tag(subject)}"
        headers = {**identity.headers, hdrs.CONTENT_TYPE: OCI_INDEX}
        upstream = self._upstreams[repository.upstream]
        async with self._turns.setdefault((repository, subject), asyncio.Lock()):
            for _ in range(_MOST_TRIES):
                listed = await self._tagged(repository, subject, identity, is_strict=True)
                changed = change(listed)
                if entries_of(listed) == entries_of(parse_object(changed.body)):
                    return
                reply = await upstream.send("PUT", target, CIMultiDict(headers), changed.body)
                if reply.status != HTTPStatus.CREATED:
                    raise RefusedError(reply)
        raise UpstreamError(f"the list of referrers of {subject} is written by too many; try again", status=503)

    async def _tagged(
        self, repository: Repository, digest: Digest, identity: Identity, *, is_strict: bool = False
    ) -> Json:
        """Return the index under the tag; an empty one where there is none, or none that is an index.

        ``is_strict``: an existing manifest that is no index must not be overwritten.
        """
        reply = await self.tagged(repository, digest, identity)
        if reply.status == HTTPStatus.NOT_FOUND:
            return {}
        if reply.status != HTTPStatus.OK:
            raise RefusedError(reply)
        try:
            listed = parse_object(reply.body)
            entries_of(listed)
            is_index = listed.get("mediaType", reply.media_type) == OCI_INDEX
        except FormatError:
            is_index = False
        if is_index:
            return listed
        if is_strict:
            raise UpstreamError(f"the tag {referrers_tag(digest)} is taken by what is no list of referrers")
        return {}

    async def tagged(self, repository: Repository, digest: Digest, identity: Identity) -> Reply:
        """Return the registry's answer for the tag of the referrers of ``digest``.

        Raises:
            UpstreamError: it does not answer.
        """
        # Asked for an index alone, some registries call a tag that names something else unknown.
        path = f"/v2/{repository.name}/manifests/{referrers_tag(digest)}"
        return await self._get(repository, path, identity, ACCEPT_IMAGES)

    async def _pages(self, repository: Repository, first: Reply, path: str, identity: Identity) -> Listing:
        """Return a list with the entries of its further pages, as far as it stays within bounds."""
        last, size = first, len(first.body)
        try:
            listed = parse_object(first.body)
            entries = list(entries_of(listed))
        except FormatError:
            raise MalformedListError(first) from None
        for _ in range(MOST_PAGES - 1):
            following = next_page(", ".join(last.headers.getall(hdrs.LINK, ())), path)
            if following is None:
                break
            reply = await self._get(repository, following, identity, OCI_INDEX)
            size += len(reply.body)
            if reply.status != HTTPStatus.OK or size > MAX_MANIFEST_BYTES:
                break
            try:
                entries += entries_of(parse_object(reply.body))
            except FormatError:
                break
            last = reply
        return Listing({**listed, "manifests": entries}, is_by_api=True, headers=last.headers)

    async def _with_own_types(self, repository: Repository, listed: Json, identity: Identity) -> Json:
        """Return the list with the artifact types of the manifests themselves, where it may be wrong."""
        entries = []
        looked_at = 0
        for entry in entries_of(listed):
            known = self._own_types.get((repository, str(entry.get("digest"))))
            if known is None and is_unsure(entry) and looked_at < _MOST_UNSURE:
                looked_at += 1
                known = await self._own_type(repository, entry, identity)
            entries.append(entry if known is None else {**entry, "artifactType": known})
        return {**listed, "manifests": entries}

    async def _own_type(self, repository: Repository, entry: Json, identity: Identity) -> str | None:
        """Return the artifact type that a manifest has; None where it cannot be read."""
        try:
            digest = parse_digest(str(entry.get("digest")))
            path = f"/v2/{repository.name}/manifests/{digest}"
            reply = await self._get(repository, path, identity, ACCEPT_IMAGES)
            body = verify(reply.body, digest) if reply.status == HTTPStatus.OK else b""
            own = entry_of(Document(OCI_MANIFEST, digest, body)).get("artifactType")
        except (FormatError, DigestError):
            return None
        if own is not None:
            self._own_types[repository, digest] = own
        return own

    async def _get(self, repository: Repository, path: str, identity: Identity, accept: str) -> Reply:
        return await self._upstreams[repository.upstream].get(path, identity, limit=MAX_MANIFEST_BYTES, accept=accept)
