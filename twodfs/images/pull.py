"""Bring a base image into the store, from any of its sources."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from twodfs.concurrency import concurrently
from twodfs.errors import BuildError, FormatError
from twodfs.flatten.compose import Base, BaseImage
from twodfs.images.source import TRANSFERS, ImageSource
from twodfs.oci.documents import Descriptor, Document, Index, Manifest, parse_manifest
from twodfs.oci.image_config import MAX_CONFIG_BYTES, ImageConfig
from twodfs.oci.platforms import Platform, is_wanted
from twodfs.progress import Progress
from twodfs.storage.store import ImageStore


def pull_base(
    source: ImageSource,
    name: str,
    platforms: Sequence[Platform],
    store: ImageStore,
    progress: Progress,
    *,
    reference: str,
    checksum: bool = False,
    layers: bool = True,
) -> Base:
    """Return the base that ``name`` has in ``source``; its configs are in ``store`` then, and its layers if asked for.

    Index entries that are no images are left out: attestations speak of digests that the new image does not
    have.

    Args:
        source: where it lives.
        name: a tag or digest of an index or a single manifest, OCI or Docker.
        platforms: which of its images; empty for all.
        store: takes configs, and layers.
        progress: listens to the layers.
        reference: its name in errors.
        checksum: whether to hash the layers that the store has, and to forget damaged ones.
        layers: whether to bring the layers; not where they can be had later, from the base's registry.

    Raises:
        BuildError: it is no image, has none for a platform, has a field already, or contradicts itself.
        DigestError: it is damaged.
        RegistryError: the registry does not give it.
    """
    try:
        top = source.manifest(name)
        parsed = parse_manifest(top.body, top.media_type)
        if isinstance(parsed, Index):
            base = _index(source, parsed, platforms, reference)
            _note_omissions(parsed, base, platforms, progress)
        else:
            base = Base((_single(source, parsed, store, reference),))
        _check(base, platforms, reference)
        _fetch_configs(source, base, store)
        if checksum:
            _forget_damaged(base, store)
        if layers:
            _fetch_layers(source, base, store, progress)
    except FormatError as error:
        raise BuildError(f"{reference}: {error}") from None
    return base


def _single(source: ImageSource, manifest: Manifest, store: ImageStore, reference: str) -> BaseImage:
    if not manifest.is_image:
        raise BuildError(f"{reference} is an artifact, not an image")
    config = _fetch_config(source, manifest, store)
    return BaseImage(manifest, Platform.of(config.raw))


def _index(source: ImageSource, index: Index, platforms: Sequence[Platform], reference: str) -> Base:
    entries = [entry for _, entry in index.image_entries()]
    wanted = [entry for entry in entries if is_wanted(Platform.of(entry.platform), platforms)]
    if not wanted:
        offered = ", ".join(str(Platform.of(entry.platform)) for entry in entries) or "none"
        asked = " or ".join(map(str, platforms)) or "any platform"
        raise BuildError(f"{reference} has no image for {asked}; it has {offered}")
    found = concurrently((partial(source.manifest, entry.digest) for entry in wanted), limit=TRANSFERS)
    images = (_image(entry, document) for entry, document in zip(wanted, found, strict=True))
    return Base(tuple(image for image in images if image), index)


def _image(entry: Descriptor, document: Document) -> BaseImage | None:
    manifest = parse_manifest(document.body, entry.media_type)
    if not isinstance(manifest, Manifest) or not manifest.is_image:
        return None
    return BaseImage(manifest, Platform.of(entry.platform), entry)


def _note_omissions(index: Index, base: Base, platforms: Sequence[Platform], progress: Progress) -> None:
    images = sum(1 for _ in index.image_entries())
    others = len(index.manifests) - (images if platforms else len(base.images))
    if others:
        progress.note(f"left out {others} entries of the base that are no images, such as attestations")


def _check(base: Base, platforms: Sequence[Platform], reference: str) -> None:
    for wanted in platforms:
        if not any(image.platform.matches(wanted) for image in base.images):
            offered = ", ".join(str(image.platform) for image in base.images) or "none"
            raise BuildError(f"{reference} has no image for {wanted}; it has {offered}")
    if not base.images:
        raise BuildError(f"{reference} holds no image")
    if any(image.manifest.field_positions() for image in base.images):
        raise BuildError(f"{reference} has a field already; build from the image it was made from")


def _fetch_configs(source: ImageSource, base: Base, store: ImageStore) -> None:
    configs = {image.manifest.config.digest: image.manifest for image in base.images}
    concurrently(
        (partial(_fetch_config, source, manifest, store) for manifest in configs.values()),
        limit=TRANSFERS,
    )


def _layers(base: Base) -> Iterable[Descriptor]:
    return {layer.digest: layer for image in base.images for layer in image.manifest.layers}.values()


def _forget_damaged(base: Base, store: ImageStore) -> None:
    for layer in _layers(base):
        if store.has(layer.digest, layer.size) and not store.is_sound(layer.digest, layer.size):
            store.discard(layer.digest)


def _fetch_layers(source: ImageSource, base: Base, store: ImageStore, progress: Progress) -> None:
    concurrently(
        (
            partial(fetch_layer, source, layer, store, progress)
            for layer in _layers(base)
            if not store.has(layer.digest, layer.size)
        ),
        limit=TRANSFERS,
    )


def _fetch_config(source: ImageSource, manifest: Manifest, store: ImageStore) -> ImageConfig:
    found = manifest.config
    if store.is_sound(found.digest, found.size):
        body = store.read(found.digest, limit=MAX_CONFIG_BYTES)
    else:
        body = source.blob(found.digest, limit=MAX_CONFIG_BYTES)
        store.put(body, found.digest)
    config = ImageConfig.parse(body)
    layers = len(manifest.layers) - len(manifest.field_positions())
    if len(config.diff_ids) != layers:
        raise BuildError(
            f"the base is damaged: its config {found.digest} lists {len(config.diff_ids)} diff ids for {layers} layers"
        )
    return config


def fetch_layer(source: ImageSource, layer: Descriptor, store: ImageStore, progress: Progress) -> None:
    """Bring one layer of a base into ``store``; raises like ``pull_base``."""
    with progress.step(f"base {layer.digest[:19]}", layer.size) as advance, store.ingest() as blob:
        source.download(layer, blob.file, advance)
        blob.commit(layer.digest)
