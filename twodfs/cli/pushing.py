"""Shared parts of commands that push: the image's new name, layers of its base, and the output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twodfs.cli.grid import count_text
from twodfs.cli.registries import Registries
from twodfs.errors import InvalidReferenceError
from twodfs.field.partition import RESERVED, readings
from twodfs.oci.documents import Descriptor, Json
from twodfs.oci.reference import TAG, Reference
from twodfs.sizes import size_text

if TYPE_CHECKING:
    from twodfs.publish.push import PushCounts, Pushed, Relay
    from twodfs.registry.upload.content import BlobContent


def parse_target(text: str) -> Reference:
    """Return the reference that an image is to be stored under.

    Raises:
        InvalidReferenceError: it can name none.
    """
    target = Reference.parse(text)
    if target.digest is not None or target.tag is None or not TAG.fullmatch(target.tag):
        raise InvalidReferenceError(f"{text!r} cannot name a new image; expected REGISTRY/REPOSITORY:TAG")
    return target


def parse_new(text: str) -> Reference:
    """Return the reference of an image that is to be made, which must not read as a part of another one.

    Raises:
        InvalidReferenceError: it does, or can name none.
    """
    target = parse_target(text)
    for reading in readings(target.tag or ""):
        if reading.selection().rectangles or RESERVED.intersection(reading.chain):
            raise InvalidReferenceError(
                f"{text!r} cannot name a new image: a proxy reads the tag as a partition of "
                f"{reading.base!r}; choose one that does not end in --{'--'.join(reading.chain)}"
            )
    return target


def relayed_base(base_name: str, registries: Registries) -> Relay | None:
    """Return a function that finds layers of the base in its registry; None where the base has no name."""
    if not base_name:
        return None
    base = Reference.parse(base_name)

    def relayed(layer: Descriptor) -> BlobContent | None:
        from twodfs.registry.relayed import RelayedBlob  # noqa: PLC0415 - as a rule, the target's registry has them all

        repository = registries.repository(base)
        return RelayedBlob(repository, layer) if repository.has_blob(layer.digest) else None

    return relayed


def push_summary(pushed: Pushed) -> str:
    """Return the result of a push, for people."""
    uploaded, mounted, present = pushed.uploaded, pushed.mounted, pushed.present
    parts = [f"pushed {_count(uploaded)}" if uploaded.blobs else "pushed no blobs"]
    if mounted.blobs:
        parts.append(f"{_count(mounted)}, taken from other repositories there")
    if present.blobs:
        parts.append(f"{_count(present)}, {'was' if present.blobs == 1 else 'were'} in the registry")
    return "; ".join(parts)


def _count(some: PushCounts) -> str:
    return f"{count_text(some.blobs, 'blob')}, {size_text(some.size)}"


def push_json(pushed: Pushed) -> Json:
    """Return the result of a push, for programs."""
    uploaded, mounted, present = pushed.uploaded, pushed.mounted, pushed.present
    return {
        "uploadedBlobs": uploaded.blobs,
        "uploadedBytes": uploaded.size,
        "mountedBlobs": mounted.blobs,
        "mountedBytes": mounted.size,
        "presentBlobs": present.blobs,
        "presentBytes": present.size,
        "sparedBlobs": mounted.blobs + present.blobs,
    }
