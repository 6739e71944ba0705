"""Artifacts attached to a digest, in the three places where clients look: signatures and lists of referrers."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from aiohttp import hdrs
from multidict import CIMultiDict

from proxy.handlers.documents import manifest
from proxy.handlers.errors import relayed_reply
from proxy.handlers.exchange import Answer, Call, WholeBody
from proxy.handlers.headers import LocationRewriter
from proxy.handlers.relay import Relay
from proxy.requests.kinds import ReferrersPull, ReferrersTagPull, RegistryRequest, SignaturePull
from proxy.signing.attached import AttachedDocuments
from proxy.upstream.replies import Reply
from twodfs.oci.documents import Document

_FILTERS_APPLIED: Final = "OCI-Filters-Applied"


class AttachedHandler:
    """Answers with attached artifacts, ours beside the registry's. Each method raises like ``Signatures.of``."""

    def __init__(self, attached: AttachedDocuments, locations: LocationRewriter, relay: Relay) -> None:
        self._attached = attached
        self._locations = locations
        self._relay = relay

    async def answer_signatures(self, call: Call[SignaturePull]) -> Answer:
        """Return the signatures under cosign's tag."""
        request = call.request
        found = await self._attached.tagged(request.repository, request.subject, call.identity)
        return await self._answer(call, found)

    async def answer_referrers_tag(self, call: Call[ReferrersTagPull]) -> Answer:
        """Return the list under the tag that stands in for the referrers API."""
        request = call.request
        found = await self._attached.referrers_tag(request.repository, request.subject, call.identity)
        return await self._answer(call, found)

    async def answer_referrers(self, call: Call[ReferrersPull]) -> Answer:
        """Return the list of the referrers API."""
        request = call.request
        found = await self._attached.referrers(
            request.repository, request.subject, call.identity, request.artifact_type
        )
        if found is None:
            return await self._relay.open(call)
        headers = CIMultiDict({hdrs.CONTENT_TYPE: found.document.media_type})
        headers[hdrs.CONTENT_LENGTH] = str(len(found.document.body))
        upstream = self._locations.forwarded_response(found.headers, call.http)
        headers.extend((hdrs.LINK, link) for link in upstream.getall(hdrs.LINK, []))
        if hdrs.WARNING in upstream:
            headers[hdrs.WARNING] = upstream[hdrs.WARNING]
        if request.artifact_type is not None:
            headers[_FILTERS_APPLIED] = "artifactType"
        return Answer(HTTPStatus.OK, headers, WholeBody(found.document.body))

    async def _answer(self, call: Call[RegistryRequest], found: Document | Reply | None) -> Answer:
        if found is None:
            return await self._relay.open(call)
        if isinstance(found, Document):
            return manifest(found, call.http)
        return relayed_reply(found, self._locations, call.http)
