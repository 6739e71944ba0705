"""What the proxy made, given to the registry when somebody pushes an image that consists of it.

A client asks whether a config or manifest is there, hears yes, since the proxy can make it, and sends only
what names it. The registry knows nothing of it and refuses. Then it gets what is missing, with the client's
own credentials, and is asked once more: a partition becomes an image like any other.
"""

from __future__ import annotations

from typing import Final

from aiohttp import hdrs
from multidict import CIMultiDict

from proxy.auth.identity import Identity
from proxy.handlers.headers import LocationRewriter
from proxy.logs import get_logger
from proxy.partitions.synthesis import Partitions
from proxy.repository import Repository
from proxy.signing.attached import AttachedDocuments
from proxy.upstream.replies import RefusedError, Reply
from proxy.upstream.upstream import Upstreams
from twodfs.errors import FormatError
from twodfs.oci.digest import Digest
from twodfs.oci.documents import INDEX_TYPES, MANIFEST_TYPES, Document, Index, parse_manifest
from twodfs.signing.bundle import is_signature_layer
from twodfs.signing.signature import MAX_SIGNATURES

REFUSALS: Final = frozenset({400, 404})
"""How registries say that a manifest names what they do not have."""
_MOST_NAMED: Final = 128
"""Entries of an index that are looked for; what we cut has fewer."""
_CREATED: Final = 201
_ACCEPTED: Final = 202
_OCTETS: Final = "application/octet-stream"


class PushCompletion:
    """Gives the registry documents of partitions."""

    def __init__(
        self,
        upstreams: Upstreams,
        partitions: Partitions,
        attached: AttachedDocuments | None,
        locations: LocationRewriter,
    ) -> None:
        """``attached`` None: nothing is signed. ``origins`` tells the registry's own upload addresses."""
        self._upstreams = upstreams
        self._partitions = partitions
        self._attached = attached
        self._locations = locations

    async def supply(self, repository: Repository, pushed: Document, identity: Identity) -> bool:
        """Give the registry what ``pushed`` names and we made; say whether it took anything.

        Args:
            repository: to which it was pushed; only what this client may read of it is given.
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
        made = await self._partitions.find(repository, digest, identity)
        if made is not None:
            return made.documents[digest]
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
        taken = reply.status == _CREATED
        get_logger().info("given to the registry", digest=digest, status=reply.status)
        return taken

    async def _upload(self, repository: Repository, blob: Document, identity: Identity) -> Reply:
        """Upload a blob (distribution-spec, "POST then PUT")."""
        target = f"/v2/{repository.name}/blobs/uploads/"
        reply = await self._send(repository, hdrs.METH_POST, target, b"", identity)
        location = self._locations.own_path(reply.headers.get(hdrs.LOCATION, ""))
        if reply.status != _ACCEPTED or location is None:
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
    """Return what a registry wants to have before it takes ``document``, and may not.

    Layers of partitions are in the registry; those of signatures are as much ours as their configs.
    """
    parsed = parse_manifest(document.body, document.media_type)
    if isinstance(parsed, Index):
        return tuple(entry.digest for entry in parsed.manifests)
    signatures = [one.digest for one in parsed.layers if is_signature_layer(one.media_type)]
    return (parsed.config.digest, *signatures[:MAX_SIGNATURES])
