"""Writes of manifests: pushes, before which the registry may have to be given blobs, and deletions.

A client asks whether a config or manifest is there, is told yes, since the proxy can make it, and sends only
the manifest that names it. The registry knows nothing of it and refuses. Then it gets the content, with the client's
own credentials, and is asked once more: a partition becomes an image like any other.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from aiohttp import hdrs
from multidict import CIMultiDict

from proxy.auth.identity import Identity
from proxy.handlers.errors import relayed_reply
from proxy.handlers.exchange import Answer, Call
from proxy.handlers.headers import LocationRewriter
from proxy.handlers.relay import Relay
from proxy.logs import get_logger
from proxy.partitions.lookalikes import Lookalikes
from proxy.partitions.source import Sources
from proxy.partitions.synthesis import Partitions
from proxy.repository import Repository
from proxy.requests.kinds import ManifestWrite
from proxy.signing.attached import AttachedDocuments
from proxy.upstream.referrers import SUBJECT_HEADER
from proxy.upstream.registry import Upstreams
from proxy.upstream.replies import HeldWriteError, RefusedError, Reply
from twodfs.errors import FormatError
from twodfs.oci.digest import Digest, digest_of
from twodfs.oci.documents import INDEX_TYPES, MANIFEST_TYPES, Document, Index, parse_manifest
from twodfs.signing.bundle import is_signature_layer
from twodfs.signing.signature import MAX_SIGNATURES

_REFUSALS: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND})
"""Codes with which registries say that a manifest names content that they lack."""
_MOST_NAMED: Final = 128
"""Entries of an index that are looked for; the proxy's own have fewer."""
_OCTETS: Final = "application/octet-stream"


class PushHandler:
    """Answers writes of manifests."""

    def __init__(
        self,
        sources: Sources,
        lookalikes: Lookalikes,
        relay: Relay,
        *,
        completion: PushCompletion,
        attached: AttachedDocuments | None,
        locations: LocationRewriter,
        max_manifest: int,
    ) -> None:
        """``attached`` None: nothing is signed. ``max_manifest``: bytes."""
        self._sources = sources
        self._lookalikes = lookalikes
        self._relay = relay
        self._completion = completion
        self._attached = attached
        self._locations = locations
        self._max_manifest = max_manifest

    async def answer(self, call: Call[ManifestWrite]) -> Answer:
        """Pass a write on, and forget the cached state of its repository.

        Raises:
            ComputedTagError: the written manifest would never be served.
            BodyTooLongError: the manifest is longer than it may be.
            UnsignedError, RefusedError, UpstreamError: missing content could not be fetched, or written.
        """
        repository = call.request.repository
        await self._lookalikes.check_write(repository, call.request.readings, call.identity)
        await self._sources.forget(repository)
        try:
            if call.request.method == hdrs.METH_PUT:
                return await self._put(call)
            if call.request.method == hdrs.METH_DELETE and call.request.digest is not None:
                return await self._delete(call, call.request.digest)
            return await self._relay.open(call, limit=self._max_manifest)
        finally:
            await self._sources.forget(repository)

    async def _put(self, call: Call[ManifestWrite]) -> Answer:
        # An accepted manifest may have to be entered in a list before the client looks for it there.
        held = _REFUSALS if self._attached is None else _REFUSALS | {HTTPStatus.CREATED}
        try:
            return await self._relay.open(call, limit=self._max_manifest, held=held)
        except HeldWriteError as held_write:
            reply, body = held_write.reply, held_write.body
        repository, identity = call.request.repository, call.identity
        media_type = call.http.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip()
        pushed = Document(media_type, digest_of(body), body)
        if reply.status in _REFUSALS and await self._completion.supply(repository, pushed, identity):
            reply = await self._relay.repeat(call, body)
        answer = relayed_reply(reply, self._locations, call.http)
        is_listed = SUBJECT_HEADER in reply.headers
        if self._attached is not None and reply.status == HTTPStatus.CREATED and not is_listed:
            subject = await self._attached.enter(repository, pushed, identity)
            if subject is not None:
                answer.headers[SUBJECT_HEADER] = subject
        return answer

    async def _delete(self, call: Call[ManifestWrite], digest: Digest) -> Answer:
        """Delete a manifest; a client that believes in the API leaves the list of its subject to us."""
        if self._attached is None:
            return await self._relay.open(call, limit=self._max_manifest)
        repository, identity = call.request.repository, call.identity
        subject = await self._attached.subject(repository, digest, identity)
        try:
            return await self._relay.open(call, limit=self._max_manifest, held=frozenset({HTTPStatus.ACCEPTED}))
        except HeldWriteError as deleted:
            reply = deleted.reply
        if subject is not None:
            await self._attached.strike(repository, digest, subject, identity)
        return relayed_reply(reply, self._locations, call.http)


