"""Push an image of the store: blobs, then the manifests of an index, then the document that the tag names."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, Self, TypeAlias

from twodfs.build.allotments import ReadyBlob
from twodfs.concurrency import concurrently
from twodfs.errors import BuildError, DigestError, RegistryError
from twodfs.images.source import TRANSFERS
from twodfs.oci.digest import Digest
from twodfs.oci.documents import Descriptor, Document
from twodfs.oci.reference import Reference
from twodfs.progress import Progress, late_step
from twodfs.publish.earlier import NONE, EarlierPush
from twodfs.registry.repository import RemoteRepository
from twodfs.storage.store import ImageStore
from twodfs.storage.uploads import BegunUploads

if TYPE_CHECKING:
    from twodfs.publish.mount_sources import MountSources
    from twodfs.registry.upload.content import BlobContent

LOOKUPS: Final = 8
"""Questions asked at a time."""
_UNASKED_BYTES: Final = 1024 * 1024
"""Bytes of a blob that take about as long to send as to ask for."""
_LACKING: Final = (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND)
"""How registries refuse a manifest when they lack a part of it."""


@dataclass(frozen=True, slots=True)
class PushCounts:
    """Some blobs, and their bytes together."""

    blobs: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Pushed:
    """The result of a push: numbers of blobs sent, mounted from other repositories, and present before."""

    root: Document
    uploaded: PushCounts
    mounted: PushCounts
    present: PushCounts

    @classmethod
    def of(cls, root: Document, uploaded: Sequence[int], mounted: Sequence[int], present: Sequence[int]) -> Self:
        """Return the result for blobs of these sizes."""
        counts = (PushCounts(len(sizes), sum(sizes)) for sizes in (uploaded, mounted, present))
        return cls(root, *counts)


Relay: TypeAlias = "Callable[[Descriptor], BlobContent | None]"
"""Finds a layer of the base that the store does not have where the base is; None where it is none of the base's."""


