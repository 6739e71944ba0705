"""An image that is wanted: its documents fetched, and from them the content that it takes.

All goes through the same parts as a client's pull, so the node knows afterwards what it would know after one: the last
answer for the tag, which documents name which content, and which repository gave it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from proxy.auth.identity import Identity
from proxy.cache.images.parts import Part, PartKind, distinct, kind_of, wanted_entries
from proxy.edge.node import EdgeNode
from proxy.partitions.content import Contents
from proxy.partitions.plain import PlainTags
from proxy.partitions.records import CutPartition, Provenance
from proxy.partitions.source import SourceImage
from proxy.partitions.synthesis import Partitions
from proxy.prefetch.order import Wanted
from proxy.repository import Repository
from proxy.upstream.replies import RefusedError, UpstreamError
from twodfs.errors import FormatError, TwodfsError
from twodfs.oci.digest import Digest, digest_of
from twodfs.oci.documents import (
    ACCEPT_IMAGES,
    FIELD_LAYER,
    IMAGE_TYPES,
    MAX_MANIFEST_BYTES,
    OCI_INDEX,
    Document,
    Index,
    parse_manifest,
)
from twodfs.oci.platforms import Platform
from twodfs.signing.signature import signature_tag

DOCUMENTS: Final = (PartKind.INDEX, PartKind.MANIFEST, PartKind.REFERRER)
"""Parts that are fetched to plan an image."""
_MOST_LEVELS: Final = 4
_MOST_REFERRERS: Final = 64


class NoSuchImageError(TwodfsError):
    """The registry does not have it, nor is it a partition of what it has."""


@dataclass(frozen=True, slots=True)
class PlannedImage:
    """An image whose documents are here.

    Attributes:
        wanted: as it was ordered.
        repository: where it is.
        root: its manifest or index.
        parts: all content that it takes; of a partition the documents of its source, too.
        made: the documents that no registry has.
    """

    wanted: Wanted
    repository: Repository
    root: Document
    parts: tuple[Part, ...] = field(repr=False)
    made: Mapping[Digest, Document] = field(repr=False)


class Planner:
    """Finds out what an image of one registry takes."""

    def __init__(
        self, node: EdgeNode, partitions: Partitions, contents: Contents, plain: PlainTags | None = None
    ) -> None:
        """``plain`` None: plain tags give the registry's images."""
        self._node = node
        self._partitions = partitions
        self._contents = contents
        self._plain = plain

    async def plan(self, wanted: Wanted, identity: Identity) -> PlannedImage:
        """Return what ``wanted`` takes.

        Raises:
            NoSuchImageError: there is no such image, or none for a platform.
            UnknownPartitionError: it lacks the partition that plain tags give.
            PartitionError, FormatError, EndedError, UnsignedError: as for ``Partitions.get``.
            RefusedError, UpstreamError: the registry refuses, or gave no answer.
        """
        walk = _Walk(self._node, wanted.name.place, identity)
        await walk.greet()
        image = None
        for reading in wanted.name.readings:
            base = await walk.find(reading.base)
            if base is None:
                continue
            selected = Provenance(base.digest, reading.selection())
            partition = await self._partitions.get(walk.source(reading.base, base), selected, identity)
            if partition is not None:
                return await self._planned(wanted, walk, base, partition)
            if reading.is_of_image:
                image = base
        tag = wanted.name.tag
        if image is not None:  # a tag of the registry's that is written so goes before it
            return await self._whole(wanted, walk, await walk.find(tag) or image)
        root = await walk.document(tag)
        partition = None if self._plain is None else await self._plain.of(walk.source(tag, root), identity)
        if partition is not None:
            return await self._planned(wanted, walk, root, partition)
        return await self._whole(wanted, walk, root)

    async def _planned(self, wanted: Wanted, walk: _Walk, base: Document, partition: CutPartition) -> PlannedImage:
        documents = partition.documents
        await self._node.names.name_partition(walk.repository, base.digest, documents.values())
        parts = await walk.parts(partition.top, wanted.platforms, documents)
        _check_platforms(wanted, parts)
        of_base = await walk.parts(base, ())
        needed = [one for one in of_base if one.kind not in (PartKind.LAYER, PartKind.OTHER)]
        found = distinct((*parts, *needed, *await walk.attached(of_base)))
        return PlannedImage(wanted, walk.repository, partition.top, found, documents)

    async def _whole(self, wanted: Wanted, walk: _Walk, root: Document) -> PlannedImage:
        parts = await walk.parts(root, wanted.platforms)
        _check_platforms(wanted, parts)
        cells: list[Part] = []
        for field_part in (one for one in parts if one.kind is PartKind.FIELD):
            read = await self._contents.field(walk.repository, field_part.digest, walk.identity)
            cells += [Part(one.digest, one.size, PartKind.ALLOTMENT) for one in read]
        return PlannedImage(wanted, walk.repository, root, distinct((*parts, *cells, *await walk.attached(parts))), {})


