"""The work of ``twodfs build``.

Code that reads a base or speaks to registries is imported where it is needed; for ``build --push``
that is while threads hash.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from twodfs.build.allotments import BuiltAllotment, Method, check_sources
from twodfs.build.image import Built, Plan, build_image, partitions_beyond
from twodfs.build.kinds import check_kind
from twodfs.choices import Anchor, MediaTypes
from twodfs.cli.console import open_progress, print_json
from twodfs.cli.grid import count_text, size_text
from twodfs.cli.pushing import base_layers, parse_new, push_json, push_summary
from twodfs.cli.registries import Registries, Security
from twodfs.concurrency import both
from twodfs.errors import BuildFileError, DamagedError
from twodfs.flatten.budget import DEFAULT_MAX_LAYERS
from twodfs.flatten.compose import Base
from twodfs.images.scratch import SCRATCH, scratch
from twodfs.layers.build_file import BuildFile
from twodfs.layers.compression import Packing
from twodfs.oci.documents import Json
from twodfs.oci.platforms import Platform, parse_platforms
from twodfs.oci.reference import Reference
from twodfs.progress import Progress
from twodfs.storage.store import ImageStore, default_directory

if TYPE_CHECKING:
    from twodfs.images.source import ImageSource
    from twodfs.publish.push import BlobPusher, Pushed


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """The arguments of ``twodfs build``."""

    base: str
    target: str
    file: Path
    platforms: tuple[str, ...]
    push: bool
    security: Security
    base_security: Security
    anchor: Anchor
    packing: Packing
    media_types: MediaTypes | None
    max_inflated: str | None
    checksum: bool
    jobs: int


def build(asked: BuildRequest, *, as_json: bool, quiet: bool) -> None:
    """Build an image, push it where asked to, and print its reference and digest.

    Raises:
        TwodfsError: see its subclasses.
    """
    target = parse_new(asked.target)
    asked.packing.check()
    check_kind(asked.media_types, asked.packing)
    build_file = BuildFile.load(asked.file)
    if asked.packing.gzip_only and build_file.partitions:
        raise BuildFileError("--compat knows no named partitions; leave out 'partitions', or --compat")
    store = ImageStore(default_directory())
    with open_progress(quiet=quiet) as progress, store.in_use():
        with Registries(target.registry, asked.security) as registries:
            session = _BuildSession(asked, target, build_file, store, registries, progress)
            try:
                built, pushed = session.build(checksum=asked.checksum)
            except DamagedError as damaged:
                # The push has met a damaged blob, so no other is taken on trust.
                progress.note(str(damaged))
                built, pushed = session.build(checksum=True)
        progress.note(_summary(built))
        beyond = partitions_beyond(built, build_file.partitions)
        if beyond:
            progress.note(
                f"an image has {DEFAULT_MAX_LAYERS} layers at most, {built.base_layers} of them the base's, "
                f"so --{' and --'.join(beyond)} cannot be pulled; pull parts of it"
            )
        if pushed:
            progress.note(push_summary(pushed))
    _print_build(target, built, pushed, as_json=as_json)


@dataclass(frozen=True, slots=True)
class _BuildSession:
    """Where one image is built."""

    asked: BuildRequest
    target: Reference
    build_file: BuildFile
    store: ImageStore
    registries: Registries
    progress: Progress

    def build(self, *, checksum: bool) -> tuple[Built, Pushed | None]:
        """Return the image, and the push where one is asked for."""
        asked = self.asked
        if asked.base != SCRATCH:
            check_sources(self.build_file)  # a mistake shows before a base of gigabytes is fetched
        platforms = parse_platforms(asked.platforms)
        base, base_name = self._base(platforms, checksum=checksum)
        plan = Plan(
            build_file=self.build_file,
            base=base,
            base_name=base_name,
            target=str(self.target),
            method=Method(asked.packing, asked.jobs, checksum),
            anchor=asked.anchor,
            media_types=asked.media_types,
        )
        if asked.push:
            return self._build_and_push(plan)
        return build_image(plan, self.store, self.progress, lambda _: None), None

    def _base(self, platforms: tuple[Platform, ...], *, checksum: bool) -> tuple[Base, str]:
        """Return the base, and its reference where it is in a registry."""
        if self.asked.base == SCRATCH:
            return scratch(platforms, self.store), ""
        from twodfs.build.housekeeping import parse_size  # noqa: PLC0415 - see the module's docstring
        from twodfs.images.inflation import Inflation  # noqa: PLC0415
        from twodfs.images.pull import pull_base  # noqa: PLC0415
        from twodfs.images.transport import LocalImage, parse_image_name  # noqa: PLC0415

        base = parse_image_name(self.asked.base)

        def pull(source: ImageSource) -> Base:
            return pull_base(
                source,
                base.name,
                platforms,
                self.store,
                self.progress,
                reference=name,
                checksum=checksum,
                layers=not is_neighbour or checksum,
            )

        name = str(base)
        is_neighbour = self.asked.push and isinstance(base, Reference) and base.registry == self.target.registry
        if isinstance(base, LocalImage):
            most = None if self.asked.max_inflated is None else parse_size(self.asked.max_inflated)
            with base.open(self.store.temporary, Inflation(most)) as source:
                return pull(source), ""
        registry = self.registries.open(base.registry, self.asked.base_security)
        return pull(registry.repository(base.repository)), name

    def _build_and_push(self, plan: Plan) -> tuple[Built, Pushed]:
        """Build ``plan``, and upload each allotment as soon as it is in the store."""
        ready: SimpleQueue[BuiltAllotment | None] = SimpleQueue()

        def build() -> Built:
            try:
                return build_image(plan, self.store, self.progress, ready.put)
            finally:
                ready.put(None)

        def upload() -> BlobPusher:
            from twodfs.publish.push import BlobPusher  # noqa: PLC0415 - see the module's docstring

            registry = self.registries.open(self.target.registry)
            fetch = base_layers(plan.base_name, self.store, self.registries, self.progress)
            pusher = BlobPusher(self.store, registry, self.target, plan.base_name, self.progress, fetch=fetch)
            pusher.carry_as_they_come(ready)
            return pusher

        built, pusher = both(build, upload)
        from twodfs.publish.push import push_image  # noqa: PLC0415 - see the module's docstring

        return built, push_image(self.store, self.target, pusher)


def _summary(built: Built) -> str:
    total = size_text(sum(one.size or 0 for one in built.allotments))
    platforms = ", ".join(map(str, built.platforms))
    return f"built {count_text(len(built.allotments), 'allotment')}, {total}, for {platforms}"


def _print_build(target: Reference, built: Built, pushed: Pushed | None, *, as_json: bool) -> None:
    if not as_json:
        print(f"{target}@{built.root.digest}")
        return
    content: Json = {
        "reference": str(target),
        "digest": built.root.digest,
        "mediaType": built.root.media_type,
        "field": built.field.digest,
        "platforms": [str(platform) for platform in built.platforms],
        "allotments": len(built.allotments),
        "bytes": sum(one.size or 0 for one in built.allotments),
        "pushed": push_json(pushed) if pushed else None,
    }
    print_json(content)
