"""Which media types a new image has: OCI's, Docker's, or those of its base."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from twodfs.choices import Compression, MediaTypes
from twodfs.errors import BuildFileError
from twodfs.layers.compression import Packing
from twodfs.oci.translation import TO_DOCKER, TO_OCI, has_zstd, translated_index, translated_manifest

if TYPE_CHECKING:
    from twodfs.flatten.compose import Base


def check_kind(kind: MediaTypes | None, packing: Packing) -> None:
    """Hold the choices against each other.

    Raises:
        BuildFileError: no image can be made like that.
    """
    if kind is MediaTypes.DOCKER and packing.compression is Compression.ZSTD:
        raise BuildFileError(_no_zstd("--compression zstd"))
    if kind is MediaTypes.DOCKER and packing.gzip_only:
        raise BuildFileError(
            "--media-types docker does not go with --compat: the original registry cuts OCI images alone"
        )


def of_kind(base: Base, kind: MediaTypes | None, packing: Packing) -> Base:
    """Return ``base`` with the media types that the new image is to have; digests of blobs stay.

    Where ``kind`` is None they are the base's; but what is to have layers in zstd, or to be read by the
    original registry, gets OCI's.

    Raises:
        BuildFileError: Docker's media types are to name layers in zstd.
    """
    is_zstd = packing.compression is Compression.ZSTD
    if kind is None:
        kind = MediaTypes.OCI if is_zstd or packing.gzip_only else MediaTypes.BASE
    if kind is MediaTypes.BASE:
        if is_zstd and any(image.manifest.is_docker for image in base.images):
            raise BuildFileError(_no_zstd("--compression zstd on a base of Docker's media types"))
        return base
    if kind is MediaTypes.DOCKER and any(has_zstd(image.manifest) for image in base.images):
        raise BuildFileError(_no_zstd("a base with layers in zstd"))
    types = TO_OCI if kind is MediaTypes.OCI else TO_DOCKER
    images = tuple(replace(image, manifest=translated_manifest(image.manifest, types)) for image in base.images)
    return replace(base, images=images, index=base.index and translated_index(base.index, types))


def _no_zstd(what: str) -> str:
    return f"{what} takes --media-types oci: podman and skopeo refuse Docker's media type for zstd"
