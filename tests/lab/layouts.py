"""OCI image layouts: what programs write that pull an image into a directory."""

import json
from pathlib import Path
from typing import Any

from tests.lab.rootfs import apply_layers


def layout_files(layout: Path, platform: str = "linux/amd64") -> dict[str, bytes]:
    """Return the files of the image that an OCI layout holds; of several platforms, of this one."""
    (entry,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    manifest = _document(layout, entry["digest"])
    for one in manifest.get("manifests", ()):
        if "/".join((one["platform"]["os"], one["platform"]["architecture"])) == platform:
            manifest = _document(layout, one["digest"])
    return apply_layers(_blob(layout, layer["digest"]) for layer in manifest["layers"])


def _document(layout: Path, digest: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(_blob(layout, digest))
    return content


def _blob(layout: Path, digest: str) -> bytes:
    return (layout / "blobs" / digest.replace(":", "/")).read_bytes()
