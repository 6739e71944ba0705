"""Artifacts attached to a digest: our signatures beside those of others, none of which are hidden.

Clients find them in three places: the referrers API, the tag that stands in for it, and cosign's
tag of signatures. In each of them ours is added to the registry's content. The merged document has a digest
of its own, and is made anew from both when it is asked for by that.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.auth.identity import Identity
from proxy.logs import get_logger
from proxy.partitions.synthesis import Partitions
from proxy.repository import Repository
from proxy.signing.signatures import Signatures
from proxy.upstream.referrers import Listing, Referrers
from proxy.upstream.registry import Upstreams
from proxy.upstream.replies import STALE, RefusedError, Reply, UnknownNowError, UpstreamError
from twodfs.errors import DigestError, FormatError
from twodfs.oci.digest import Digest, digest_of, verify
from twodfs.oci.documents import (
    ACCEPT_IMAGES,
    MAX_MANIFEST_BYTES,
    OCI_INDEX,
    OCI_MANIFEST,
    Document,
    Manifest,
    parse_manifest,
    parse_object,
)
from twodfs.oci.referrers import entries_of, merged_referrers, subject_of
from twodfs.signing.attachment import Attachments, with_ours
from twodfs.signing.signature import MAX_PAYLOAD, signature_tag

_LATE: Final = CIMultiDictProxy(CIMultiDict({hdrs.WARNING: STALE}))
_NOTHING: Final = Reply(HTTPStatus.NOT_FOUND, HTTPStatus.NOT_FOUND.phrase, _LATE, b"")
"""In the place of the registry's answer about a digest of ours, while it cannot be asked."""


@dataclass(frozen=True, slots=True)
class ListedReferrers:
    """A list of referrers with ours in it, and the headers that the registry's own list came with."""

    document: Document
    headers: CIMultiDictProxy[str]


