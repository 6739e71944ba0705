"""Source + selection -> partition: cut once, stored before it is answered, made again when it was lost."""

from __future__ import annotations

import asyncio
import functools
import time
from typing import Any

from proxy.content import Contents
from proxy.flight import SingleFlight
from proxy.identity import Identity
from proxy.logs import get_logger
from proxy.metrics.catalogue import CELLS, SYNTHESIS
from proxy.records import Key, Made, PartitionKey, Recipe, RecipeKey, Recipes, Record
from proxy.source import ALL_TYPES, Source, Sources
from proxy.store.tiered import TieredStore
from proxy.tracing.spans import trace_id, traced
from proxy.upstream import RefusedError
from twodfs.digest import Digest
from twodfs.flatten import FLATTEN_VERSION, Answer, Kind, Need, Partition, cut
from twodfs.oci import Document


class Partitions:
    """Every partition the proxy answers with comes from here."""

    def __init__(self, contents: Contents, sources: Sources, store: TieredStore, *, max_layers: int) -> None:
        self._contents = contents
        self._sources = sources
        self._store = store
        self._max_layers = max_layers
        self._flight: SingleFlight[Made | None] = SingleFlight()

    async def get(self, source: Source, recipe: Recipe, identity: Identity) -> Made | None:
        """Return the partition of ``recipe``; None when no image in the source has a field that defines it.

        Args:
            source: what the upstream just allowed this client to read.
            recipe: its digest and the selection.
            identity: fetches what is not known yet.

        Raises:
            PartitionError: nothing is selected, or too many layers.
            FormatError: the source image is malformed.
            RefusedError, UpstreamError: a part of the source could not be had.
        """
        key = recipe.key(source.repository)
        made = self._store.peek(key, counted=True) or await self._store.get(key)
        if made is not None:
            await self._keep(key, made)
            return made
        # Errors name the image, so images that share a source do not share a flight.
        flight = (source.image, key)
        try:
            return await self._flight.do(flight, lambda: self._make(source, recipe, identity))
        except RefusedError:
            # The flight may have been another client's, refused for reasons of its own.
            own_flight = (*flight, identity.fingerprint)
            return await self._flight.do(own_flight, lambda: self._make(source, recipe, identity))

    async def find(self, repository: str, digest: Digest, identity: Identity) -> Made | None:
        """Return the partition of ours that holds ``digest``, if this client may read what it was cut from.

        To be asked only after the upstream said that it does not know the digest.

        Raises:
            RefusedError, UpstreamError: a part of the source could not be had.
        """
        refusal: RefusedError | None = None
        for recipe in (await self._recipes(digest)).ways:
            try:
                source = await self._sources.resolve(repository, recipe.source, identity, ALL_TYPES)
            except RefusedError as error:
                refusal = error
                continue
            if source is None or source.digest != recipe.source:
                continue
            made = await self._remake(source, recipe, identity)
            if made is not None and digest in made.documents:
                return made
        if refusal is not None:
            raise refusal
        return None

    async def _remake(self, source: Source, recipe: Recipe, identity: Identity) -> Made | None:
        if recipe.version == FLATTEN_VERSION:
            return await self.get(source, recipe, identity)
        # Cut by another release: it can be served while it is kept, but not made again.
        return await self._store.get(recipe.key(source.repository))

    async def _make(self, source: Source, recipe: Recipe, identity: Identity) -> Made | None:
        started = time.perf_counter()
        partition = await self._cut(source, recipe, identity)
        if partition is None:
            return None
        SYNTHESIS.observe(time.perf_counter() - started, trace_id())
        CELLS.add(partition.allotments)
        # Its documents are those of the rectangles, whatever they were called.
        resolved = Recipe(recipe.source, partition.selection)
        made = Made.of(resolved, partition.root.digest, partition.documents, partition.left_out_bytes)
        for key in {recipe.key(source.repository), resolved.key(source.repository)}:
            await self._publish(key, made)
        get_logger().info(
            "partition cut",
            image=source.image,
            source=source.digest,
            selection=str(recipe.selection),
            resolved=str(partition.selection),
            digest=made.root,
            allotments=partition.allotments,
            selected_bytes=partition.selected_bytes,
            left_out_bytes=partition.left_out_bytes,
        )
        return made

    async def _keep(self, key: PartitionKey, made: Made) -> None:
        """See to it that what answers the tag can also be found by digest, here and by the other replicas."""
        is_known = all(self._store.peek(RecipeKey(digest)) for digest in made.documents)
        if not (is_known and self._store.is_published(key)):
            await self._publish(key, made)

    @traced("store")
    async def _publish(self, key: PartitionKey, made: Made) -> None:
        """Store ``made`` and the recipes of its documents.

        Rule 2: clients HEAD the tag and then GET the children by digest, from whichever replica.
        """
        records: dict[Key[Any], Record] = {key: made}
        known = await asyncio.gather(*(self._recipes(digest) for digest in made.documents))
        for digest, recipes in zip(made.documents, known, strict=True):
            records[RecipeKey(digest)] = Recipes((made.recipe,)) | recipes
        await self._store.publish(key, records)

    async def _recipes(self, digest: Digest) -> Recipes:
        """Return every recipe of a document that this replica or another knows."""
        known = await self._store.get_all(RecipeKey(digest))
        return functools.reduce(Recipes.__or__, known, Recipes())

    @traced("flatten")
    async def _cut(self, source: Source, recipe: Recipe, identity: Identity) -> Partition | None:
        """Drive ``twodfs.flatten.cut``, answering each batch of needs at once."""
        body = await self._contents.manifest(source.repository, source.digest, identity)
        document = Document(source.media_type, source.digest, body)
        steps = cut(document, recipe.selection, image=source.image, max_layers=self._max_layers)
        try:
            needs = next(steps)
            while True:
                async with asyncio.TaskGroup() as tasks:
                    answers = {
                        need: tasks.create_task(self._answer(source.repository, need, identity))
                        for need in needs
                    }
                needs = steps.send({need: task.result() for need, task in answers.items()})
        except StopIteration as done:
            result: Partition | None = done.value
            return result
        except ExceptionGroup as group:
            # The first to fail cancelled the others; it is the reason.
            raise group.exceptions[0] from None

    async def _answer(self, repository: str, need: Need, identity: Identity) -> Answer:
        match need.kind:
            case Kind.MANIFEST:
                return await self._contents.manifest(repository, need.digest, identity)
            case Kind.CONFIG:
                return await self._contents.config(repository, need.digest, identity)
            case Kind.FIELD:
                return await self._contents.field(repository, need.digest, identity)
            case Kind.SIZE:
                return await self._contents.size(repository, need.digest, identity)
