"""Which images may be cut: those that carry a cosign signature by a trusted key, old or new in form.

A verdict is about content, not about the client: that this client may read the image was found out before. A
good one is remembered for a while; a bad one never, since the next push may bring the signature.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from cachetools import TTLCache

from proxy.auth.identity import Identity
from proxy.logs import get_logger
from proxy.partitions.source import SourceImage
from proxy.repository import Repository
from proxy.single_flight import SingleFlight
from proxy.upstream.referrers import MalformedListError, Referrers
from proxy.upstream.registry import Upstreams
from proxy.upstream.replies import RefusedError, UpstreamError
from twodfs.errors import SignatureError
from twodfs.oci.digest import Digest, digest_of
from twodfs.oci.documents import OCI_MANIFEST, Document
from twodfs.oci.referrers import entries_of
from twodfs.signing.ecdsa import PublicKey
from twodfs.signing.evidence import EvidenceAnswer, EvidenceKind, EvidenceNeed, examine

_MOST_VERDICTS: Final = 65_536


class UnsignedError(Exception):
    """The operator wants images signed before they are cut, and this one is not."""


class SourcePolicy:
    """Holds images against the keys that they have to be signed by."""

    def __init__(self, upstreams: Upstreams, referrers: Referrers, keys: Sequence[PublicKey], *, ttl: float) -> None:
        """``ttl``: seconds for which a good verdict is given again without asking; 0 for never."""
        self._upstreams = upstreams
        self._referrers = referrers
        self._keys = keys
        self._signed: TTLCache[tuple[Repository, Digest], bool] | None = TTLCache(_MOST_VERDICTS, ttl) if ttl else None
        self._single_flight: SingleFlight[None] = SingleFlight()

    async def check(self, source: SourceImage, identity: Identity) -> None:
        """Return when ``source`` is signed.

        Raises:
            UnsignedError: it carries no signature that counts.
            RefusedError: the registry keeps its signatures from this client.
            UpstreamError: the registry did not answer.
        """
        key = (source.repository, source.digest)
        if self._signed is not None and key in self._signed:
            return
        await self._single_flight.do((*key, identity.fingerprint), lambda: self._examine(source, identity))
        if self._signed is not None:
            self._signed[key] = True

    async def _examine(self, source: SourceImage, identity: Identity) -> None:
        """Look for one good signature; ``twodfs.signing.evidence`` says where, and how far."""
        steps = examine(source.digest, self._keys)
        try:
            need = next(steps)
            while True:
                need = steps.send(await self._answer(source.repository, need, identity))
        except SignatureError as error:
            raise _unsigned(source, f"has no signature by a trusted key: {error}") from None
        except StopIteration:
            get_logger().info("source signature found", image=source.image, source=source.digest)

    async def _answer(self, repository: Repository, need: EvidenceNeed, identity: Identity) -> EvidenceAnswer:
        if need.kind is EvidenceKind.REFERRERS:
            try:
                listing = await self._referrers.of(repository, Digest(need.reference), identity)
            except MalformedListError:
                raise UpstreamError("the registry's list of what refers to the image is none") from None
            return entries_of(listing.listed)
        is_manifest = need.kind is EvidenceKind.MANIFEST
        path = f"/v2/{repository.name}/{'manifests' if is_manifest else 'blobs'}/{need.reference}"
        accept = OCI_MANIFEST if is_manifest else "*/*"
        reply = await self._upstreams[repository.upstream].get(path, identity, limit=need.limit, accept=accept)
        if reply.status == HTTPStatus.NOT_FOUND:
            return None
        if reply.status != HTTPStatus.OK:
            raise RefusedError(reply)
        return Document(OCI_MANIFEST, digest_of(reply.body), reply.body) if is_manifest else reply.body


def _unsigned(source: SourceImage, why: str) -> UnsignedError:
    return UnsignedError(
        f"partitions are cut only from signed images, and {source.image} ({source.digest}) {why}; sign it "
        f"with cosign and one of the keys that this proxy trusts, or ask who runs the proxy"
    )