class AttachedDocuments:
    """Finds artifacts attached to a digest, and keeps the lists that the registry does not keep itself."""

    def __init__(
        self, upstreams: Upstreams, referrers: Referrers, partitions: Partitions, signatures: Signatures
    ) -> None:
        self._upstreams = upstreams
        self._referrers = referrers
        self._partitions = partitions
        self._signatures = signatures

    async def find(self, repository: Repository, digest: Digest, identity: Identity) -> Document | None:
        """Return the document that belongs to a signature of ours and has ``digest``, if there is one.

        To be asked only after the upstream said that it does not know the digest.

        Raises:
            UnsignedError, RefusedError, UpstreamError: as for ``Signatures.of``.
        """
        subject = await self._signatures.subject(digest)
        ours = None if subject is None else await self._signatures.of(repository, subject, identity)
        if subject is None or ours is None:
            return None
        if digest in ours.documents:
            return ours.documents[digest]
        # It was merged with the registry's document of then; as long as that is the same, so is the result.
        merged = [
            *await self._with_theirs(repository, subject, ours, identity),
            await self._tag_with_theirs(repository, subject, ours, identity),
        ]
        return next((one for one in merged if one is not None and one.digest == digest), None)

    async def tagged(self, repository: Repository, digest: Digest, identity: Identity) -> Document | Reply | None:
        """Return the signatures of ``digest`` as cosign's tag has them: the registry's, and ours.

        Returns:
            A signature manifest of ours, or with ours in it; the registry's answer where nothing is to be
            added; None when the digest is not one of ours, as far as this client may know.

        Raises:
            UnsignedError, RefusedError, UpstreamError: as for ``Signatures.of``.
        """
        if not await self._partitions.knows(digest):
            return None
        theirs = await self._theirs(repository, digest, identity)
        if theirs.status not in (HTTPStatus.OK, HTTPStatus.NOT_FOUND):
            return theirs
        ours = await self._signatures.of(repository, digest, identity)
        if ours is None or theirs.status == HTTPStatus.NOT_FOUND:
            return None if ours is None else ours.tagged.manifest
        merged = await self._with_theirs(repository, digest, ours, identity, theirs)
        return merged[0] if merged else theirs

    async def referrers(
        self, repository: Repository, digest: Digest, identity: Identity, artifact_type: str | None
    ) -> ListedReferrers | None:
        """Return the referrers of ``digest``: those of the registry's API, or of a tag where it has none; and ours.

        None where the registry's own answer is all there is.

        Args:
            repository: as in the request.
            digest: of the subject.
            identity: the client's own credentials.
            artifact_type: the only type to list; None for all.

        Raises:
            RefusedError: the registry refuses the client, or its answer is no list.
            UnsignedError, UpstreamError: as for ``Signatures.of``.
        """
        is_ours = await self._partitions.knows(digest)
        if not is_ours and self._referrers.has_api(repository):
            return None
        try:
            listing = await self._referrers.of(repository, digest, identity, artifact_type)
        except UnknownNowError:
            if not is_ours:
                raise
            listing = Listing({}, is_by_api=False, headers=_LATE)
        if not is_ours and listing.is_by_api:
            return None
        ours = await self._signatures.of(repository, digest, identity) if is_ours else None
        document = merged_referrers(listing.listed, () if ours is None else ours.entries, artifact_type)
        return ListedReferrers(document, listing.headers)

    async def referrers_tag(
        self, repository: Repository, digest: Digest, identity: Identity
    ) -> Document | Reply | None:
        """Return the list of referrers of ``digest`` as its tag has it, with ours; like ``tagged``."""
        if not await self._partitions.knows(digest):
            return None
        theirs = await self._their_list(repository, digest, identity)
        if theirs.status not in (HTTPStatus.OK, HTTPStatus.NOT_FOUND):
            return theirs
        ours = await self._signatures.of(repository, digest, identity)
        if ours is None:
            return None
        merged = await self._tag_with_theirs(repository, digest, ours, identity, theirs)
        return theirs if merged is None else merged

    async def enter(self, repository: Repository, pushed: Document, identity: Identity) -> Digest | None:
        """See to it that a manifest that was just pushed is listed among the referrers of its subject.

        A client that was told by us that the registry has the referrers API leaves that to the registry.

        Returns:
            The subject, where the manifest had to be entered; None where it has none, or the registry
            keeps such lists itself.

        Raises:
            RefusedError, UpstreamError: the list could not be written.
        """
        try:
            raw = parse_object(pushed.body)
        except FormatError:
            return None
        subject, own_type = subject_of(raw), raw.get("mediaType")
        if subject is None:
            return None
        media_type = pushed.media_type or (own_type if isinstance(own_type, str) else OCI_MANIFEST)
        manifest = Document(media_type, pushed.digest, pushed.body)
        return subject if await self._referrers.enter(repository, manifest, subject, identity) else None

    async def subject(self, repository: Repository, digest: Digest, identity: Identity) -> Digest | None:
        """Return the subject of a manifest in the registry, where the registry keeps no list of referrers itself.

        Raises:
            UpstreamError: the registry does not answer.
        """
        if self._referrers.has_api(repository):
            return None
        reply = await self._manifest(repository, digest, identity)
        try:
            return subject_of(parse_object(reply.body)) if reply.status == HTTPStatus.OK else None
        except FormatError:
            return None

    async def strike(self, repository: Repository, digest: Digest, subject: Digest, identity: Identity) -> None:
        """See to it that a manifest just deleted is no longer listed among the referrers of its subject.

        A client that may delete may lack the right to write; then a dangling entry is left, and logged.
        """
        try:
            await self._referrers.strike(repository, digest, subject, identity)
        except (RefusedError, UpstreamError) as error:
            get_logger().warning("not struck from its list", digest=digest, of=subject, reason=str(error))

    async def _theirs(self, repository: Repository, digest: Digest, identity: Identity) -> Reply:
        """Return the registry's signatures of a digest of ours, of which it need not have heard."""
        try:
            return await self._manifest(repository, signature_tag(digest), identity)
        except UnknownNowError:
            return _NOTHING

    async def _their_list(self, repository: Repository, digest: Digest, identity: Identity) -> Reply:
        try:
            return await self._referrers.tagged(repository, digest, identity)
        except UnknownNowError:
            return _NOTHING

    async def _manifest(self, repository: Repository, reference: str, identity: Identity) -> Reply:
        path = f"/v2/{repository.name}/manifests/{reference}"
        upstream = self._upstreams[repository.upstream]
        return await upstream.get(path, identity, limit=MAX_MANIFEST_BYTES, accept=ACCEPT_IMAGES)

    async def _with_theirs(
        self,
        repository: Repository,
        digest: Digest,
        ours: Attachments,
        identity: Identity,
        theirs: Reply | None = None,
    ) -> tuple[Document, ...]:
        """Return their signature manifest with ours in it, and its config; empty where nothing is added."""
        theirs = theirs or await self._theirs(repository, digest, identity)
        if theirs.status != HTTPStatus.OK:
            return ()
        config = await self._config(repository, theirs.body, identity)
        merged = with_ours(Document(OCI_MANIFEST, digest_of(theirs.body), theirs.body), config, ours.tagged)
        await self._signatures.remember(merged, digest)
        return merged

    async def _config(self, repository: Repository, manifest: bytes, identity: Identity) -> bytes | None:
        try:
            parsed = parse_manifest(manifest, OCI_MANIFEST)
        except FormatError:
            return None
        if not isinstance(parsed, Manifest) or parsed.config.size > MAX_PAYLOAD:
            return None
        path = f"/v2/{repository.name}/blobs/{parsed.config.digest}"
        reply = await self._upstreams[repository.upstream].get(path, identity, limit=MAX_PAYLOAD, accept="*/*")
        try:
            return verify(reply.body, parsed.config.digest) if reply.status == HTTPStatus.OK else None
        except DigestError:
            return None

    async def _tag_with_theirs(
        self,
        repository: Repository,
        digest: Digest,
        ours: Attachments,
        identity: Identity,
        theirs: Reply | None = None,
    ) -> Document | None:
        """Return the list under the tag with ours in it; None where nothing is added."""
        theirs = theirs or await self._their_list(repository, digest, identity)
        if theirs.status not in (HTTPStatus.OK, HTTPStatus.NOT_FOUND):
            return None
        try:
            listed = parse_object(theirs.body) if theirs.status == HTTPStatus.OK else {}
            merged = merged_referrers(listed, ours.entries)
            is_index = listed.get("mediaType", OCI_INDEX) == OCI_INDEX
        except FormatError:
            return None
        if not is_index or entries_of(listed) == entries_of(parse_object(merged.body)):
            return None
        await self._signatures.remember((merged,), digest)
        return merged
