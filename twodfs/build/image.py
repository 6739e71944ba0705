"""Build an image into the store: a base, and a build file's allotments on top.

Code that composes documents is imported once they are to be composed: while threads hash, and for an unchanged image
not at all.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from twodfs.build.allotments import Method, OnBuilt, make_allotments
from twodfs.build.built import Built, ImageRecord, key_of_plan
from twodfs.build.fields import FieldClaims, FieldGroups, plan_fields
from twodfs.choices import Anchor, MediaTypes
from twodfs.concurrency import both
from twodfs.errors import NothingSelectedError, TooManyLayersError
from twodfs.field.allotment import Allotment
from twodfs.field.partition import ALL, Selection
from twodfs.flatten.budget import DEFAULT_MAX_LAYERS
from twodfs.layers.build_file.file import BuildFile
from twodfs.layers.directories import known_directories
from twodfs.oci.platforms import Platform
from twodfs.progress import Progress
from twodfs.storage.store import BASE_NAME, ImageStore

if TYPE_CHECKING:
    from twodfs.build.composing import PreparedBase
    from twodfs.flatten.compose import Base


class BaseSource(Protocol):
    """Where a base comes from."""

    def identity(self) -> str:
        """Return a text that no other base, nor another choice of its images, has; empty where there is none."""

    def find(self) -> Base:
        """Return the base, its blobs being in the store."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A planned build.

    Attributes:
        build_file: the allotments.
        base: the source of the image that they are put on; asked while allotments are made.
        base_name: the base's reference; empty for scratch.
        target: the reference that the image gets.
        method: how the allotments are made.
        anchor: whether the index names the allotments.
        media_types: whose the image has; see ``kinds.of_kind``.
        platforms: those whose images are asked for; empty for all that the base has.
    """

    build_file: BuildFile
    base: BaseSource
    base_name: str
    target: str
    method: Method
    anchor: Anchor = Anchor.INDEX
    media_types: MediaTypes | None = None
    platforms: tuple[Platform, ...] = ()

    def key(self) -> str:
        """Return the key of all but the allotments; empty where the base has no identity."""
        base = self.base.identity()
        if not base:
            return ""
        file = self.build_file
        partitions = [(name, str(one)) for name, one in file.partitions.items()]
        cells = [
            (at, one.label, tuple(map(str, one.platforms)))
            for at, one in enumerate(file.cells)
            if one.label or one.platforms
        ]
        told = (partitions, file.settings, file.labels, cells)
        return key_of_plan(base, self.method.packing, self.anchor, self.media_types, told)


def build_image(
    plan: Plan, store: ImageStore, progress: Progress, listener: OnBuilt, record: ImageRecord | None = None
) -> tuple[Built, ImageRecord]:
    """Build ``plan`` into ``store`` and return the image, and its record.

    The same sources on the same base give the same bytes, whichever of them is there first. ``listener`` is called
    with each allotment as soon as it is in the store. ``record`` is that of an image that may be the same.

    Raises:
        BuildError: a source cannot be read, or changes meanwhile.
        BuildFileError: the build file is wrong, or the base does not go with the plan.
        FormatError: a config of the base has more history entries than layers.
    """
    build = _ImageBuild(plan, store, record)
    made, (key, base) = both(partial(build.make, progress, listener), build.prepare)
    built = None if base or record is None else record.image(store, tuple(made.values()))
    if built is None:
        base = base or build.prepare_base()
        built = base.compose_image(plan.build_file, build.fields_on(base), made, plan.anchor, store)
    store.index.tag(plan.target, built.root, {BASE_NAME: plan.base_name} if plan.base_name else {})
    return built, ImageRecord.of(built, key)


class _ImageBuild:
    """An image whose allotments and base are found at the same time."""

    def __init__(self, plan: Plan, store: ImageStore, record: ImageRecord | None) -> None:
        self._plan = plan
        self._store = store
        self._record = record
        self._workdir = plan.build_file.settings.workdir
        self._claims = FieldClaims.of(
            plan.build_file.cells, plan.platforms, known_directories((), workdir=self._workdir)
        )
        self._is_known = threading.Event()  # whether any allotment is a new one
        self._is_changed = record is None

    def make(self, progress: Progress, listener: OnBuilt) -> Mapping[int, Allotment]:
        plan = self._plan
        try:
            return make_allotments(
                plan.build_file,
                plan.method,
                self._store,
                progress,
                listener,
                claims=self._claims,
                changed=self._note_change,
            )
        finally:
            self._is_known.set()

    def _note_change(self) -> None:
        self._is_changed = True
        self._is_known.set()

    def prepare(self) -> tuple[str, PreparedBase | None]:
        """Return the plan's key, and the base; None where the image may be the one on record, which needs none."""
        key = self._plan.key()
        if self._record is not None and key and self._record.plan == key:
            self._is_known.wait()
            if not self._is_changed:
                return key, None
        return key, self.prepare_base()

    def prepare_base(self) -> PreparedBase:
        """Return the base, which has been held against the allotments."""
        from twodfs.build.composing import PreparedBase  # noqa: PLC0415 - see the module's docstring

        plan = self._plan
        base = PreparedBase.of(plan.base.find(), plan.media_types, plan.method.packing, self._store)
        self.fields_on(base)
        with plan.build_file.origin.mistakes():
            self._claims.keep_directories(base.directories(workdir=self._workdir))
        return base

    def fields_on(self, base: PreparedBase) -> FieldGroups:
        """Return which allotments each image of ``base`` has.

        Raises:
            BuildFileError: an image has none, or an allotment has no image.
        """
        plan = self._plan
        with plan.build_file.origin.mistakes():
            return plan_fields(plan.build_file.cells, base.platforms, is_choice=bool(plan.platforms))


def partitions_beyond(built: Built, named: Mapping[str, Selection]) -> list[str]:
    """Return the names of partitions, ``all`` first, that have more layers than container runtimes unpack."""
    room = DEFAULT_MAX_LAYERS - built.base_layers
    if len({one.digest for one in built.allotments}) <= room:
        return []
    from twodfs.field.field import Field  # noqa: PLC0415 - few images have that many

    fields = [Field.parse(one.body) for one in built.fields]

    def is_beyond(selection: Selection) -> bool:
        try:
            for field in fields:
                with suppress(NothingSelectedError):
                    field.select(selection, limit=max(room, 0), merged=True)
        except TooManyLayersError:
            return True
        return False

    whole = [ALL] if any(len({one.digest for one in field}) > room for field in fields) else []
    return [*whole, *(name for name, selection in named.items() if is_beyond(selection))]