class BlobPusher:
    """Carries blobs of a store to a repository, each once, and only the ones that the repository lacks.

    A blob that this process has not hashed itself is hashed on its way out, and its end held back if it is damaged.
    """

    def __init__(
        self,
        store: ImageStore,
        repository: RemoteRepository,
        target: Reference,
        base_name: str,
        progress: Progress,
        *,
        relay: Relay | None = None,
        earlier: EarlierPush = NONE,
    ) -> None:
        """Prepare for ``target`` in ``repository``; blobs elsewhere in the same registry are mounted from there.

        ``relay`` finds layers of the base, which pass through without a place in the store. ``earlier`` is not
        asked for.
        """
        self._relay = relay
        self._earlier = earlier
        self._repository = repository
        self._target = target
        self._base_name = base_name
        self._mount_sources: MountSources | None = None
        self._begun_uploads = BegunUploads(store.directory, str(repository))
        self._store = store
        self._progress = progress
        self._begun: set[Digest] = set()
        self._beginning = threading.Lock()
        self._transferring = threading.Semaphore(TRANSFERS)
        self._sent: list[int] = []
        self._mounted: list[int] = []
        self._present: list[int] = []
        self._trusted: list[ReadyBlob] = []

    def carry(self, ready: ReadyBlob) -> None:
        """Bring a blob of the store to the repository, unless that is done or under way.

        Raises:
            DamagedError: the store does not have it, or has it damaged.
            RegistryError: the registry refuses.
        """
        blob = ready.blob
        with self._beginning:
            if blob.digest in self._begun:
                return
            self._begun.add(blob.digest)
        if blob.digest in self._earlier.content:
            self._trusted.append(ready)
            return
        self._bring(ready)

    def _bring(self, ready: ReadyBlob) -> None:
        blob = ready.blob
        if self._is_there(ready):
            self._present.append(blob.size)
            return
        # No other image of the store has a new one, and no base.
        mount_from = None if ready.is_new else self._mount_source(blob.digest)
        content: Path | BlobContent | None = self._store.path(blob.digest)
        if not self._store.has(blob.digest, blob.size):
            # A base was not downloaded: in the same registry, its layers need not travel at all.
            if mount_from and self._repository.mount(blob.digest, mount_from):
                self._mounted.append(blob.size)
                return
            content = None if self._relay is None else self._relay(blob)
            mount_from = None
        if content is None:
            raise self._store.lacks(blob.digest)
        travelled = self._upload(ready, content, mount_from)
        (self._sent if travelled else self._mounted).append(blob.size)

    def _is_there(self, ready: ReadyBlob) -> bool:
        blob = ready.blob
        # Where all that was pushed came from this store, a blob that is new to it is new there. A big one is asked for
        # all the same, as somebody else may have pushed it.
        is_unknown = ready.is_new and self._earlier.root is not None and blob.size <= _UNASKED_BYTES
        return not is_unknown and self._repository.has_blob(blob.digest)

    def _mount_source(self, digest: Digest) -> str | None:
        with self._beginning:
            if self._mount_sources is None:
                from twodfs.publish.mount_sources import MountSources  # noqa: PLC0415 - as a rule nothing is lacking

                self._mount_sources = MountSources(self._store, self._target, self._base_name)
        return self._mount_sources.best_for(digest)

    def _upload(self, ready: ReadyBlob, content: Path | BlobContent, mount_from: str | None) -> bool:
        """Return whether bytes were sent; only then a step is reported."""
        blob, place = ready.blob, ready.place
        label = f"push {blob.digest[:19]}{', ' if place else ''}{place}"
        # The field and the configs do not wait for big ones.
        turn = self._transferring if blob.size > _UNASKED_BYTES else nullcontext()
        with turn, late_step(self._progress, label, blob.size) as advance:
            try:
                return self._repository.upload(
                    blob,
                    content,
                    mount_from=mount_from,
                    verify=not ready.hashed,
                    memory=self._begun_uploads,
                    advance=advance,
                )
            except DigestError:
                if not isinstance(content, Path):
                    raise
                self._store.discard(blob.digest)  # so that the next build makes or fetches it again
                raise self._store.has_damaged(blob.digest) from None

    def carry_as_they_come(self, ready: SimpleQueue[ReadyBlob | None]) -> None:
        """Bring blobs to the repository as they become ready, until None comes.

        Raises:
            TwodfsError: as ``carry`` does.
        """

        def work() -> None:
            while (one := ready.get()) is not None:
                self.carry(one)
            ready.put(None)  # for the others

        concurrently([work] * LOOKUPS, limit=LOOKUPS)

    def finish(self, root: Document, below: Sequence[Document]) -> Pushed:
        """Let the target name ``root``, whose blobs were all carried, once the repository has its manifests ``below``.

        Where the repository has lost content that it was not asked for, that is brought as well.

        Raises:
            DamagedError: the store does not have some of that either, or has it damaged.
            RegistryError: the registry refuses.
        """
        if root.digest != self._earlier.root:
            try:
                self._give(root, below)
            except RegistryError as error:
                if self._earlier.root is None or error.status not in _LACKING:
                    raise
                self._earlier = NONE
                trusted, self._trusted = self._trusted, []
                concurrently([partial(self._bring, one) for one in trusted], limit=LOOKUPS)
                self._give(root, below)
        present = [*self._present, *(one.blob.size for one in self._trusted)]
        return Pushed.of(root, self._sent, self._mounted, present)

    def _give(self, root: Document, below: Sequence[Document]) -> None:
        repository, tag = self._repository, self._target.name
        below = [one for one in below if one.digest not in self._earlier.content]
        has_root = False
        is_new = bool(self._sent or self._mounted)  # so there are new manifests, which name the new blobs
        if not is_new or (self._present and self._earlier.root is None):  # or it had lost the blobs
            questions = [partial(repository.has_manifest, one.digest) for one in below]
            asked = [*questions, partial(repository.has_manifest, root.digest, tag)]
            *present, has_root = concurrently(asked, limit=LOOKUPS)
            below = [one for one, is_present in zip(below, present, strict=True) if not is_present]
        concurrently([partial(repository.put_manifest, one) for one in below], limit=TRANSFERS)
        if below or not has_root:
            repository.put_manifest(root, tag)


def push_image(store: ImageStore, image: Descriptor, pusher: BlobPusher) -> Pushed:
    """Push ``image`` of ``store``; the registry is asked for each part of it.

    Raises:
        DamagedError: the store lacks a part of it, or has that damaged.
        RegistryError: the registry refuses.
    """
    from twodfs.storage.inventory import take_inventory  # noqa: PLC0415 - a build knows its image

    found = take_inventory(store, image)
    if found.problems:
        raise found.problems[0]
    blobs = {**found.blobs, **found.allotments}.values()
    ready = (ReadyBlob(one, found.places.get(one.digest, "")) for one in blobs)
    concurrently([partial(pusher.carry, one) for one in ready], limit=LOOKUPS)
    root, *below = found.documents
    return pusher.finish(root, below)


def stored_image(store: ImageStore, target: Reference) -> Descriptor:
    """Return the image that ``target`` names in ``store``.

    Raises:
        BuildError: nothing.
    """
    found = store.index.find(str(target))
    if found is None:
        raise BuildError(f"the store {store.directory} has no image {target}; 'twodfs build' makes one")
    return found
