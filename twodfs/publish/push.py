"""Push an image of the store: blobs, then the manifests of an index, then the document that the tag names."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Final, TypeAlias

from twodfs.build.allotments import BuiltAllotment
from twodfs.concurrency import concurrently
from twodfs.errors import BuildError, DigestError
from twodfs.images.source import TRANSFERS
from twodfs.oci.digest import Digest
from twodfs.oci.documents import Descriptor, Document
from twodfs.oci.reference import Reference
from twodfs.progress import Advance, Progress
from twodfs.publish.mount_sources import MountSources
from twodfs.registry.session import Registry
from twodfs.storage.inventory import stored_blob, take_inventory
from twodfs.storage.store import ImageStore

LOOKUPS: Final = 8
"""Questions asked at a time."""


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


@dataclass(frozen=True, slots=True)
class _Content:
    """Everything below and including ``root``, manifests in the order in which a registry accepts them."""

    root: Document
    below: tuple[Document, ...]
    blobs: tuple[Descriptor, ...]
    places: Mapping[Digest, str]


Fetch: TypeAlias = Callable[[Descriptor], bool]


class BlobPusher:
    """Carries blobs of a store to a repository, each once, and only the ones that the repository lacks.

    A blob that this process has not hashed itself is hashed on its way out, and its end held back if it is damaged.
    """

    def __init__(
        self,
        store: ImageStore,
        registry: Registry,
        target: Reference,
        base_name: str,
        progress: Progress,
        *,
        fetch: Fetch | None = None,
    ) -> None:
        """Prepare for ``target``; blobs elsewhere in the same registry are mounted from there.

        ``fetch`` brings a layer of the base into the store, where it was left out; it says whether it could.
        """
        self._fetch = fetch
        self.repository = registry.repository(target.repository, push=True)
        self._mount_sources = MountSources(store, target, base_name)
        self._store = store
        self._progress = progress
        self._begun: set[Digest] = set()
        self._beginning = threading.Lock()
        self._transferring = threading.Semaphore(TRANSFERS)
        self._sent: list[int] = []
        self._mounted: list[int] = []
        self._present: list[int] = []

    def pushed(self, root: Document) -> Pushed:
        """Return the numbers of blobs below ``root``."""
        counts = (PushCounts(len(sizes), sum(sizes)) for sizes in (self._sent, self._mounted, self._present))
        return Pushed(root, *counts)

    def carry(self, blob: Descriptor, place: str = "", *, hashed: bool = False) -> None:
        """Bring ``blob`` to the repository, unless that is done or under way.

        Args:
            blob: of the store.
            place: which cell it is, for people; empty where it is none.
            hashed: whether this process has just written it, so that it need not be hashed again.

        Raises:
            DamagedError: the store does not have it, or has it damaged.
            RegistryError: the registry refuses.
        """
        with self._beginning:
            if blob.digest in self._begun:
                return
            self._begun.add(blob.digest)
        if self.repository.has_blob(blob.digest):
            self._present.append(blob.size)
            return
        mount_from = self._mount_sources.best_for(blob.digest)
        if not self._store.has(blob.digest, blob.size):
            # A base of the same registry was not downloaded: as a rule, its layers need not travel at all.
            if mount_from and self.repository.mount(blob.digest, mount_from):
                self._mounted.append(blob.size)
                return
            if self._fetch is None or not self._fetch(blob):
                raise self._store.lacks(blob.digest)
            mount_from = None
        travelled = self._upload(blob, place, mount_from, hashed=hashed)
        (self._sent if travelled else self._mounted).append(blob.size)

    def _upload(self, blob: Descriptor, place: str, mount_from: str | None, *, hashed: bool) -> bool:
        """Return whether bytes were sent; only then a step is reported."""
        label = f"push {blob.digest[:19]}{', ' if place else ''}{place}"
        with self._transferring, ExitStack() as stack:
            tell: list[Advance] = []

            def advance(size: int) -> None:
                if not tell:
                    tell.append(stack.enter_context(self._progress.step(label, blob.size)))
                tell[0](size)

            try:
                return self.repository.upload(
                    blob,
                    self._store.path(blob.digest),
                    mount_from=mount_from,
                    verify=not hashed,
                    advance=advance,
                )
            except DigestError:
                self._store.discard(blob.digest)  # so that the next build makes or fetches it again
                raise self._store.has_damaged(blob.digest) from None

    def carry_as_they_come(self, ready: SimpleQueue[BuiltAllotment | None]) -> None:
        """Bring allotments to the repository as they become ready, until None comes.

        Raises:
            TwodfsError: as ``carry`` does.
        """

        def work() -> None:
            while (built := ready.get()) is not None:
                self.carry(stored_blob(self._store, built.allotment), built.place, hashed=built.hashed)
            ready.put(None)  # for the others

        concurrently([work] * LOOKUPS, limit=LOOKUPS)


def push_image(store: ImageStore, target: Reference, pusher: BlobPusher) -> Pushed:
    """Push the image that ``target`` names in ``store``; ``pusher`` may have carried some of it already.

    Raises:
        BuildError: the store has no such image.
        DamagedError: it lacks a part of it, or has that damaged.
        RegistryError: the registry refuses.
    """
    content = _content(store, target)
    repository = pusher.repository
    lacking: list[Document] = []

    def look_for(document: Document, tag: str | None) -> None:
        if not repository.has_manifest(document, tag):
            lacking.append(document)

    carried = [partial(pusher.carry, one, content.places.get(one.digest, "")) for one in content.blobs]
    looked_for = [partial(look_for, one, None) for one in content.below]
    concurrently([*carried, *looked_for, partial(look_for, content.root, target.tag)], limit=LOOKUPS)
    below = [one for one in content.below if one in lacking]
    concurrently([partial(repository.put_manifest, one) for one in below], limit=TRANSFERS)
    if content.root in lacking or below:
        repository.put_manifest(content.root, target.tag)
    return pusher.pushed(content.root)


def stored_image(store: ImageStore, target: Reference) -> Descriptor:
    """Return the image that ``target`` names in ``store``.

    Raises:
        BuildError: nothing.
    """
    found = store.index.find(str(target))
    if found is None:
        raise BuildError(f"the store {store.directory} has no image {target}; 'twodfs build' makes one")
    return found


def _content(store: ImageStore, target: Reference) -> _Content:
    found = take_inventory(store, stored_image(store, target))
    if found.problems:
        raise found.problems[0]
    root, *below = found.documents
    return _Content(root, tuple(below), tuple({**found.blobs, **found.allotments}.values()), found.places)
