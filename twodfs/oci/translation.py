"""Docker's media types in terms of OCI's, and the other way round; digests of blobs stay as they are.

Docker's kind has a name for zstd (``DOCKER_LAYER_ZSTD``) that podman, skopeo and all else on containers/image
refuse: layers in zstd need OCI manifests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from twodfs.oci.documents import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    DOCKER_LAYER_ZSTD,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Descriptor,
    Index,
    Manifest,
)

_FOREIGN_DOCKER: Final = "application/vnd.docker.image.rootfs.foreign.diff.tar"
_FOREIGN_OCI: Final = "application/vnd.oci.image.layer.nondistributable.v1.tar"
TO_OCI: Final[Mapping[str, str]] = {
    DOCKER_LIST: OCI_INDEX,
    DOCKER_MANIFEST: OCI_MANIFEST,
    DOCKER_CONFIG: OCI_CONFIG,
    DOCKER_LAYER: OCI_LAYER,
    DOCKER_LAYER_GZIP: OCI_LAYER_GZIP,
    DOCKER_LAYER_ZSTD: OCI_LAYER_ZSTD,
    _FOREIGN_DOCKER: _FOREIGN_OCI,
    f"{_FOREIGN_DOCKER}.gzip": f"{_FOREIGN_OCI}+gzip",
}
"""OCI's media type for each of Docker's."""
TO_DOCKER: Final[Mapping[str, str]] = {oci: docker for docker, oci in TO_OCI.items()}
"""Docker's media type for each of OCI's."""


_ALLOTMENT_TYPES: Final = frozenset({OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD})


def layer_type(manifest: Manifest, media_type: str) -> str:
    """Return the media type under which ``manifest`` lists a layer; ``media_type`` is in either's words.

    A manifest of Docker's has Docker's types for the ones that builders write; other types stay unchanged.
    """
    if manifest.is_docker:
        return TO_DOCKER[media_type] if media_type in _ALLOTMENT_TYPES else media_type
    return TO_OCI[media_type] if media_type == DOCKER_LAYER_ZSTD else media_type


def has_zstd(manifest: Manifest) -> bool:
    """Say whether a layer of ``manifest`` is in zstd."""
    return any(layer.media_type in (OCI_LAYER_ZSTD, DOCKER_LAYER_ZSTD) for layer in manifest.layers)


def translated_manifest(manifest: Manifest, types: Mapping[str, str]) -> Manifest:
    """Return ``manifest`` with media types put through ``types``; others stay."""
    config = _translated(manifest.config, types)
    layers = tuple(_translated(layer, types) for layer in manifest.layers)
    media_type = types.get(manifest.media_type, manifest.media_type)
    changes = {
        "mediaType": media_type,
        "config": dict(config.raw),
        "layers": [dict(layer.raw) for layer in layers],
    }
    return Manifest(media_type, config, layers, {**manifest.raw, **changes})


def translated_index(index: Index, types: Mapping[str, str]) -> Index:
    """Return ``index`` under its media type put through ``types``; its entries are left as they are."""
    media_type = types.get(index.media_type, index.media_type)
    return Index(media_type, index.manifests, {**index.raw, "mediaType": media_type})


def _translated(one: Descriptor, types: Mapping[str, str]) -> Descriptor:
    media_type = types.get(one.media_type, one.media_type)
    raw: dict[str, Any] = {**one.raw, "mediaType": media_type}
    return Descriptor(media_type, one.digest, one.size, raw)
