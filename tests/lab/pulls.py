"""Pulls as engines do them, every byte checked."""

from typing import Any

import orjson

from tests.lab.images import PushedImage
from tests.lab.registry_client import RegistryClient

CELLS = {(row, col): {f"{row}/{col}": b"%d %d" % (row, col)} for row in range(6) for col in range(6)}


def pull(url: str, image: PushedImage, selection: str) -> str:
    """Pull a partition the way engines do and return its digest; every byte is checked."""
    with RegistryClient(url) as client:
        top = client.get_manifest(image.repository, f"{image.tag}--{selection}")
        assert top.status == 200, top
        digest = top.headers["docker-content-digest"]
        check_children(client, image, top.body, selection)
    return digest


def check_children(client: RegistryClient, image: PushedImage, top: bytes, selection: str) -> None:
    x1, y1, x2, y2 = (int(number) for number in selection.split("."))
    layers = [layer.blob.digest for layer in image.layers(image.select((x1, y1, x2, y2)))]
    diff_ids = [layer.diff_id for layer in image.layers(image.select((x1, y1, x2, y2)))]
    entries: list[dict[str, Any]] = orjson.loads(top)["manifests"]
    assert len(entries) == 2
    for entry in entries:
        manifest = client.get_manifest(image.repository, entry["digest"])
        assert manifest.status == 200, manifest
        document = orjson.loads(manifest.body)
        assert [layer["digest"] for layer in document["layers"]] == layers
        config = client.request("GET", f"/v2/{image.repository}/blobs/{document['config']['digest']}")
        assert config.status == 200, config
        assert orjson.loads(config.body)["rootfs"]["diff_ids"] == diff_ids
