"""Build an image into the store: a base, and a recipe's allotments on top."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from twodfs.build.concurrency import concurrently, in_thread
from twodfs.build.documents import EMPTY_BLOB, Anchor, Base, Composed, compose
from twodfs.build.layer import Compression, LayerPlan
from twodfs.build.platforms import Platform
from twodfs.build.recipe import Cell, Recipe
from twodfs.build.store import BASE_NAME, Store
from twodfs.field import Allotment
from twodfs.oci import Document, Index, parse_manifest
from twodfs.progress import Progress

DEFAULT_JOBS: Final = 4


@dataclass(frozen=True, slots=True)
class Built:
    """An image in the store. ``root`` is what its reference names."""

    root: Document
    field: Document
    allotments: tuple[Allotment, ...]
    platforms: tuple[Platform, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to build, and how.

    Attributes:
        recipe: the allotments.
        base: what they are put on; its blobs are in the store.
        base_name: the base's reference; empty for scratch.
        target: the reference that the image gets.
        compression: of the allotments.
        anchor: whether the index names the allotments.
        jobs: how many allotments are written at a time.
    """

    recipe: Recipe
    base: Base
    base_name: str
    target: str
    compression: Compression = Compression.GZIP
    anchor: Anchor = Anchor.INDEX
    jobs: int = DEFAULT_JOBS


async def build_image(plan: Plan, store: Store, progress: Progress) -> Built:
    """Build ``plan`` into ``store`` and return what was built.

    The same sources on the same base give the same bytes.

    Raises:
        BuildError: a source cannot be read, or changes meanwhile.
    """
    jobs = (
        partial(in_thread, partial(_write_allotment, cell, plan.compression, store, progress))
        for cell in plan.recipe.cells
    )
    allotments = tuple(await concurrently(jobs, limit=plan.jobs))
    composed = compose(plan.base, allotments, plan.anchor, plan.recipe.partitions)
    _store(composed, plan, store)
    platforms = tuple(image.platform for image in plan.base.images)
    return Built(composed.root, composed.field, allotments, platforms)


def _write_allotment(
    cell: Cell,
    compression: Compression,
    store: Store,
    progress: Progress,
    check: Callable[[], None],
) -> Allotment:
    plan = LayerPlan.of(cell.copies)
    with progress.step(f"allotment {cell.name}", plan.source_bytes) as advance, store.ingest() as blob:

        def passed(size: int) -> None:
            check()
            advance(size)

        layer = plan.write(blob.file, compression=compression, advance=passed)
        blob.commit(layer.digest)
    return Allotment(cell.row, cell.col, layer.digest, layer.diff_id, layer.size, layer.media_type)


def _store(composed: Composed, plan: Plan, store: Store) -> None:
    for document in composed.documents:
        store.put(document.body)
    if isinstance(parse_manifest(composed.root.body, composed.root.media_type), Index):
        store.put(EMPTY_BLOB)
    annotations = {BASE_NAME: plan.base_name} if plan.base_name else {}
    store.tag(plan.target, composed.root, annotations)
