"""An image's documents, written with allotments in place of the field.

The bytes depend on the decisions of ``cut`` and ``compose`` alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from twodfs.errors import FormatError, within
from twodfs.field.allotment import Allotment
from twodfs.oci.digest import Digest
from twodfs.oci.documents import DOCKER_LAYER_ZSTD, Descriptor, Document, Index, Json, Manifest
from twodfs.oci.image_config import ImageConfig
from twodfs.oci.translation import TO_OCI, layer_type, translated_index, translated_manifest

_FIELD_LINE: Final = "2dfs field "


@dataclass(frozen=True, slots=True)
class ImageWithField:
    """A source manifest that has a field, and where among its layers that stands."""

    manifest: Manifest
    position: int

    @property
    def field(self) -> Descriptor:
        """The descriptor of its field."""
        return self.manifest.layers[self.position]


@dataclass(frozen=True, slots=True)
class Flattened:
    """A source manifest and its config, rewritten."""

    manifest: Document
    config: Document


def with_types_for_zstd(source: ImageWithField, allotments: Sequence[Allotment]) -> ImageWithField:
    """Return ``source``, in OCI's media types where it would list a layer in zstd among Docker's.

    Linear in the layers and allotments. podman and skopeo refuse such a manifest, and no client needs it.
    """
    manifest = source.manifest
    listed = {
        *(layer.media_type for layer in manifest.layers),
        *(layer_type(manifest, one.media_type) for one in allotments),
    }
    if not manifest.is_docker or DOCKER_LAYER_ZSTD not in listed:
        return source
    return ImageWithField(translated_manifest(manifest, TO_OCI), source.position)


def rewritten_image(
    source: ImageWithField,
    config: ImageConfig,
    allotments: Sequence[Allotment],
    sizes: Mapping[Digest, int],
    provenance: Mapping[str, str],
    *,
    replaces_line: bool,
) -> Flattened:
    """Return manifest and config with ``allotments`` where the field stands, in each list of layers.

    ``replaces_line`` says whether they take the place of the field's line in the history, too.

    Raises:
        FormatError: the config is malformed, or is not that of the manifest; with the path.
    """
    manifest = source.manifest
    with within(f"config {manifest.config.digest}"):
        content = _config(config, source, allotments, replaces_line=replaces_line)
    written = Document.of(manifest.config.media_type, content)
    layers = [dict(layer.raw) for layer in manifest.layers]
    layers[source.position : source.position + 1] = [
        {
            "mediaType": layer_type(manifest, one.media_type),
            "digest": one.digest,
            "size": sizes[one.digest],
        }
        for one in allotments
    ]
    flat = _annotated(manifest.raw, {"config": manifest.config.pointing_at(written), "layers": layers}, provenance)
    return Flattened(Document.of(manifest.media_type, flat), written)


def field_line(field: Digest, created: Mapping[str, str]) -> Json:
    """Return the history entry of an image's field: no layer's, since the field has no diff id."""
    return {**created, "created_by": f"{_FIELD_LINE}{field}", "empty_layer": True}


def _is_field_line(entry: Json) -> bool:
    return entry.get("empty_layer") is True and str(entry.get("created_by")).startswith(_FIELD_LINE)


def _config(
    config: ImageConfig, source: ImageWithField, allotments: Sequence[Allotment], *, replaces_line: bool
) -> Json:
    base_layers = len(source.manifest.layers) - 1
    if len(config.diff_ids) != base_layers:
        raise FormatError(
            f"{len(config.diff_ids)} diff ids for {base_layers} layers beside the field", "rootfs.diff_ids"
        )
    created = {} if config.created is None else {"created": config.created}
    diff_ids: list[str] = list(config.diff_ids)
    diff_ids[source.position : source.position] = [one.diff_id for one in allotments]
    history = complete_history(config.history, base_layers, created)
    if replaces_line:
        history = [entry for entry in history if not _is_field_line(entry)]
    at = _history_position(history, source.position)
    history[at:at] = [created | {"created_by": f"2dfs allotment {one.row}/{one.col}"} for one in allotments]
    return {
        **config.raw,
        "rootfs": {**config.raw["rootfs"], "diff_ids": diff_ids},
        "history": history,
    }


def complete_history(history: Sequence[Json], layers: int, created: Mapping[str, str]) -> list[Json]:
    """Return ``history`` with an entry for each layer: the key is optional, and some builders leave it out.

    Runtimes pair entries with layers in order, so entries for the allotments alone would be misread.

    Raises:
        FormatError: there are more entries than layers.
    """
    missing = layers - sum(not entry.get("empty_layer", False) for entry in history)
    if missing < 0:
        raise FormatError(f"{layers - missing} entries for {layers} layers beside the field", "history")
    return [*({**created, "created_by": "base layer"} for _ in range(missing)), *history]


def _history_position(history: Sequence[Json], layers_before: int) -> int:
    """Return where in ``history`` the layer goes that has ``layers_before`` layers below it."""
    filled = [at for at, entry in enumerate(history) if not entry.get("empty_layer", False)]
    return filled[layers_before] if layers_before < len(filled) else len(history)


def rewritten_index(top: Index, flat: Mapping[Digest, Flattened], provenance: Mapping[str, str]) -> Document:
    """Return ``top`` with the entries that are in ``flat``, aimed at the rewritten manifests.

    Where the media type of one has changed, it is OCI's, and so is the index.
    """
    if any(flat[one.digest].manifest.media_type != one.media_type for one in top.manifests if one.digest in flat):
        top = translated_index(top, TO_OCI)
    entries = [
        entry.pointing_at(flat[entry.digest].manifest) for _, entry in top.image_entries() if entry.digest in flat
    ]
    return Document.of(top.media_type, _annotated(top.raw, {"manifests": entries}, provenance))


def _annotated(raw: Mapping[str, object], changes: Json, provenance: Mapping[str, str]) -> Json:
    annotations = raw.get("annotations")
    kept = annotations if isinstance(annotations, dict) else {}
    return {**raw, **changes, "annotations": {**kept, **provenance}}