class PushCompletion:
    """Gives the registry documents of partitions."""

    def __init__(
        self,
        upstreams: Upstreams,
        partitions: Partitions,
        attached: AttachedDocuments | None,
        locations: LocationRewriter,
    ) -> None:
        """``attached`` None: nothing is signed. ``locations`` tells the registry's own upload addresses."""
        self._upstreams = upstreams
        self._partitions = partitions
        self._attached = attached
        self._locations = locations

    async def supply(self, repository: Repository, pushed: Document, identity: Identity) -> bool:
        """Give the registry the content that ``pushed`` names and the proxy made; say whether it took anything.

        Args:
            repository: to which it was pushed; only content that this client may read is given.
            pushed: a manifest or index that the registry refused.
            identity: the client's own credentials.

        Raises:
            UnsignedError, UpstreamError: a source is not to be cut, or the registry gave no answer.
        """
        try:
            named = _named(pushed)
        except FormatError:
            return False
        if len(named) > _MOST_NAMED:
            return False
        given = False
        for digest in named:
            given |= await self._give(repository, digest, identity)
        return given

    async def _ours(self, repository: Repository, digest: Digest, identity: Identity) -> Document | None:
        partition = await self._partitions.find(repository, digest, identity)
        if partition is not None:
            return partition.documents[digest]
        return None if self._attached is None else await self._attached.find(repository, digest, identity)

    async def _give(self, repository: Repository, digest: Digest, identity: Identity) -> bool:
        try:
            document = await self._ours(repository, digest, identity)
        except RefusedError:
            return False
        if document is None:
            return False
        if document.media_type in INDEX_TYPES | MANIFEST_TYPES:
            await self.supply(repository, document, identity)
            target = f"/v2/{repository.name}/manifests/{digest}"
            reply = await self._send(
                repository, hdrs.METH_PUT, target, document.body, identity, content_type=document.media_type
            )
        else:
            reply = await self._upload(repository, document, identity)
        taken = reply.status == HTTPStatus.CREATED
        get_logger().info("given to the registry", digest=digest, status=reply.status)
        return taken

    async def _upload(self, repository: Repository, blob: Document, identity: Identity) -> Reply:
        """Upload a blob (distribution-spec, "POST then PUT")."""
        target = f"/v2/{repository.name}/blobs/uploads/"
        reply = await self._send(repository, hdrs.METH_POST, target, b"", identity)
        location = self._locations.own_path(reply.headers.get(hdrs.LOCATION, ""))
        if reply.status != HTTPStatus.ACCEPTED or location is None:
            return reply
        separator = "&" if "?" in location else "?"
        target = f"{location}{separator}digest={blob.digest}"
        return await self._send(repository, hdrs.METH_PUT, target, blob.body, identity)

    async def _send(
        self,
        repository: Repository,
        method: str,
        target: str,
        body: bytes,
        identity: Identity,
        *,
        content_type: str = _OCTETS,
    ) -> Reply:
        headers = CIMultiDict({**identity.headers, hdrs.CONTENT_TYPE: content_type})
        return await self._upstreams[repository.upstream].send(method, target, headers, body)


def _named(document: Document) -> tuple[Digest, ...]:
    """Return the content that a registry may want before it takes ``document``.

    Layers of partitions are in the registry; those of signatures are as much ours as their configs.
    """
    parsed = parse_manifest(document.body, document.media_type)
    if isinstance(parsed, Index):
        return tuple(entry.digest for entry in parsed.manifests)
    signatures = [one.digest for one in parsed.layers if is_signature_layer(one.media_type)]
    return (parsed.config.digest, *signatures[:MAX_SIGNATURES])
