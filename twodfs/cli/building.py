"""The work of ``twodfs build``.

Code that speaks to registries is imported where it is needed, which is while threads hash.
"""

from __future__ import annotations

from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING

from twodfs.build.allotments import Method, ReadyBlob
from twodfs.build.built import Built, ImageRecord
from twodfs.build.image import Plan, build_image, partitions_beyond
from twodfs.build.kinds import check_kind
from twodfs.choices import Anchor, MediaTypes
from twodfs.cli.bases import BaseRequest, BaseSources
from twodfs.cli.console import open_progress, print_json, say
from twodfs.cli.grid import count_text
from twodfs.cli.model_options import BuildSource
from twodfs.cli.pushing import parse_new, push_json, push_summary, relayed_base
from twodfs.cli.registries import Registries, Security
from twodfs.concurrency import both
from twodfs.errors import BuildFileError, DamagedError, FormatError
from twodfs.flatten.budget import DEFAULT_MAX_LAYERS
from twodfs.layers.build_file.file import BuildFile
from twodfs.layers.compression import Packing
from twodfs.oci.documents import Json
from twodfs.oci.reference import Reference
from twodfs.progress import Progress
from twodfs.sizes import size_text
from twodfs.storage.store import ImageStore, default_directory

if TYPE_CHECKING:
    from twodfs.cli.planning import FieldPlan
    from twodfs.publish.push import BlobPusher, Pushed


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """The arguments of ``twodfs build``."""

    base: BaseRequest
    target: str
    source: BuildSource
    is_dry: bool
    push: bool
    security: Security
    anchor: Anchor
    packing: Packing
    media_types: MediaTypes | None
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
    build_file = asked.source.load()
    if asked.packing.gzip_only and (foreign := build_file.beyond_original):
        raise BuildFileError(f"--compat knows no {foreign[0]}; leave out '{foreign[1]}', or --compat")
    plan = _plan(build_file) if asked.is_dry or asked.source.model else None
    if plan and asked.is_dry:
        _print_plan(plan, as_json=as_json)
        return
    store = ImageStore(default_directory())
    with open_progress(quiet=quiet) as progress, store.in_use():
        if plan:
            progress.note("\n".join(plan.lines()))
        with Registries(target.registry, asked.security) as registries:
            if asked.base.reference:
                registries.secure(asked.base.reference.registry, asked.base.security)
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
    _print_build(target, built, pushed, plan, as_json=as_json)


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
        sources = BaseSources(self.build_file, self.store, self.registries, self.progress)
        reference = asked.base.reference
        plan = Plan(
            build_file=self.build_file,
            base=sources.source(asked.base, checksum=checksum),
            base_name=str(reference or ""),
            target=str(self.target),
            method=Method(asked.packing, asked.jobs, checksum),
            anchor=asked.anchor,
            media_types=asked.media_types,
            platforms=asked.base.platforms,
        )
        if asked.push:
            return self._build_and_push(plan, None if checksum else self._record())
        built, _ = build_image(plan, self.store, self.progress, lambda _: None)
        return built, None

    def _record(self) -> ImageRecord | None:
        """Return the record of the image that was last pushed to the target."""
        found = self.store.pushes.find(str(self.target))
        try:
            return None if found is None else ImageRecord.from_dict(found)
        except FormatError:  # another release wrote it
            return None

    def _build_and_push(self, plan: Plan, record: ImageRecord | None) -> tuple[Built, Pushed]:
        """Build ``plan``, and upload each blob as soon as it is in the store; ``record`` is of the last push."""
        ready: SimpleQueue[ReadyBlob | None] = SimpleQueue()

        def build() -> tuple[Built, ImageRecord]:
            try:
                built, new_record = build_image(
                    plan, self.store, self.progress, lambda one: ready.put(one.ready), record
                )
                for blob in built.blobs:
                    ready.put(blob)
            finally:
                ready.put(None)
            return built, new_record

        def upload() -> BlobPusher:
            from twodfs.publish.earlier import NONE, find_earlier_push  # noqa: PLC0415 - see the module's docstring
            from twodfs.publish.push import BlobPusher  # noqa: PLC0415

            repository = self.registries.repository(self.target, push=True)
            earlier = find_earlier_push(self.store, repository, self.target.name, record.root) if record else NONE
            relay = relayed_base(plan.base_name, self.registries)
            pusher = BlobPusher(
                self.store, repository, self.target, plan.base_name, self.progress, relay=relay, earlier=earlier
            )
            pusher.carry_as_they_come(ready)
            return pusher

        (built, new_record), pusher = both(build, upload)
        pushed = pusher.finish(built.root, built.manifests)
        if new_record != record:
            self.store.pushes.record(str(self.target), new_record.to_dict())
        return built, pushed


def _summary(built: Built) -> str:
    total = size_text(sum(one.size or 0 for one in built.allotments))
    platforms = ", ".join(map(str, built.platforms))
    return f"built {count_text(len(built.allotments), 'allotment')}, {total}, for {platforms}"


def _plan(build_file: BuildFile) -> FieldPlan:
    from twodfs.cli.planning import FieldPlan  # noqa: PLC0415 - most builds print none

    return FieldPlan.of(build_file)


def _print_plan(plan: FieldPlan, *, as_json: bool) -> None:
    if as_json:
        print_json(plan.to_dict())
        return
    for line in plan.lines():
        say(line)


def _print_build(
    target: Reference, built: Built, pushed: Pushed | None, plan: FieldPlan | None, *, as_json: bool
) -> None:
    if not as_json:
        print(f"{target}@{built.root.digest}")
        return
    content: Json = {
        "reference": str(target),
        "digest": built.root.digest,
        "mediaType": built.root.media_type,
        "field": built.fields[0].digest,
        "platforms": [str(platform) for platform in built.platforms],
        "allotments": len(built.allotments),
        "bytes": sum(one.size or 0 for one in built.allotments),
        "pushed": push_json(pushed) if pushed else None,
    }
    if len(built.fields) > 1:
        content["fields"] = [one.digest for one in built.fields]
    if plan:
        content["plan"] = plan.to_dict()
    print_json(content)
