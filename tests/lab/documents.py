"""Image documents, written by hand so that they can judge what `twodfs` and `proxy` make of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal

from tests.lab.layers import Blob, Compression, Layer

Cell = tuple[int, int]
"""(row, column)."""

Json = dict[str, Any]

FIELD_LAYER = "application/vnd.oci.image.layer.v1.2dfs.field"
ANCHOR_ARTIFACT = "application/vnd.2dfs.allotments.v1"
CREATED = "2026-01-01T00:00:00Z"

_EMPTY = Blob(b"{}", "application/vnd.oci.empty.v1+json")
_IN_TOTO = "application/vnd.in-toto+json"
_UNKNOWN = {"architecture": "unknown", "os": "unknown"}


@dataclass(frozen=True, slots=True)
class MediaTypes:
    """The names that one family of image formats gives to the same things."""

    index: str
    manifest: str
    config: str
    layer: str
    layer_gzip: str
    layer_zstd: str

    def layer_type(self, compression: Compression) -> str:
        return {"gzip": self.layer_gzip, "zstd": self.layer_zstd, "none": self.layer}[compression]


OCI = MediaTypes(
    index="application/vnd.oci.image.index.v1+json",
    manifest="application/vnd.oci.image.manifest.v1+json",
    config="application/vnd.oci.image.config.v1+json",
    layer="application/vnd.oci.image.layer.v1.tar",
    layer_gzip="application/vnd.oci.image.layer.v1.tar+gzip",
    layer_zstd="application/vnd.oci.image.layer.v1.tar+zstd",
)
DOCKER = MediaTypes(
    index="application/vnd.docker.distribution.manifest.list.v2+json",
    manifest="application/vnd.docker.distribution.manifest.v2+json",
    config="application/vnd.docker.container.image.v1+json",
    layer="application/vnd.docker.image.rootfs.diff.tar",
    layer_gzip="application/vnd.docker.image.rootfs.diff.tar.gzip",
    layer_zstd="application/vnd.docker.image.rootfs.diff.tar.zstd",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldStyle:
    """How a field is written down; the default is how the original builder does it."""

    holes: Literal["empty", "absent"] = "empty"
    shape: tuple[int, int] | None = None  # rows, columns; None: as many as the cells need
    sizes: bool = False
    media_types: bool = False
    owner: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)


def document(content: Mapping[str, Any], media_type: str) -> Blob:
    return Blob(json.dumps(content, separators=(",", ":")).encode(), media_type)


def platform_object(platform: str) -> dict[str, str]:
    """`linux/arm64/v8` as the object that an index entry carries."""
    os, architecture, *variant = platform.split("/")
    return {"architecture": architecture, "os": os} | ({"variant": variant[0]} if variant else {})


def config(types: MediaTypes, platform: str, diff_ids: Sequence[str], more: Mapping[str, Any]) -> Blob:
    content = {
        "created": CREATED,
        **platform_object(platform),
        "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
        "history": [{"created": CREATED, "created_by": f"lab base {at}"} for at in range(len(diff_ids))],
        **more,
    }
    return document(content, types.config)


def manifest(types: MediaTypes, config: Blob, layers: Sequence[Blob], more: Mapping[str, Any]) -> Blob:
    content = {
        "schemaVersion": 2,
        "mediaType": types.manifest,
        "config": config.descriptor(),
        "layers": [layer.descriptor() for layer in layers],
        **more,
    }
    return document(content, types.manifest)


def index(types: MediaTypes, entries: Sequence[Json], more: Mapping[str, Any]) -> Blob:
    content = {"schemaVersion": 2, "mediaType": types.index, "manifests": list(entries), **more}
    return document(content, types.index)


def field_layer(allotments: Mapping[Cell, Layer], style: FieldStyle) -> Blob:
    rows, columns = style.shape or _extent(allotments)
    cells = product(range(rows), range(columns)) if style.holes == "empty" else sorted(allotments)
    written: dict[int, list[Json]] = {}
    for row, column in cells:
        written.setdefault(row, []).append(_cell(row, column, allotments.get((row, column)), style))
    content = {
        "rows": [{"allotments": row, "allotments_size": len(row)} for row in written.values()],
        "rows_size": len(written),
        "owner": style.owner,
        **style.more,
    }
    return document(content, FIELD_LAYER)


def attestation(subject: Blob) -> tuple[list[Blob], Json]:
    """Return the blobs (manifest last) and the index entry that BuildKit adds for `subject`."""
    statement = {"_type": "https://in-toto.io/Statement/v0.1", "subject": [{"name": subject.digest}]}
    layer = document(statement, _IN_TOTO)
    fs = {"type": "layers", "diff_ids": [layer.digest]}
    about = document({**_UNKNOWN, "config": {}, "rootfs": fs}, OCI.config)
    made = manifest(OCI, about, [layer], {})
    notes = {
        "vnd.docker.reference.digest": subject.digest,
        "vnd.docker.reference.type": "attestation-manifest",
    }
    return [layer, about, made], made.descriptor(annotations=notes, platform=_UNKNOWN)


def anchor(allotments: Sequence[Blob]) -> tuple[list[Blob], Json]:
    """Return the blobs (manifest last) and the index entry that make a registry know the allotments."""
    made = manifest(OCI, _EMPTY, allotments, {"artifactType": ANCHOR_ARTIFACT})
    return [_EMPTY, made], made.descriptor(artifactType=ANCHOR_ARTIFACT, platform=_UNKNOWN)


def _extent(allotments: Mapping[Cell, Layer]) -> tuple[int, int]:
    return (
        max((row + 1 for row, _ in allotments), default=0),
        max((column + 1 for _, column in allotments), default=0),
    )


def _cell(row: int, column: int, layer: Layer | None, style: FieldStyle) -> Json:
    if layer is None:
        return {"row": row, "col": column, "digest": "", "diffid": ""}
    return {
        "row": row,
        "col": column,
        "digest": layer.blob.digest.removeprefix("sha256:"),
        "diffid": layer.diff_id.removeprefix("sha256:"),
        **({"size": layer.blob.size} if style.sizes else {}),
        **({"mediaType": layer.blob.media_type} if style.media_types else {}),
    }
