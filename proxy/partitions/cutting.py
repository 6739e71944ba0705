"""Cutting: here, or in a process apart; and the faults of images that cannot be cut.

An image of usual size is cut here, in steps between which others have their turn. Where its documents are
large, parsing them would hold the interpreter and leave its objects behind: such images are cut by a process
of their own (``proxy.confinement.cut_apart``), a few at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial
from typing import Final

from cachetools import LRUCache

from proxy.auth.identity import Identity
from proxy.clients.limits import Slots
from proxy.confinement.apart import CostlyError
from proxy.confinement.cut_apart import CutOptions, cut_apart
from proxy.metrics.catalogue import SYNTHESIS_SECONDS
from proxy.partitions.answering import Answering
from proxy.partitions.content import LARGE_DOCUMENT, Contents
from proxy.partitions.policy import SourcePolicy
from proxy.partitions.records import Provenance
from proxy.partitions.source import SourceImage
from proxy.repository import Repository
from proxy.tracing.spans import trace_id, traced
from twodfs.errors import FormatError, PartitionError
from twodfs.field.partition import RESERVED, Selection
from twodfs.flatten.budget import MAX_DOCUMENT_BYTES
from twodfs.flatten.cut import Cut, Partition, cut
from twodfs.flatten.needs import DocumentAnswer, DocumentKind, DocumentNeed
from twodfs.oci.digest import Digest

MOST_HERE: Final = 2**20
"""Bytes of documents of an image that is cut in this process; few have a tenth of that."""
_TURN_SECONDS: Final = 0.00025
_APART_AT_ONCE: Final = 4
_MOST_REFUSALS: Final = 1024
_MOST_IMAGES: Final = 1024
_LONGEST_REFUSAL: Final = 2048
# To learn the names alone; should a field define this one, it is a cut like any other.
_OF_ANY_NAME: Final = Selection.of(names=("any-name",))


@dataclass(frozen=True, slots=True)
class _Asked:
    source: SourceImage
    selection: Selection
    identity: Identity
    version: int


@dataclass(frozen=True, slots=True)
class _Refusal:
    """The fault of an image: its bytes are immutable, so it stays.

    ``is_fielded``: it had shown to be a 2DFS image by then, so the policy had a say.
    """

    kind: type[FormatError]
    problem: str
    path: str
    is_fielded: bool


class _HeavyError(Exception):
    """The documents are too large to be parsed here: so many bytes of them are known of."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class Cutter:
    """Cuts partitions, and remembers the faults of images that cannot be cut."""

    def __init__(
        self,
        contents: Contents,
        *,
        max_layers: int,
        slots: Slots,
        large_slots: Slots,
        policy: SourcePolicy | None = None,
    ) -> None:
        """Args as for ``Partitions``; ``large_slots`` are for images with large documents, by weight."""
        self._contents = contents
        self._max_layers = max_layers
        self._slots = slots
        self._large_slots = large_slots
        self._policy = policy
        self._stepping = asyncio.Lock()
        self._refusals: LRUCache[tuple[Repository, Digest, str, Selection | None], _Refusal] = LRUCache(_MOST_REFUSALS)
        self._fields: LRUCache[tuple[Repository, Digest, str], tuple[Digest, ...]] = LRUCache(_MOST_IMAGES)

    async def permit(self, source: SourceImage, identity: Identity) -> None:
        """Return where ``source`` may be cut.

        Raises:
            UnsignedError: it must be signed, and is not.
        """
        if self._policy is not None:
            await self._policy.check(source, identity)

    async def cut(self, source: SourceImage, provenance: Provenance, identity: Identity) -> Partition | None:
        """Return the partition, None where no image in ``source`` has a field that defines it.

        ``source`` is the image that the upstream just allowed this client to read, and ``provenance``
        the selection from it and the release whose bytes to write. Raises like ``Partitions.get``.
        """
        asked = _Asked(source, provenance.selection, identity, provenance.version)
        await self._refuse_again(asked)
        if not await self._may_be_defined(asked):
            return None
        try:
            async with self._slots.taken(identity.client):
                return await self._observed(asked)
        except _HeavyError as heavy:
            size = heavy.size
        share = -(-self._large_slots.most * size // MAX_DOCUMENT_BYTES)
        weight = max(share, -(-self._large_slots.most // _APART_AT_ONCE))
        async with self._large_slots.taken(identity.client, weight):
            await self._refuse_again(asked)
            return await self._observed(asked, apart=True)

    async def names(self, source: SourceImage, identity: Identity) -> tuple[AbstractSet[str], ...] | None:
        """Return the named partitions of each field of ``source``; None where it has no field.

        It takes a cut, unless one of this image was asked for before. Raises like ``cut``, and after
        an error ``is_fielded`` has the answer.
        """
        fields = self._fields.get(_image(source))
        if fields is None:
            with contextlib.suppress(PartitionError):  # of a partition that has this name: its fields are known by then
                await self.cut(source, Provenance(source.digest, _OF_ANY_NAME), identity)
            fields = self._fields.get(_image(source), ())
        if not fields:
            return None
        await self.permit(source, identity)
        repository = source.repository
        return tuple([(await self._contents.field(repository, one, identity)).names for one in fields])

    def is_fielded(self, source: SourceImage) -> bool:
        """Say whether ``source`` is known to have a field, even if the field is at fault."""
        return bool(self._fields.get(_image(source)))

    def is_ordinary(self, source: SourceImage) -> bool:
        """Say whether ``source`` is known to have no field."""
        return self._fields.get(_image(source)) == ()

    async def _may_be_defined(self, asked: _Asked) -> bool:
        """Say whether a cut is worth its work: not where the image is known, and has no such partition."""
        fields = self._fields.get(_image(asked.source))
        wanted = set(asked.selection.names) - RESERVED
        if fields is None or (fields and not wanted):
            return True
        names = await self.names(asked.source, asked.identity) if fields else None
        return names is not None and any(wanted <= its for its in names)

    async def _observed(self, asked: _Asked, *, apart: bool = False) -> Partition | None:
        begun = time.perf_counter()
        permit = partial(self.permit, asked.source, asked.identity)
        answering = Answering(self._contents, asked.source, asked.identity, permit)
        try:
            partition = await (self._apart if apart else self._here)(asked, answering)
        except FormatError as error:
            self._remember(asked, error, is_fielded=answering.has_fields)
            raise
        finally:
            if answering.fields is not None:
                self._fields[_image(asked.source)] = answering.fields
        if answering.fields is None:
            self._fields[_image(asked.source)] = ()
        if partition is not None:
            upstream = asked.source.repository.upstream
            SYNTHESIS_SECONDS.of(upstream).observe(time.perf_counter() - begun, trace_id())
        return partition

    async def _refuse_again(self, asked: _Asked) -> None:
        source = asked.source
        for selection in (None, asked.selection):
            known = self._refusals.get((source.repository, source.digest, source.media_type, selection))
            if known is not None:
                if known.is_fielded:
                    await self.permit(source, asked.identity)
                raise known.kind(known.problem, known.path)

    def _remember(self, asked: _Asked, error: FormatError, *, is_fielded: bool) -> None:
        """Keep the fault: for every selection, unless only the configs of those chosen were at fault."""
        if isinstance(error, CostlyError) or len(error.problem) + len(error.path) > _LONGEST_REFUSAL:
            return
        source = asked.source
        key = (source.repository, source.digest, source.media_type, asked.selection if is_fielded else None)
        self._refusals[key] = _Refusal(type(error), error.problem, error.path, is_fielded)

    @traced("flatten")
    async def _here(self, asked: _Asked, answering: Answering) -> Partition | None:
        document = await answering.document()
        if len(document.body) > LARGE_DOCUMENT:
            raise _HeavyError(len(document.body))
        size = len(document.body)
        steps = cut(document, asked.selection, **self._options(asked))
        try:
            needs = await self._step(steps, None)
            while True:
                announced = [one.announced for one in needs if one.kind in (DocumentKind.MANIFEST, DocumentKind.CONFIG)]
                if max(announced, default=0) > LARGE_DOCUMENT or size + sum(announced) > MOST_HERE:
                    raise _HeavyError(size + sum(announced))
                answers = await answering.all(needs) if needs else {}
                size += sum(len(one) for one in answers.values() if isinstance(one, bytes))
                if size > MOST_HERE:  # more than their descriptors say
                    raise _HeavyError(MAX_DOCUMENT_BYTES)
                needs = await self._step(steps, answers)
        except StopAsyncIteration as done:
            partition: Partition | None = done.args[0]
            return partition
        finally:
            steps.close()

    async def _step(
        self, steps: Cut, answers: Mapping[DocumentNeed, DocumentAnswer] | None
    ) -> tuple[DocumentNeed, ...]:
        """Go on with a cut until it needs something that is not yet there, and return that need.

        Raises:
            StopAsyncIteration: it is done; with the result.
        """
        begun = time.perf_counter()
        while True:
            async with self._stepping:
                try:
                    needs = next(steps) if answers is None else steps.send(answers)
                except StopIteration as done:
                    raise StopAsyncIteration(done.value) from None
                if time.perf_counter() - begun > _TURN_SECONDS:
                    # One cut at a turn of the loop: many short steps hold it up as one long one does.
                    await asyncio.sleep(0)
                    begun = time.perf_counter()
            if needs:
                return needs
            answers = {}

    @traced("flatten")
    async def _apart(self, asked: _Asked, answering: Answering) -> Partition | None:
        return await cut_apart(await answering.document(), asked.selection, self._options(asked), answering.all)

    def _options(self, asked: _Asked) -> CutOptions:
        return {
            "image": asked.source.image,
            "max_layers": self._max_layers,
            "max_fields": self._contents.max_fields,
            "version": asked.version,
        }


def _image(source: SourceImage) -> tuple[Repository, Digest, str]:
    return source.repository, source.digest, source.media_type
