"""Which images may be cut: those that carry a cosign signature by a trusted key.

A verdict is about content, not about who asks: that this client may read the image was found out before. A
good one is remembered for a while; a bad one never, since the next push may bring the signature.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cachetools import TTLCache

from proxy.auth.identity import Identity
from proxy.flight import SingleFlight
from proxy.logs import get_logger
from proxy.partitions.source import MAX_MANIFEST, Source
from proxy.upstream.registry import Upstream
from proxy.upstream.replies import RefusedError
from twodfs.digest import Digest
from twodfs.ecdsa import PublicKey
from twodfs.errors import FormatError, SignatureError
from twodfs.oci import OCI_MANIFEST, Document
from twodfs.signature import MAX_PAYLOAD, Signed, check, signature_tag, signatures_in

_OK: Final = 200
_NOT_FOUND: Final = 404
_MOST_VERDICTS: Final = 65_536


class UnsignedError(Exception):
    """The operator wants images signed before they are cut, and this one is not."""


class SourcePolicy:
    """Holds images against the keys that they have to be signed by."""

    def __init__(self, upstream: Upstream, keys: Sequence[PublicKey], *, ttl: float) -> None:
        """``ttl``: seconds for which a good verdict is given again without asking; 0 for never."""
        self._upstream = upstream
        self._keys = keys
        self._signed: TTLCache[tuple[str, Digest], bool] | None = (
            TTLCache(_MOST_VERDICTS, ttl) if ttl else None
        )
        self._flight: SingleFlight[None] = SingleFlight()

    async def check(self, source: Source, identity: Identity) -> None:
        """Return when ``source`` is signed.

        Raises:
            UnsignedError: it carries no signature that counts.
            RefusedError: the registry keeps its signatures from this client.
            UpstreamError: the registry did not answer.
        """
        key = (source.repository, source.digest)
        if self._signed is not None and key in self._signed:
            return
        await self._flight.do((*key, identity.fingerprint), lambda: self._examine(source, identity))
        if self._signed is not None:
            self._signed[key] = True

    async def _examine(self, source: Source, identity: Identity) -> None:
        """Look for one good signature, at most ``MAX_SIGNATURES`` of at most ``MAX_PAYLOAD`` bytes."""
        tag = signature_tag(source.digest)
        path = f"/v2/{source.repository}/manifests/{tag}"
        reply = await self._upstream.get(path, identity, limit=MAX_MANIFEST, accept=OCI_MANIFEST)
        if reply.status == _NOT_FOUND:
            raise _unsigned(source, f"has no signature (no tag {tag})")
        if reply.status != _OK:
            raise RefusedError(reply)
        try:
            candidates = signatures_in(Document(OCI_MANIFEST, source.digest, reply.body))
        except FormatError as error:
            raise _unsigned(source, f"has a signature manifest that is malformed: {error}") from None
        reason = "there is none in its signature manifest"
        for candidate in candidates:
            try:
                payload = await self._payload(source.repository, candidate, identity)
                check(candidate, payload, source.digest, self._keys)
            except SignatureError as error:
                reason = str(error)
                continue
            get_logger().info("source signature found", image=source.image, source=source.digest)
            return
        raise _unsigned(source, f"has no signature by a trusted key: {reason}")

    async def _payload(self, repository: str, candidate: Signed, identity: Identity) -> bytes:
        path = f"/v2/{repository}/blobs/{candidate.payload.digest}"
        reply = await self._upstream.get(path, identity, limit=MAX_PAYLOAD, accept="*/*")
        if reply.status == _NOT_FOUND:
            raise SignatureError("its payload is not in the registry")
        if reply.status != _OK:
            raise RefusedError(reply)
        return reply.body


def _unsigned(source: Source, why: str) -> UnsignedError:
    return UnsignedError(
        f"partitions are cut only from signed images, and {source.image} ({source.digest}) {why}; sign it "
        f"with cosign and one of the keys that this proxy trusts, or ask who runs the proxy"
    )
