"""A 2DFS image made by hand, document by document."""

from collections.abc import Sequence
from typing import Any

import orjson

from twodfs.oci.digest import digest_of
from twodfs.oci.documents import (
    DOCKER_CONFIG,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    FIELD_LAYER,
    OCI_CONFIG,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Document,
)

BASE = b"base layer"


DIFF_ID = "sha256:" + "d1" * 32


CREATED = "2024-05-06T07:08:09Z"


def cell_blob(row: int, col: int) -> bytes:
    return f"allotment {row} {col}".encode()


def diff_id(row: int, col: int) -> str:
    return digest_of(f"plain {row} {col}".encode())


class Image:
    """A 2DFS image under construction; `blobs` is its registry."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    def add(self, content: bytes | dict[str, Any]) -> tuple[str, int]:
        body = content if isinstance(content, bytes) else orjson.dumps(content)
        self.blobs[digest_of(body)] = body
        return digest_of(body), len(body)

    def descriptor(self, media_type: str, content: bytes | dict[str, Any], **more: Any) -> dict[str, Any]:
        digest, size = self.add(content)
        return {"mediaType": media_type, "digest": digest, "size": size} | more

    def field(
        self, cells: Sequence[tuple[int, int]], partitions: dict[str, str] | None = None, **more: Any
    ) -> dict[str, Any]:
        rows = []
        for row, col in cells:
            digest, _ = self.add(cell_blob(row, col))
            hexes = {"digest": digest[7:], "diffid": diff_id(row, col)[7:]}
            rows.append({"allotments": [{"row": row, "col": col} | hexes | more]})
        return self.descriptor(FIELD_LAYER, {"rows": rows, "partitions": partitions})

    def config(self, **more: Any) -> dict[str, Any]:
        return {
            "created": CREATED,
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [DIFF_ID]},
            "history": [{"created": CREATED, "created_by": "base"}],
        } | more

    def manifest(
        self,
        cells: Sequence[tuple[int, int]] = ((0, 0), (0, 1), (1, 0)),
        *,
        docker: bool = False,
        config: dict[str, Any] | None = None,
        layers: list[dict[str, Any]] | None = None,
        partitions: dict[str, str] | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        base = self.descriptor(DOCKER_LAYER_GZIP if docker else OCI_LAYER_GZIP, BASE)
        config_type = DOCKER_CONFIG if docker else OCI_CONFIG
        return {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
            "config": self.descriptor(config_type, self.config() if config is None else config),
            "layers": [base, self.field(cells, partitions)] if layers is None else layers,
        } | more

    def document(self, content: dict[str, Any]) -> Document:
        digest, _ = self.add(content)
        return Document(content["mediaType"], digest, self.blobs[digest])  # type: ignore[arg-type]
