"""Hold an image against itself: re-hash every document and compare the values that must agree.

The oracle of the tests and of ``twodfs inspect``: it shares no code with ``flatten`` beyond the parsers.
"""

from __future__ import annotations

from collections.abc import Mapping

from twodfs.errors import ValidationError
from twodfs.oci.digest import Digest, digest_of
from twodfs.oci.documents import FIELD_LAYER, Descriptor, Document, Index, Manifest, parse_manifest
from twodfs.oci.image_config import ImageConfig


def validate(root: Document, documents: Mapping[Digest, bytes]) -> list[Manifest]:
    """Check the ordinary image at ``root`` and return its manifests in the index's order.

    Args:
        root: an index or a manifest.
        documents: the bytes of every manifest and config below it, by digest.

    Raises:
        ValidationError: something does not hash, is absent, or contradicts something else; with the path.
        FormatError: a document is malformed.
    """
    _check(digest_of(root.body) == root.digest, "the root does not hash to its digest", "root")
    top = parse_manifest(root.body, root.media_type)
    if isinstance(top, Manifest):
        _validate_manifest(top, documents, "root")
        return [top]
    manifests = []
    for at, entry in top.image_entries():
        path = f"manifests[{at}]"
        manifest = parse_manifest(_fetch(entry, documents, path), entry.media_type)
        if isinstance(manifest, Index):
            raise ValidationError(f"{path}: an index within an index is no image")
        _validate_manifest(manifest, documents, path)
        manifests.append(manifest)
    return manifests


def _validate_manifest(manifest: Manifest, documents: Mapping[Digest, bytes], path: str) -> None:
    config = ImageConfig.parse(_fetch(manifest.config, documents, f"{path}.config"))
    layers = len(manifest.layers)
    _check(len(config.diff_ids) == layers, f"{len(config.diff_ids)} diff ids for {layers} layers", path)
    filled = sum(not entry.get("empty_layer", False) for entry in config.history)
    _check(filled == layers, f"{filled} history entries for {layers} layers", path)
    for at, layer in enumerate(manifest.layers):
        where = f"{path}.layers[{at}]"
        _check(layer.media_type != FIELD_LAYER, "a field is left, which no runtime can unpack", where)
        is_docker_layer = layer.media_type.startswith("application/vnd.docker.")
        _check(
            is_docker_layer == manifest.is_docker,
            f"layer of type {layer.media_type} in a manifest of type {manifest.media_type}",
            where,
        )


def _fetch(descriptor: Descriptor, documents: Mapping[Digest, bytes], path: str) -> bytes:
    body = documents.get(descriptor.digest)
    if body is None:
        raise ValidationError(f"{path}: {descriptor.digest} is not there")
    _check(digest_of(body) == descriptor.digest, f"content does not hash to {descriptor.digest}", path)
    _check(len(body) == descriptor.size, f"{len(body)} bytes, the descriptor says {descriptor.size}", path)
    return body


def _check(holds: bool, problem: str, path: str) -> None:  # noqa: FBT001 - reads as "check that"
    if not holds:
        raise ValidationError(f"{path}: {problem}")
