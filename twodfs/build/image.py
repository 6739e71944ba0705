"""Build an image into the store: a base, and a build file's allotments on top."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from twodfs.build.allotments import Method, OnBuilt, make_allotments
from twodfs.build.kinds import of_kind
from twodfs.choices import Anchor, MediaTypes
from twodfs.concurrency import both
from twodfs.errors import TooManyLayersError
from twodfs.field.allotment import Allotment
from twodfs.field.field import Field
from twodfs.field.partition import ALL, Selection
from twodfs.flatten.budget import DEFAULT_MAX_LAYERS
from twodfs.flatten.compose import Base, Composed, compose
from twodfs.layers.build_file import BuildFile, mistakes_of
from twodfs.layers.directories import known_directories
from twodfs.layers.members import PathClaims
from twodfs.oci.digest import Digest
from twodfs.oci.documents import IMAGE_TYPES, Descriptor, Document
from twodfs.oci.image_config import MAX_CONFIG_BYTES, ImageConfig
from twodfs.oci.platforms import Platform
from twodfs.progress import Progress
from twodfs.storage.store import BASE_NAME, ImageStore


@dataclass(frozen=True, slots=True)
class Built:
    """An image in the store.

    Attributes:
        root: the document that its reference names.
        field: the document that lists the allotments.
        allotments: these.
        platforms: of its images.
        base_layers: of the image that has the most.
        manifests: those that its root names.
        blobs: its configs, its field and the layers of its base.
    """

    root: Document
    field: Document
    allotments: tuple[Allotment, ...]
    platforms: tuple[Platform, ...]
    base_layers: int
    manifests: tuple[Document, ...]
    blobs: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """A planned build.

    Attributes:
        build_file: the allotments.
        find_base: brings the image that they are put on into the store, while allotments are made already.
        base_name: the base's reference; empty for scratch.
        target: the reference that the image gets.
        method: how the allotments are made.
        anchor: whether the index names the allotments.
        media_types: whose the image has; see ``kinds.of_kind``.
    """

    build_file: BuildFile
    find_base: Callable[[], Base]
    base_name: str
    target: str
    method: Method
    anchor: Anchor = Anchor.INDEX
    media_types: MediaTypes | None = None


def build_image(plan: Plan, store: ImageStore, progress: Progress, listener: OnBuilt) -> Built:
    """Build ``plan`` into ``store`` and return the image.

    The same sources on the same base give the same bytes, whichever of them is there first. ``listener`` is called
    with each allotment as soon as it is in the store.

    Raises:
        BuildError: a source cannot be read, or changes meanwhile.
        BuildFileError: the build file is wrong, or the base does not go with the plan.
        FormatError: a config of the base has more history entries than layers.
    """
    claims = PathClaims()

    def prepare_base() -> tuple[Base, dict[Digest, ImageConfig]]:
        base = of_kind(plan.find_base(), plan.media_types, plan.method.packing)
        configs = _configs(base, store)
        with mistakes_of(plan.build_file.file):
            claims.keep_directories(known_directories(list(configs.values())))
        return base, configs

    allotments, (base, configs) = both(
        partial(make_allotments, plan.build_file, plan.method, store, progress, listener, claims=claims), prepare_base
    )
    composed = compose(
        base,
        allotments,
        plan.anchor,
        partitions=plan.build_file.partitions,
        configs=None if plan.method.packing.gzip_only else configs,
    )
    _store(composed, plan, store)
    platforms = tuple(image.platform for image in base.images)
    base_layers = max(len(image.manifest.layers) for image in base.images)
    return Built(
        composed.root,
        composed.field,
        allotments,
        platforms,
        base_layers,
        manifests=tuple(one for one in composed.documents if one.media_type in IMAGE_TYPES and one != composed.root),
        blobs=_blobs(base, composed, has_base_configs=plan.method.packing.gzip_only),
    )


def _blobs(base: Base, composed: Composed, *, has_base_configs: bool) -> tuple[Descriptor, ...]:
    """Return the blobs of an image but for the allotments."""
    made = [one for one in composed.documents if one.media_type not in IMAGE_TYPES]
    found = {one.digest: Descriptor(one.media_type, one.digest, len(one.body), {}) for one in made}
    for image in base.images:
        found |= {one.digest: one for one in image.manifest.layers}
        if has_base_configs:
            found[image.manifest.config.digest] = image.manifest.config
    return tuple(found.values())


def partitions_beyond(built: Built, named: Mapping[str, Selection]) -> list[str]:
    """Return the names of partitions, ``all`` first, that have more layers than container runtimes unpack."""
    room = DEFAULT_MAX_LAYERS - built.base_layers
    if len({one.digest for one in built.allotments}) <= room:
        return []
    field = Field.parse(built.field.body)

    def is_beyond(selection: Selection) -> bool:
        try:
            field.select(selection, limit=max(room, 0), merged=True)
        except TooManyLayersError:
            return True
        return False

    return [ALL, *(name for name, selection in named.items() if is_beyond(selection))]


def _configs(base: Base, store: ImageStore) -> dict[Digest, ImageConfig]:
    digests = {image.manifest.config.digest for image in base.images}
    return {one: ImageConfig.parse(store.read(one, limit=MAX_CONFIG_BYTES)) for one in digests}


def _store(composed: Composed, plan: Plan, store: ImageStore) -> None:
    for document in composed.documents:
        store.put(document.body)
    annotations = {BASE_NAME: plan.base_name} if plan.base_name else {}
    store.index.tag(plan.target, composed.root, annotations)
