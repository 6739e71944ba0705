"""Repair an image whose allotments nothing but its field knows: its tag gets an index that anchors them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from twodfs.errors import BuildError
from twodfs.flatten.compose import (
    ANCHOR_CONFIG,
    Base,
    BaseImage,
    is_anchor,
    with_anchors,
)
from twodfs.images.source import platform_in
from twodfs.oci.digest import Digest
from twodfs.oci.documents import Descriptor, Document, Index, Manifest, parse_manifest
from twodfs.publish.health import ImageHealth, cells_text, examine
from twodfs.registry.session import RemoteRepository


@dataclass(frozen=True, slots=True)
class Anchored:
    """The result of anchoring.

    Attributes:
        root: the document that the tag names now.
        before: the one that it named.
        allotments: how many were unprotected.
        wrapped: whether a single manifest was put into an index.
        renewed: whether an anchor of an earlier release, which validators refuse, was replaced.
    """

    root: Document
    before: Digest
    allotments: int
    wrapped: bool
    renewed: bool = False


def anchor_image(repository: RemoteRepository, tag: str) -> Anchored:
    """Let ``tag`` name an index that lists every allotment, so that the registry keeps them.

    An image without an index gets one of its own kind. Nothing is done where all are listed.

    Raises:
        BuildError: it has no field, allotments are gone, or the tag moved meanwhile.
        FormatError: a document is malformed.
        RegistryError: the registry refuses.
    """
    health = examine(repository, tag)
    _check(health, f"{repository}:{tag}")
    before = health.root
    unprotected = {one.digest for field in health.fields for one in field.unprotected}
    top = parse_manifest(before.body, before.media_type)
    is_old = not (unprotected or health.missing) and _has_old_anchor(repository, top)
    if not (unprotected or health.missing or is_old):
        return Anchored(before, before.digest, 0, wrapped=False)
    base, entries = _base(repository, before, top)
    present = [one for field in health.fields for one in field.present]
    root, anchors = with_anchors(base, entries, present)
    for config in anchors.configs:
        described = Descriptor(config.media_type, config.digest, len(config.body), {})
        if not repository.has_blob(described.digest):
            repository.upload(described, config.body)
    for anchor in anchors.manifests:
        repository.put_manifest(anchor)
    if (repository.resolve(tag)).digest != before.digest:
        raise BuildError(f"{repository}:{tag} was pushed by someone else meanwhile; try again")
    repository.put_manifest(root, tag)
    return Anchored(root, before.digest, len(unprotected), wrapped=isinstance(top, Manifest), renewed=is_old)


def _has_old_anchor(repository: RemoteRepository, top: Manifest | Index) -> bool:
    """Say whether an anchor's config is the empty one that earlier releases wrote."""
    for entry in top.manifests if isinstance(top, Index) else ():
        if is_anchor(entry):
            anchor = parse_manifest(repository.manifest(entry.digest).body, entry.media_type)
            if isinstance(anchor, Manifest) and anchor.config.media_type != ANCHOR_CONFIG:
                return True
    return False


def _base(
    repository: RemoteRepository, root: Document, top: Manifest | Index
) -> tuple[Base, list[Mapping[str, object]]]:
    """Return the images for the new index, and its entries without the earlier anchors."""
    if isinstance(top, Index):
        kept = [one.raw for one in top.manifests if not is_anchor(one)]
        return Base((), top), kept
    image = BaseImage(top, platform_in(repository, top))
    return Base((image,)), [{**root.descriptor, "platform": image.platform.to_dict()}]


def _check(health: ImageHealth, reference: str) -> None:
    manifests = [one.digest for one in health.missing if not is_anchor(one)]
    if manifests:
        raise BuildError(
            f"{reference} lacks the manifests {', '.join(manifests)}: the registry has lost them; "
            f"push the image again with 'twodfs push', an anchor brings nothing back"
        )
    gone = [one for field in health.fields for one in (*field.missing, *field.damaged)]
    if gone:
        raise BuildError(
            f"{reference} lacks the allotments {cells_text(gone)}: the registry has lost them or has others; "
            f"push the image again with 'twodfs push', an anchor brings nothing back"
        )