def _check_platforms(wanted: Wanted, parts: Iterable[Part]) -> None:
    """Look whether there is an image for a platform that is wanted; raises ``NoSuchImageError``."""
    if wanted.platforms and not any(one.kind is PartKind.CONFIG for one in parts):
        platforms = ", ".join(map(str, wanted.platforms))
        raise NoSuchImageError(f"{wanted.name} has no image for {platforms}")


class _Walk:
    """The documents of an image, each asked for as a client does."""

    def __init__(self, node: EdgeNode, repository: Repository, identity: Identity) -> None:
        self.repository = repository
        self.identity = identity
        self._node = node

    async def greet(self) -> None:
        """Ask for the API's root as clients do before a pull, so that its answer is known while the line is down."""
        await self._node.registries[self.repository.upstream].get(
            "/v2/", self.identity, limit=MAX_MANIFEST_BYTES, accept="*/*"
        )

    def source(self, tag: str, document: Document) -> SourceImage:
        """Return what partitions are cut from, where the registry has ``document`` under ``tag``."""
        return SourceImage(self.repository, tag, document.digest, document.media_type)

    async def document(self, reference: str) -> Document:
        """Return the manifest or index of a tag or digest."""
        found = await self.find(reference)
        if found is None:
            raise NoSuchImageError(f"the registry has no {reference} of {self.repository.name}")
        return found

    async def find(self, reference: str) -> Document | None:
        """Return the manifest or index of a tag or digest; None where the registry has none."""
        return await self._asked(f"manifests/{reference}")

    async def parts(
        self,
        document: Document,
        platforms: tuple[Platform, ...],
        made: Mapping[Digest, Document] | None = None,
        level: int = 0,
    ) -> list[Part]:
        """Return the content that ``document`` takes, itself first; ``made``: documents that need not be asked for."""
        if level > _MOST_LEVELS:
            raise FormatError(f"{document.digest} is an index in indexes, more than {_MOST_LEVELS} deep")
        found = [Part(document.digest, len(document.body), kind_of(document.media_type))]
        parsed = parse_manifest(document.body, document.media_type)
        if not isinstance(parsed, Index):
            found.append(Part(parsed.config.digest, parsed.config.size, PartKind.CONFIG))
            for layer in parsed.layers:
                kind = PartKind.FIELD if layer.media_type == FIELD_LAYER else PartKind.LAYER
                found.append(Part(layer.digest, layer.size, kind))
            return found
        for entry in wanted_entries(parsed, platforms):
            if entry.media_type not in IMAGE_TYPES:
                continue
            child = (made or {}).get(entry.digest) or await self.document(entry.digest)
            typed = Document(entry.media_type, child.digest, child.body)
            found += await self.parts(typed, (), made, level + 1)
        return found

    async def attached(self, parts: Iterable[Part]) -> list[Part]:
        """Return what refers to the documents among ``parts``, such as signatures, as far as it can be had."""
        found: list[Part] = []
        for part in parts:
            if part.kind in (PartKind.INDEX, PartKind.MANIFEST):
                # An image is good without them, and some registries have no such lists.
                with contextlib.suppress(UpstreamError, RefusedError, FormatError, NoSuchImageError):
                    found += await self._referrers(part.digest)
                with contextlib.suppress(UpstreamError, RefusedError, FormatError, NoSuchImageError):
                    signatures = await self._asked(f"manifests/{signature_tag(part.digest)}")
                    found += await self.parts(signatures, ()) if signatures else ()
        return found

    async def _referrers(self, digest: Digest) -> list[Part]:
        listed = await self._asked(f"referrers/{digest}", OCI_INDEX)
        if listed is None:
            return []
        parsed = parse_manifest(listed.body, OCI_INDEX)
        entries = parsed.manifests[:_MOST_REFERRERS] if isinstance(parsed, Index) else ()
        found = [Part(listed.digest, len(listed.body), PartKind.REFERRER)]
        for entry in entries:
            document = await self.document(entry.digest)
            found += await self.parts(Document(entry.media_type, document.digest, document.body), ())
        return found

    async def _asked(self, resource: str, accept: str = ACCEPT_IMAGES) -> Document | None:
        path = f"/v2/{self.repository.name}/{resource}"
        reply = await self._node.registries[self.repository.upstream].get(
            path, self.identity, limit=MAX_MANIFEST_BYTES, accept=accept
        )
        if reply.status == HTTPStatus.NOT_FOUND:
            return None
        if reply.status != HTTPStatus.OK:
            raise RefusedError(reply)
        if reply.is_stale:
            raise _away(f"{self.repository.name} {resource}")
        return Document(reply.media_type, digest_of(reply.body), reply.body)


def _away(what: str) -> UpstreamError:
    return UpstreamError(f"the registry does not answer for {what}; this node has its last answer alone", status=503)
