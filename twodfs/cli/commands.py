"""What each command does.

The client of registries takes longer to load than an unchanged image to build, so it is imported where a
registry is spoken to; for ``build --push`` that is while threads hash.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import orjson
import typer

from twodfs.build.allotments import Made, Method
from twodfs.build.choices import Anchor
from twodfs.build.compression import Packing
from twodfs.build.concurrency import both
from twodfs.build.documents import Base
from twodfs.build.grid import draw, size_text
from twodfs.build.housekeeping import list_images, parse_size, prune, remove_image
from twodfs.build.image import Built, Plan, build_image
from twodfs.build.inspection import Inspection, StoredImage, inspect_image
from twodfs.build.platforms import Platform
from twodfs.build.pull import SCRATCH, pull_base, scratch
from twodfs.build.recipe import Recipe
from twodfs.build.store import Store, default_directory
from twodfs.cli.console import open_progress
from twodfs.errors import DamagedError, InvalidReferenceError
from twodfs.oci import Json
from twodfs.progress import Progress
from twodfs.reference import TAG, Reference

if TYPE_CHECKING:
    from twodfs.build.push import Courier, Pushed
    from twodfs.registry import Registry

_GRID_HEIGHT: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """The arguments of ``twodfs build``."""

    base: str
    target: str
    file: Path
    platforms: tuple[str, ...]
    push: bool
    plain_http: bool
    anchor: Anchor
    packing: Packing
    checksum: bool
    jobs: int


async def build(asked: Build, *, as_json: bool, quiet: bool) -> None:
    """Build an image, push it where asked to, and print its reference and digest.

    Raises:
        TwodfsError: see its subclasses.
    """
    target = _target(asked.target)
    asked.packing.check()
    recipe = Recipe.load(asked.file)
    store = Store(default_directory())
    with open_progress(quiet=quiet) as progress, store.in_use():
        async with _Registries(plain_http=asked.plain_http) as registries:
            workshop = _Workshop(asked, target, recipe, store, registries, progress)
            try:
                built, pushed = await workshop.build(checksum=asked.checksum)
            except DamagedError as damaged:
                # The push has met one blob that is not what was built, so no other is taken on trust.
                progress.note(str(damaged))
                built, pushed = await workshop.build(checksum=True)
        progress.note(_summary(built))
        if pushed:
            progress.note(_push_summary(pushed))
    _print_build(target, built, pushed, as_json=as_json)


async def push(text: str, *, plain_http: bool, as_json: bool, quiet: bool) -> None:
    """Push an image of the store, and print its reference and digest.

    Raises:
        TwodfsError: see its subclasses.
    """
    from twodfs.build.push import (  # noqa: PLC0415 - see the module's docstring
        Courier,
        base_name_of,
        find_image,
        push_image,
    )
    from twodfs.registry import open_registry  # noqa: PLC0415 - see the module's docstring

    target = _target(text)
    store = Store(default_directory())
    with open_progress(quiet=quiet) as progress, store.in_use():
        base_name = base_name_of(find_image(store, target))
        async with open_registry(target.registry, plain_http=plain_http) as registry:
            courier = Courier(store, registry, target, base_name, progress)
            pushed = await push_image(store, target, courier)
        progress.note(_push_summary(pushed))
    if as_json:
        _print_json({"reference": str(target), "digest": pushed.root.digest, **_push_json(pushed)})
    else:
        typer.echo(f"{target}@{pushed.root.digest}")


async def inspect(text: str, *, plain_http: bool, as_json: bool) -> None:
    """Print what an image is made of.

    Raises:
        TwodfsError: see its subclasses.
    """
    from twodfs.registry import open_registry  # noqa: PLC0415 - see the module's docstring

    reference = Reference.parse(text)
    found = await _inspect_stored(reference)
    if found is None:
        async with open_registry(reference.registry, plain_http=plain_http) as registry:
            found = await inspect_image(registry.repository(reference.repository), reference.name)
    if as_json:
        _print_json({"reference": str(reference), **found.to_dict()})
    else:
        for line in _describe(reference, found):
            typer.echo(line)


@dataclass(frozen=True, slots=True)
class _Workshop:
    """Where one image is built."""

    asked: Build
    target: Reference
    recipe: Recipe
    store: Store
    registries: _Registries
    progress: Progress

    async def build(self, *, checksum: bool) -> tuple[Built, Pushed | None]:
        """Return what was built, and what was pushed where that is asked for."""
        asked = self.asked
        base = None if asked.base == SCRATCH else Reference.parse(asked.base)
        platforms = tuple(Platform.parse(text) for text in asked.platforms)
        plan = Plan(
            recipe=self.recipe,
            base=await _base(base, platforms, self.store, self.registries, self.progress),
            base_name=str(base) if base else "",
            target=str(self.target),
            method=Method(asked.packing, asked.jobs, checksum),
            anchor=asked.anchor,
        )
        if asked.push:
            return await self._build_and_push(plan)
        return await build_image(plan, self.store, self.progress, lambda _: None), None

    async def _build_and_push(self, plan: Plan) -> tuple[Built, Pushed]:
        """Build ``plan``, and upload each allotment as soon as it is in the store."""
        ready: asyncio.Queue[Made | None] = asyncio.Queue()

        async def build() -> Built:
            built = await build_image(plan, self.store, self.progress, ready.put_nowait)
            ready.put_nowait(None)
            return built

        async def upload() -> Courier:
            # In a thread, so that those that build are started meanwhile.
            push = await asyncio.to_thread(import_module, "twodfs.build.push")
            registry = await self.registries.open(self.target.registry)
            courier: Courier = push.Courier(self.store, registry, self.target, plan.base_name, self.progress)
            await courier.carry_as_they_come(ready)
            return courier

        built, courier = await both(build, upload)
        from twodfs.build.push import push_image  # noqa: PLC0415 - see the module's docstring

        return built, await push_image(self.store, self.target, courier)


def images(*, as_json: bool) -> None:
    """Print the images of the store.

    Raises:
        TwodfsError: see its subclasses.
    """
    found = list_images(Store(default_directory()))
    if as_json:
        _print_json({"images": [one.to_dict() for one in found]})
        return
    for one in found:
        typer.echo(f"{one.reference}  {one.digest[:19]}  {one.allotments} allotments, {size_text(one.size)}")


def remove(texts: Sequence[str], *, as_json: bool) -> None:
    """Forget images, and print which.

    Raises:
        TwodfsError: see its subclasses.
    """
    store = Store(default_directory())
    references = [str(Reference.parse(text)) for text in texts]
    for reference in references:
        remove_image(store, reference)
    if as_json:
        _print_json({"removed": references})
        return
    for reference in references:
        typer.echo(reference)


def prune_store(size: str, *, images: bool, as_json: bool) -> None:
    """Make the store smaller, and print by how much.

    Raises:
        TwodfsError: see its subclasses.
    """
    pruned = prune(Store(default_directory()), parse_size(size), images=images)
    if as_json:
        _print_json(pruned.to_dict())
        return
    for reference in pruned.images:
        typer.echo(f"forgot {reference}")
    typer.echo(f"removed {pruned.blobs} blobs, {size_text(pruned.freed)}; {size_text(pruned.left)} are left")


class _Registries:
    """Registries opened as they are needed, each once, so that base and target share their connections."""

    def __init__(self, *, plain_http: bool) -> None:
        self._plain_http = plain_http
        self._stack = AsyncExitStack()
        self._opened: dict[str, Registry] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_failure: object) -> None:
        await self._stack.aclose()

    async def open(self, name: str) -> Registry:
        from twodfs.registry import open_registry  # noqa: PLC0415 - see the module's docstring

        if name not in self._opened:
            opening = open_registry(name, plain_http=self._plain_http)
            self._opened[name] = await self._stack.enter_async_context(opening)
        return self._opened[name]


def _target(text: str) -> Reference:
    """Return the reference that an image is to be stored under."""
    target = Reference.parse(text)
    if target.digest is not None or target.tag is None or not TAG.fullmatch(target.tag):
        raise InvalidReferenceError(f"{text!r} cannot name a new image; expected REGISTRY/REPOSITORY:TAG")
    return target


async def _base(
    base: Reference | None,
    platforms: tuple[Platform, ...],
    store: Store,
    registries: _Registries,
    progress: Progress,
) -> Base:
    if base is None:
        return scratch(platforms, store)
    registry = await registries.open(base.registry)
    return await pull_base(registry.repository(base.repository), base.name, platforms, store, progress)


async def _inspect_stored(reference: Reference) -> Inspection | None:
    directory = default_directory()
    if not (directory / "index.json").exists():
        return None
    store = Store(directory)
    image = store.find(str(reference))
    return await inspect_image(StoredImage(store, image), reference.name) if image else None


def _summary(built: Built) -> str:
    total = size_text(sum(one.size or 0 for one in built.allotments))
    platforms = ", ".join(map(str, built.platforms))
    return f"built {len(built.allotments)} allotments, {total}, for {platforms}"


def _push_summary(pushed: Pushed) -> str:
    return (
        f"pushed {pushed.uploaded} blobs, {size_text(pushed.uploaded_bytes)}; "
        f"{pushed.spared} were in the registry"
    )


def _print_build(target: Reference, built: Built, pushed: Pushed | None, *, as_json: bool) -> None:
    if not as_json:
        typer.echo(f"{target}@{built.root.digest}")
        return
    content: Json = {
        "reference": str(target),
        "digest": built.root.digest,
        "mediaType": built.root.media_type,
        "field": built.field.digest,
        "platforms": [str(platform) for platform in built.platforms],
        "allotments": len(built.allotments),
        "bytes": sum(one.size or 0 for one in built.allotments),
        "pushed": _push_json(pushed) if pushed else None,
    }
    _print_json(content)


def _push_json(pushed: Pushed) -> Json:
    return {
        "uploadedBlobs": pushed.uploaded,
        "uploadedBytes": pushed.uploaded_bytes,
        "sparedBlobs": pushed.spared,
    }


def _print_json(content: Json) -> None:
    typer.echo(orjson.dumps(content, option=orjson.OPT_INDENT_2))


def _describe(reference: Reference, found: Inspection) -> Iterator[str]:
    yield f"{reference}  {found.root.digest}"
    for image in found.images:
        its_field = f"field {image.field[:19]}" if image.field else "no field"
        yield f"  {image.platform}  {image.digest[:19]}  {image.layers} layers, {its_field}"
    yield "  the index keeps the allotments alive" if found.anchored else "  no anchor for the allotments"
    width = shutil.get_terminal_size((100, _GRID_HEIGHT)).columns
    for digest, field in found.fields.items():
        yield ""
        extent = f" in {field.extent}" if field.extent else ""
        yield f"field {digest[:19]}: {field.count} allotments{extent}, {size_text(field.total_bytes)}"
        yield from draw(field, width=width, height=_GRID_HEIGHT)
