"""The work of a job: images planned, their blobs fetched to the node's disk within its terms, and pinned."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Final

from proxy.auth.identity import Identity
from proxy.cache.images.parts import Part
from proxy.cache.images.reference import CachedName
from proxy.clients.limits import TooManyRequestsError
from proxy.confinement.apart import EndedError
from proxy.edge.filling.body import GrowingBlob
from proxy.edge.node import EdgeNode
from proxy.edge.pace import Pace
from proxy.partitions.lookalikes import UnknownPartitionError
from proxy.partitions.policy import UnsignedError
from proxy.prefetch.identities import LOG_IN, JobIdentity
from proxy.prefetch.jobs import Tell
from proxy.prefetch.order import Order, Wanted
from proxy.prefetch.planning import DOCUMENTS, PlannedImage, Planner
from proxy.repository import Repository
from proxy.upstream.replies import GIVEN, REFUSALS, RefusedError, UpstreamError
from twodfs.errors import TwodfsError
from twodfs.oci.digest import Digest
from twodfs.sizes import size_text

_AT_ONCE: Final = 3
"""Blobs on their way for one job."""
_TELL_EVERY: Final = 1.0
_TRIES: Final = 4
_PAUSE: Final = 5.0
"""Seconds before a blob that did not come is tried again; twice as long each time."""
_PASSING: Final = frozenset({429, 500, 502, 503, 504})
_FAILURES: Final = (
    TwodfsError,
    UpstreamError,
    RefusedError,
    EndedError,
    UnsignedError,
    UnknownPartitionError,
    TooManyRequestsError,
)


class BlobError(Exception):
    """A blob could not be brought; the message says why."""


@dataclass(slots=True)
class _Image:
    """An image on its way: the blobs that are still to come."""

    planned: PlannedImage
    left: set[Digest]
    problem: str = ""


@dataclass(slots=True)
class _Progress:
    """What has come of all blobs."""

    blobs: int = 0
    size: int = 0
    done: int = 0
    bytes_done: int = 0
    growing: dict[Digest, GrowingBlob] = field(default_factory=dict)

    @property
    def arrived(self) -> int:
        return self.bytes_done + sum(one.arrived for one in self.growing.values())


@dataclass(frozen=True, slots=True)
class AskedRegistry:
    """A registry that a job brings images of: what finds out what they take, and as whom it asks there."""

    planner: Planner
    identity: JobIdentity


class Bringing:
    """One job."""

    def __init__(self, node: EdgeNode, registries: Mapping[str, AskedRegistry], order: Order, tell: Tell) -> None:
        """``registries``: by the name that ``Repository.upstream`` has."""
        self._node = node
        self._registries = registries
        self._order = order
        self._tell = tell
        self._pace = None if order.rate is None else Pace(order.rate)
        self._images: list[_Image] = []
        self._failed = 0
        self._progress = _Progress()

    async def run(self) -> None:
        """Do all of it; failures of single images are told, and leave the others."""
        await self._in_window()
        for wanted in self._order.images:
            await self._plan(wanted)
        wanted_blobs = {part.digest: part.size for image in self._images for part in image.planned.parts}
        missing = {digest for image in self._images for digest in image.left}
        self._progress.blobs = len(missing)
        self._progress.size = sum(wanted_blobs[digest] or 0 for digest in missing)
        self._tell(
            {
                "event": "plan",
                "images": len(self._images),
                "blobs": len(wanted_blobs),
                "bytes": sum(size or 0 for size in wanted_blobs.values()),
                "blobsThere": len(wanted_blobs) - len(missing),
                "bytesThere": sum(size or 0 for digest, size in wanted_blobs.items() if digest not in missing),
            }
        )
        for image in self._images:
            if not image.left:
                await self._complete(image)
        await self._fetch_all()
        await self._finish()

    async def _plan(self, wanted: Wanted) -> None:
        registry = self._registries.get(wanted.name.upstream)
        if registry is None:
            known = ", ".join(sorted(filter(None, self._registries))) or "none beside the default one"
            self._fail(str(wanted.name), f"this node has no [[upstream]] {wanted.name.upstream}, but {known}")
            return
        planner = registry.planner
        try:
            planned = await registry.identity.do(wanted.name.place, lambda identity: planner.plan(wanted, identity))
            for document in planned.made.values():
                await self._node.store.blobs.put(document.digest, document.body)
            left = {part.digest for part in planned.parts if await self._is_to_come(planned, part)}
        except _FAILURES as error:
            self._fail(str(wanted.name), _sentence(error))
            return
        self._images.append(_Image(planned, left))
        there = [part for part in planned.parts if part.digest not in left]
        self._tell(
            {
                "event": "planned",
                "reference": str(wanted.name),
                "digest": planned.root.digest,
                "blobs": len(planned.parts),
                "bytes": sum(part.size or 0 for part in planned.parts),
                "blobsThere": len(there),
                "bytesThere": sum(part.size or 0 for part in there),
            }
        )

    async def _is_to_come(self, planned: PlannedImage, part: Part) -> bool:
        """Say whether content is not here, or not known to be given under this repository: offline it is not served."""
        if part.kind in DOCUMENTS or part.digest in planned.made:
            return False  # which have come by now
        if not self._node.store.blobs.has(part.digest):
            return True
        grants = self._node.grants[planned.repository.upstream]
        return not await self._registries[planned.repository.upstream].identity.do(
            planned.repository,
            lambda one: grants.covers(one, planned.repository, part.digest),
        )

    async def _fetch_all(self) -> None:
        todo = deque(self._todo())
        if not todo:
            return
        async with asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(self._tell_progress())
            async with asyncio.TaskGroup() as group:
                for _ in range(_AT_ONCE):
                    group.create_task(self._work_off(todo))
            telling.cancel()

    def _todo(self) -> Iterator[tuple[Repository, Digest, int | None]]:
        """Yield what is to come, the images in their order; a blob of two repositories is asked for in both."""
        seen = set()
        for image in self._images:
            for part in image.planned.parts:
                place = (image.planned.repository, part.digest)
                if part.digest in image.left and place not in seen:
                    seen.add(place)
                    yield (*place, part.size)

    async def _work_off(self, todo: deque[tuple[Repository, Digest, int | None]]) -> None:
        while todo:
            repository, digest, size = todo.popleft()
            problem = ""
            try:
                await self._bring(repository, digest, size)
            except BlobError as error:
                problem = f"{digest}: {error}"
            self._progress.done += 1
            self._progress.bytes_done += size or 0
            for image in self._images:
                if image.planned.repository == repository and digest in image.left:
                    image.left.discard(digest)
                    image.problem = image.problem or problem
                    if not image.left:
                        await self._complete(image)

    async def _bring(self, repository: Repository, digest: Digest, size: int | None) -> None:
        """Fetch one blob, with patience.

        Raises:
            BlobError: it cannot be had.
        """
        pause = _PAUSE
        asked_as = self._registries[repository.upstream].identity
        for left in range(_TRIES - 1, -1, -1):
            await self._in_window()
            try:
                if await asked_as.do(repository, lambda one: self._fetched(one, repository, digest, size)):
                    return
                problem: Exception = BlobError("the registry does not give all of it, or other bytes")
            except RefusedError as error:
                if error.reply.status not in _PASSING:
                    raise BlobError(_sentence(error)) from None
                problem = error
            except (UpstreamError, TooManyRequestsError) as error:
                problem = error
            if not left:
                raise BlobError(_sentence(problem))
            await asyncio.sleep(pause)
            pause *= 2

    async def _fetched(self, identity: Identity, repository: Repository, digest: Digest, size: int | None) -> bool:
        """Let the blob come; say whether it is whole."""
        if self._node.store.blobs.has(digest):
            return await self._ask_right(identity, repository, digest)
        asked_at = time.monotonic()
        growing = await self._node.fills.begin(repository, digest, identity, size=size, pace=self._pace)
        if growing is None:
            room = f"; {size_text(size)} may be more than there is room for" if size else ""
            raise BlobError(f"it cannot be kept: the registry does not tell its length, or the disk has no room{room}")
        self._progress.growing[digest] = growing
        try:
            is_whole = await growing.finished()
            if is_whole and not growing.is_joined:
                await self._node.grants[repository.upstream].remember(identity, repository, digest, asked_at)
        finally:
            self._progress.growing.pop(digest, None)
            growing.close()
        if is_whole and growing.is_joined:
            return await self._ask_right(identity, repository, digest)
        return is_whole

    async def _ask_right(self, identity: Identity, repository: Repository, digest: Digest) -> bool:
        """Ask the registry for content that came without a question by this job; the node knows its place then."""
        registry = self._node.registries[repository.upstream]
        path = f"/v2/{repository.name}/blobs/{digest}"
        reply = await registry.head(path, identity, "*/*")
        if reply.status != HTTPStatus.OK:
            reply = await registry.first_byte(path, identity)
        if reply.status not in GIVEN:
            raise RefusedError(reply)
        return True

    async def _complete(self, image: _Image) -> None:
        planned = image.planned
        name = planned.wanted.name
        if image.problem:
            self._fail(str(name), image.problem)
            return
        if planned.wanted.pin:
            also = sorted({part.digest for part in planned.parts} - {planned.root.digest})
            await self._node.store.pins.pin(planned.repository, name.tag, planned.root.digest, also)
        root = planned.root
        await self._node.store.listing.named(planned.repository, name.tag, root.digest, root.media_type, len(root.body))
        self._node.store.blobs.used(part.digest for part in planned.parts)
        self._tell({"event": "done", "reference": str(name), "digest": root.digest, "pinned": planned.wanted.pin})

    def _fail(self, reference: str, problem: str) -> None:
        self._failed += 1
        self._tell({"event": "failed", "reference": reference, "problem": problem})

    async def _finish(self) -> None:
        unpinned = []
        if self._order.prune_pins and not self._failed:
            listed = {one.name for one in self._order.images if one.pin}
            for pin in await self._node.store.pins.all():
                name = CachedName.of(pin.place, pin.reference)
                if name not in listed:
                    await self._node.store.pins.unpin(pin.place, pin.reference)
                    unpinned.append(str(name))
        done = len(self._order.images) - self._failed
        self._tell({"event": "end", "done": done, "failed": self._failed, "unpinned": unpinned})

    async def _in_window(self) -> None:
        window = self._order.window
        if window is None:
            return
        while (seconds := window.wait(datetime.now().astimezone())) > 0:
            self._tell({"event": "waiting", "window": str(window), "seconds": round(seconds)})
            await asyncio.sleep(min(seconds + 0.1, 3600.0))

    async def _tell_progress(self) -> None:
        while True:
            await asyncio.sleep(_TELL_EVERY)
            now = self._progress
            self._tell(
                {
                    "event": "progress",
                    "blobs": now.done,
                    "ofBlobs": now.blobs,
                    "bytes": now.arrived,
                    "ofBytes": now.size,
                }
            )


def _sentence(error: Exception) -> str:
    if isinstance(error, RefusedError):
        status = error.reply.status
        advice = f"; {LOG_IN}" if status in REFUSALS else ""
        return f"the registry answers {status}: {error.reply.reason or 'it refuses'}{advice}"
    return str(error)
