"""The allotments of a build file: the unchanged ones come from the store, the others are built in threads.

Each thread looks at the next allotment's files, finds its layer by their metadata (see ``keys``), or reads,
packs and hashes them into the store in one pass. So memory holds one piece of a file for each thread, and of
the allotments that are done only their digests.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from twodfs.build.fields import FieldClaims
from twodfs.build.keys import KeyCache, key_of_content, key_of_stamps
from twodfs.concurrency import concurrently, scope
from twodfs.field.allotment import Allotment
from twodfs.layers.build_file.cells import Cell
from twodfs.layers.build_file.file import BuildFile
from twodfs.layers.compression import Packing
from twodfs.layers.layer import Layer, LayerPlan
from twodfs.oci.documents import Descriptor
from twodfs.progress import Advance, Progress
from twodfs.storage.store import ImageStore

KEYS_NAME = "keys.sqlite"


@dataclass(frozen=True, slots=True)
class ReadyBlob:
    """A blob of an image, which may be pushed.

    Attributes:
        blob: its digest and size.
        place: of an allotment, its row, column and files, for people; otherwise empty.
        hashed: whether this process has seen every byte of it.
        is_new: whether the store has never had it before.
    """

    blob: Descriptor
    place: str = ""
    hashed: bool = False
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class BuiltAllotment:
    """An allotment in the store: its cell in the field, and its blob."""

    allotment: Allotment
    ready: ReadyBlob


OnBuilt: TypeAlias = Callable[[BuiltAllotment], None]
OnChange: TypeAlias = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Method:
    """How allotments are made.

    Attributes:
        packing: how they are compressed.
        jobs: how many are written at a time.
        checksum: whether to go by the content of files, not by their times, and to hash the store's blobs.
    """

    packing: Packing
    jobs: int
    checksum: bool = False


def make_allotments(
    build_file: BuildFile,
    method: Method,
    store: ImageStore,
    progress: Progress,
    listener: OnBuilt,
    *,
    claims: FieldClaims | None = None,
    changed: OnChange | None = None,
) -> Mapping[int, Allotment]:
    """Return the allotments of ``claims``, by their places in ``build_file``, once they are in ``store``.

    Args:
        build_file: the sources of the allotments.
        method: how to build them.
        store: takes the blobs; must be in use.
        progress: listens to the ones that are built.
        listener: called with each allotment as soon as it is in the store, in the thread that made it.
        claims: takes the names of all files, and says which allotments are made; all of them where it is left out.
        changed: called when there is an allotment to be built, before it is.

    Raises:
        BuildError: a file cannot be read, or changes meanwhile.
        BuildFileError: two allotments of a field bring the same name, one takes a directory's, or something else
            in the build file is wrong.
    """
    with closing(KeyCache(store.directory / KEYS_NAME)) as keys:
        jobs = _AllotmentJobs(
            *(build_file, method, store, keys, progress),
            claims=claims or FieldClaims.of(build_file.cells),
            changed=changed or _ignored,
        )
        concurrently([partial(jobs.run, listener)] * method.jobs, limit=method.jobs)
    return jobs.allotments()


def check_sources(build_file: BuildFile) -> None:
    """Check that all sources of ``build_file`` can be put into layers; quick, as nothing is read.

    Raises:
        BuildError: a file cannot be read.
        BuildFileError: as for ``make_allotments``, as far as that can be told without the base.
    """
    claims = FieldClaims.of(build_file.cells)
    for at in claims.cells:
        scope().check()
        with build_file.origin.mistakes():
            claims.claim(at, LayerPlan.of(build_file.cells[at].copies).members)


class _AllotmentJobs:
    """Cells on their way to being allotments, handed out to threads in order."""

    def __init__(
        self,
        build_file: BuildFile,
        method: Method,
        store: ImageStore,
        keys: KeyCache,
        progress: Progress,
        *,
        claims: FieldClaims,
        changed: OnChange,
    ) -> None:
        self._changed = changed
        self._origin = build_file.origin
        self._cells = build_file.cells
        self._method = method
        self._store = store
        self._keys = keys
        self._progress = progress
        self._claims = claims
        self._waiting = iter(claims.cells)
        self._taking = threading.Lock()
        self._built: dict[int, Allotment] = {}

    def run(self, tell: OnBuilt) -> None:
        """Make allotments until none is left."""
        check = scope().check
        while (taken := self._take(check)) is not None:
            at, plan = taken
            built = self._make(self._cells[at], plan, check)
            self._built[at] = built.allotment
            tell(built)

    def allotments(self) -> Mapping[int, Allotment]:
        """Return the allotments by the places of their cells."""
        return {at: self._built[at] for at in self._claims.cells}

    def _take(self, check: Callable[[], None]) -> tuple[int, LayerPlan] | None:
        with self._taking:  # in order, so that of several mistakes the same one is told every time
            check()
            at = next(self._waiting, None)
            if at is None:
                return None
            cell = self._cells[at]
            with self._origin.mistakes():
                plan = LayerPlan.of(cell.copies)
                self._claims.claim(at, plan.members)
            return at, plan

    def _make(self, cell: Cell, plan: LayerPlan, check: Callable[[], None]) -> BuiltAllotment:
        # Before anything is read: a later change gives another key.
        key = key_of_stamps(plan.written, self._method.packing)
        found = self._find(key, plan, check)
        if found is None:
            self._changed()
        layer, is_new = (found, False) if found else self._build(cell, plan, key, check)
        is_hashed = found is None or self._method.checksum
        blob = Descriptor(layer.media_type, layer.digest, layer.size, {})
        ready = ReadyBlob(blob, cell.place, hashed=is_hashed, is_new=is_new)
        return BuiltAllotment(_allotment(cell, layer), ready)

    def _find(self, key: bytes | None, plan: LayerPlan, check: Callable[[], None]) -> Layer | None:
        """Return the layer that the store has for ``plan``."""
        if self._method.checksum:
            diff_id = plan.diff_id(lambda _: check())
            layer = self._keys.find(key_of_content(diff_id, self._method.packing))
            if layer is None or not self._store.is_sound(layer.digest, layer.size):
                return None
            self._record(key, layer)
            return layer
        layer = self._keys.find(key) if key else None
        return layer if layer and self._store.has(layer.digest, layer.size) else None

    def _build(self, cell: Cell, plan: LayerPlan, key: bytes | None, check: Callable[[], None]) -> tuple[Layer, bool]:
        """Return the layer of ``plan``, and whether the store has never had it before."""
        step = self._progress.step(f"allotment {cell.name}, {cell.sources}", plan.source_bytes)
        with step as advance, self._store.ingest() as blob:
            layer = plan.write(blob.file, self._method.packing, _checked(advance, check))
            # First its keys: killed between the two, a run leaves keys without a blob, which do no harm.
            self._record(key, layer)
            is_new = self._store.size(layer.digest) is None
            blob.commit(layer.digest)
        return layer, is_new

    def _record(self, key: bytes | None, layer: Layer) -> None:
        content = key_of_content(layer.diff_id, self._method.packing)
        self._keys.record([content] if key is None else [content, key], layer)


def _checked(advance: Advance, check: Callable[[], None]) -> Advance:
    def passed(size: int) -> None:
        check()
        advance(size)

    return passed


def _ignored() -> None: ...


def _allotment(cell: Cell, layer: Layer) -> Allotment:
    return Allotment(cell.row, cell.col, layer.digest, layer.diff_id, layer.size, layer.media_type)
