"""Typed request -> answer."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Final

from aiohttp import hdrs, web
from multidict import CIMultiDict

from proxy.auth.access_control import Authenticator
from proxy.auth.identity import Identity
from proxy.clients.hops import arrive
from proxy.clients.limits import RequestLimits
from proxy.handlers.access import AccessLog, count_spared
from proxy.handlers.documents import blob, manifest
from proxy.handlers.exchange import TokenEndpoint
from proxy.handlers.failures import RegistrysAnswer, as_it_came, explain
from proxy.handlers.headers import LocationRewriter
from proxy.handlers.push_completion import REFUSALS, PushCompletion
from proxy.handlers.relay import Relay
from proxy.logs import bind_key_id, bind_request_id, bind_user
from proxy.metrics.catalogue import CLIENT_GONE
from proxy.partitions.lookalikes import Lookalikes
from proxy.partitions.records import CutPartition, Provenance
from proxy.partitions.source import Sources, accepts_indexes
from proxy.partitions.synthesis import Partitions
from proxy.requests.kinds import (
    ContentPull,
    InvalidRequest,
    ManifestWrite,
    MistypedPull,
    PartitionPull,
    ReferrersPull,
    ReferrersTagPull,
    RegistryRequest,
    SignaturePull,
    TokenRequest,
)
from proxy.requests.parsing import parse
from proxy.signing.attached import AttachedDocuments
from proxy.tracing.spans import serves
from proxy.upstream.referrers import SUBJECT_HEADER
from proxy.upstream.replies import HeldWriteError
from proxy.wire.responses import WholeResponse, deliver
from twodfs.field.partition import mistyped
from twodfs.oci.digest import digest_of
from twodfs.oci.documents import ACCEPT_IMAGES, Document

_REQUEST_ID: Final = "X-Request-Id"
_CREATED: Final = 201
_ACCEPTED: Final = 202
_NOT_FOUND: Final = 404
_FILTERS_APPLIED: Final = "OCI-Filters-Applied"


class Handlers:
    """Answers every request that reaches the public listener."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        relay: Relay,
        sources: Sources,
        partitions: Partitions,
        lookalikes: Lookalikes,
        locations: LocationRewriter,
        attached: AttachedDocuments | None,
        push_completion: PushCompletion,
        tokens: TokenEndpoint | None,
        requests: RequestLimits,
        max_manifest: int,
        client_timeout: float,
        access_log: AccessLog,
    ) -> None:
        """``attached`` None: nothing is signed. ``max_manifest``: bytes; ``client_timeout``: seconds."""
        self._authenticator = authenticator
        self._tokens = tokens
        self._attached = attached
        self._push_completion = push_completion
        self._requests = requests
        self._max_manifest = max_manifest
        self._client_timeout = client_timeout
        self._relay = relay
        self._sources = sources
        self._partitions = partitions
        self._lookalikes = lookalikes
        self._locations = locations
        self._access_log = access_log
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def finish(self, seconds: float) -> None:
        """Wait until no request is running, at most ``seconds``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()

    @property
    def in_flight(self) -> int:
        """How many requests are being answered."""
        return self._running

    @serves
    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer ``request`` and log one line about it, also when the client leaves before its answer."""
        started = time.perf_counter()
        request_id = bind_request_id(request.headers.get(_REQUEST_ID))
        bind_user(None)  # the connection may have carried another's request before
        bind_key_id(None)
        routed: RegistryRequest | None = None
        status = CLIENT_GONE
        self._running += 1
        self._idle.clear()
        try:
            arrive(request.headers)
            routed = parse(request.method, request.raw_path)
            client = self._locations.clients.rate_limit_key(request)
            with self._requests.admitted(client):
                try:
                    if isinstance(routed, InvalidRequest):
                        raise routed.problem  # noqa: TRY301 - answered below
                    response = await self._answer(request, routed.target, routed, client)
                except Exception as error:  # noqa: BLE001 - a refusal is an answer: it counts, and has its time
                    response = explain(error, self._locations, request)
                    response.headers[_REQUEST_ID] = request_id
                status = response.status
                if isinstance(response, WholeResponse):
                    if not isinstance(response, RegistrysAnswer):
                        response.headers[_REQUEST_ID] = request_id
                    await deliver(response, request, self._client_timeout)
        except Exception as error:  # noqa: BLE001 - the last line of defence: an error document, never a traceback
            response = explain(error, self._locations, request)
            response.headers[_REQUEST_ID] = request_id
            status = response.status
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()
            remote = self._locations.clients.address(request)
            self._access_log.close(request, routed, status, time.perf_counter() - started, remote)
        return response

    async def _answer(  # noqa: PLR0911 - a table
        self, request: web.BaseRequest, target: str, routed: RegistryRequest, client: str
    ) -> web.StreamResponse:
        if self._tokens is not None and isinstance(routed, TokenRequest):
            return await self._tokens.answer(request, target)
        identity = await self._authenticator.enter(request, routed, client)
        if request.body_exists and not isinstance(routed, ManifestWrite):
            # A body can be passed on once, and the rest may ask the registry twice.
            return await self._relay.forward(request, target)
        match routed:
            case PartitionPull() | MistypedPull():
                return await self._pull_tag(request, target, routed, identity)
            case ContentPull():
                return await self._pull_content(request, target, routed, identity)
            case SignaturePull() | ReferrersTagPull() | ReferrersPull():
                return await self._pull_attached(request, target, routed, identity)
            case ManifestWrite(repository=repository, readings=readings):
                await self._lookalikes.check_write(repository, readings, identity)
                self._sources.forget(repository)
                try:
                    return await self._write_manifest(request, target, routed, identity)
                finally:
                    self._sources.forget(repository)
        return await self._relay.forward(request, target)

    async def _write_manifest(
        self, request: web.BaseRequest, target: str, write: ManifestWrite, identity: Identity
    ) -> web.StreamResponse:
        if request.method == hdrs.METH_DELETE and write.digest is not None and self._attached is not None:
            return await self._delete_manifest(self._attached, request, target, write, identity)
        if request.method != hdrs.METH_PUT:
            return await self._relay.forward(request, target, limit=self._max_manifest)
        # What was taken may have to be entered in a list before the client may look for it there.
        held = REFUSALS if self._attached is None else REFUSALS | {_CREATED}
        try:
            return await self._relay.forward(request, target, limit=self._max_manifest, held=held)
        except HeldWriteError as answered:
            media_type = request.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip()
            pushed = Document(media_type, digest_of(answered.body), answered.body)
            reply = answered.reply
            if reply.status in REFUSALS and await self._push_completion.supply(write.repository, pushed, identity):
                reply = await self._relay.repeat(request, target, answered.body)
            response = as_it_came(reply, self._locations, request)
            is_listed = SUBJECT_HEADER in reply.headers
            if self._attached is not None and reply.status == _CREATED and not is_listed:
                subject = await self._attached.enter(write.repository, pushed, identity)
                if subject is not None:
                    response.headers[SUBJECT_HEADER] = subject
            return response

    async def _delete_manifest(
        self,
        attached: AttachedDocuments,
        request: web.BaseRequest,
        target: str,
        write: ManifestWrite,
        identity: Identity,
    ) -> web.StreamResponse:
        """Delete a manifest; a client that believes in the API leaves the list of its subject to us."""
        assert write.digest is not None  # noqa: S101 - the caller's question
        subject = await attached.subject(write.repository, write.digest, identity)
        try:
            return await self._relay.forward(request, target, limit=self._max_manifest, held=frozenset({_ACCEPTED}))
        except HeldWriteError as deleted:
            if subject is not None:
                await attached.strike(write.repository, write.digest, subject, identity)
            return as_it_came(deleted.reply, self._locations, request)

    async def _pull_tag(
        self,
        request: web.BaseRequest,
        target: str,
        pull: PartitionPull | MistypedPull,
        identity: Identity,
    ) -> web.StreamResponse:
        if isinstance(pull, PartitionPull):
            return await self._pull_partition(request, target, pull, identity)
        answer = await self._relay.forward_unless(_NOT_FOUND, request, target)
        if answer is not None:
            return answer
        await self._lookalikes.explain_mistyped(pull.repository, pull.ways, identity)
        return await self._relay.forward(request, target)

    async def _pull_partition(
        self, request: web.BaseRequest, target: str, pull: PartitionPull, identity: Identity
    ) -> web.StreamResponse:
        accept = ", ".join(request.headers.getall(hdrs.ACCEPT, ()))
        seen = None
        for reading in pull.readings:
            source = await self._sources.resolve(pull.repository, reading.base, identity, accept)
            if source is None:
                continue
            made = await self._partitions.get(source, Provenance(source.digest, reading.selection()), identity)
            if made is not None:
                response = manifest(made.top, request)
                count_spared(made, made.root, request, response)
                return response
            seen = seen or (source, reading)
        # The tag merely looks like a partition, so it is passed on literally.
        meant = mistyped(str(pull.readings[0])) if seen is None else ()
        if seen is None and not meant and accepts_indexes(accept):
            return await self._relay.forward(request, target)
        answer = await self._relay.forward_unless(_NOT_FOUND, request, target)
        if answer is not None:
            return answer
        if seen is not None:
            await self._lookalikes.explain(*seen, identity)
        await self._lookalikes.explain_mistyped(pull.repository, meant, identity)
        if seen is not None or accepts_indexes(accept):
            return await self._relay.forward(request, target)
        # A client that takes no index hears of the partition what the registry says of the source image, but
        # where the registry gives it the image, that has no such partition.
        base = pull.readings[0].base
        known = await self._sources.resolve(pull.repository, base, identity, ACCEPT_IMAGES)
        source_target = f"/v2/{pull.repository.name}/manifests/{base}"
        return await self._relay.forward(request, target if known is None else source_target)

    async def _pull_content(
        self, request: web.BaseRequest, target: str, pull: ContentPull, identity: Identity
    ) -> web.StreamResponse:
        # Most blobs are layers, which are never ours: other replicas are asked only where that can help.
        shared = pull.is_manifest or identity.may_pull(pull.repository)
        found: CutPartition | Document | None = await self._partitions.recall(
            pull.repository, pull.digest, identity, shared=shared
        )
        if found is None:
            answer = await self._relay.forward_unless(_NOT_FOUND, request, target)
            if answer is not None:
                return answer
            found = await self._find(pull, identity, is_read=request.method == hdrs.METH_GET)
        if found is None:
            return await self._relay.forward(request, target)
        document = found.documents[pull.digest] if isinstance(found, CutPartition) else found
        response = manifest(document, request) if pull.is_manifest else blob(document, request)
        if isinstance(found, CutPartition):
            count_spared(found, pull.digest, request, response)
        return response

    async def _find(self, pull: ContentPull, identity: Identity, *, is_read: bool) -> CutPartition | Document | None:
        """Return the partition that holds the digest, or what belongs to a signature.

        Another replica may be about to tell of either. But a client about to push asks whether each document
        is there, and is to hear "no" at once.
        """
        started = time.monotonic()
        while True:
            found: CutPartition | Document | None = await self._partitions.find(pull.repository, pull.digest, identity)
            if found is None and self._attached is not None:
                found = await self._attached.find(pull.repository, pull.digest, identity)
            waited = time.monotonic() - started
            if found is not None or not (is_read or pull.is_manifest):
                return found
            if not await self._partitions.settle(waited, only_failing=not is_read):
                return found

    async def _pull_attached(
        self,
        request: web.BaseRequest,
        target: str,
        pull: SignaturePull | ReferrersTagPull | ReferrersPull,
        identity: Identity,
    ) -> web.StreamResponse:
        attached, found = self._attached, None
        match pull:
            case ReferrersPull() if attached is not None:
                return await self._list_referrers(attached, request, target, pull, identity)
            case SignaturePull() if attached is not None:
                found = await attached.tagged(pull.repository, pull.subject, identity)
            case ReferrersTagPull() if attached is not None:
                found = await attached.referrers_tag(pull.repository, pull.subject, identity)
        if found is None:
            return await self._relay.forward(request, target)
        if isinstance(found, Document):
            return manifest(found, request)
        return as_it_came(found, self._locations, request)

    async def _list_referrers(
        self,
        attached: AttachedDocuments,
        request: web.BaseRequest,
        target: str,
        pull: ReferrersPull,
        identity: Identity,
    ) -> web.StreamResponse:
        found = await attached.referrers(pull.repository, pull.subject, identity, pull.artifact_type)
        if found is None:
            return await self._relay.forward(request, target)
        headers = CIMultiDict({hdrs.CONTENT_TYPE: found.document.media_type})
        headers[hdrs.CONTENT_LENGTH] = str(len(found.document.body))
        upstream = self._locations.forwarded_response(found.headers, request)
        headers.extend((hdrs.LINK, link) for link in upstream.getall(hdrs.LINK, []))
        if pull.artifact_type is not None:
            headers[_FILTERS_APPLIED] = "artifactType"
        return WholeResponse(status=200, headers=headers, body=found.document.body)
