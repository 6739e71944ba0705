"""Push an image of the store: blobs, then the manifests of an index, then what the tag names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from twodfs.build.concurrency import concurrently
from twodfs.build.documents import MAX_FIELD_BYTES
from twodfs.build.store import BASE_NAME, Store
from twodfs.errors import BuildError, InvalidReferenceError
from twodfs.field import Field
from twodfs.oci import Descriptor, Document, Index, Manifest, parse_manifest
from twodfs.progress import Progress
from twodfs.reference import Reference
from twodfs.registry import Registry, Repository
from twodfs.registry.repository import MAX_MANIFEST_BYTES

TRANSFERS: Final = 4
"""Blobs under way at a time."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did: how many blobs travelled, and how many the registry had or took from the base."""

    root: Document
    uploaded: int
    uploaded_bytes: int
    spared: int


@dataclass(frozen=True, slots=True)
class _Content:
    """Everything below and including ``root``, manifests in the order in which a registry accepts them."""

    root: Document
    below: tuple[Document, ...]
    blobs: tuple[Descriptor, ...]


async def push_image(store: Store, target: Reference, registry: Registry, progress: Progress) -> Pushed:
    """Push the image that ``target`` names in ``store`` to ``target``, in ``registry``.

    Only what the repository lacks travels; layers of a base in the same registry are mounted from there.

    Raises:
        BuildError: the store has no such image, or lacks a part of it.
        RegistryError: the registry refuses.
    """
    found = store.find(str(target))
    if found is None:
        raise BuildError(f"the store {store.directory} has no image {target}; 'twodfs build' makes one")
    content = _content(store, found)
    mount_from = _mount_source(found, target)
    repository = registry.repository(target.repository, push=True, mount_from=mount_from)
    sent = await concurrently(
        (partial(_push_blob, store, blob, repository, mount_from, progress) for blob in content.blobs),
        limit=TRANSFERS,
    )
    await concurrently((partial(repository.put_manifest, one) for one in content.below), limit=TRANSFERS)
    await repository.put_manifest(content.root, target.tag)
    uploaded = [size for size in sent if size is not None]
    return Pushed(content.root, len(uploaded), sum(uploaded), len(sent) - len(uploaded))


async def _push_blob(
    store: Store, blob: Descriptor, repository: Repository, mount_from: str | None, progress: Progress
) -> int | None:
    """Return how many bytes travelled, None when none had to."""
    if await repository.has_blob(blob.digest):
        return None
    if not store.has(blob.digest, blob.size):
        raise BuildError(f"the store {store.directory} lacks {blob.digest}; build the image again")
    with progress.step(f"push {blob.digest[:19]}", blob.size) as advance:
        travelled = await repository.upload(
            blob, store.path(blob.digest), mount_from=mount_from, advance=advance
        )
    return blob.size if travelled else None


def _content(store: Store, found: Descriptor) -> _Content:
    root = _document(store, found)
    parsed = parse_manifest(root.body, root.media_type)
    entries = parsed.manifests if isinstance(parsed, Index) else ()
    below = tuple(_document(store, entry) for entry in entries)
    manifests = [parse_manifest(one.body, one.media_type) for one in below] or [parsed]
    blobs = {
        blob.digest: blob
        for manifest in manifests
        if isinstance(manifest, Manifest)
        for blob in _blobs(store, manifest)
    }
    return _Content(root, below, tuple(blobs.values()))


def _document(store: Store, entry: Descriptor) -> Document:
    return Document(entry.media_type, entry.digest, store.read(entry.digest, limit=MAX_MANIFEST_BYTES))


def _blobs(store: Store, manifest: Manifest) -> Iterator[Descriptor]:
    yield from (manifest.config, *manifest.layers)
    for position in manifest.field_positions():
        field = Field.parse(store.read(manifest.layers[position].digest, limit=MAX_FIELD_BYTES))
        for one in field:
            if one.size is None:
                raise BuildError("the field does not say how big its allotments are; build the image again")
            yield Descriptor(one.media_type, one.digest, one.size, {})


def _mount_source(found: Descriptor, target: Reference) -> str | None:
    """Return the repository of the base, where it is another one of the same registry."""
    annotations = found.raw.get("annotations")
    name = annotations.get(BASE_NAME) if isinstance(annotations, dict) else None
    try:
        base = Reference.parse(name) if isinstance(name, str) else None
    except InvalidReferenceError:
        base = None
    if base is None or base.registry != target.registry or base.repository == target.repository:
        return None
    return base.repository
