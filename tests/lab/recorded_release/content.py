"""What the scenes find in their registry: bytes that are kept, since compressors differ between machines."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.lab.documents import FieldStyle
from tests.lab.images import build_image
from tests.lab.layers import Blob
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient
from tests.lab.signing import KeyPair, payload_of, referrer, signature_manifest, signature_tag

FIXTURES = Path(__file__).parents[2] / "fixtures" / "previous-release"
MODEL, DOCKER, PLAIN = "old/model", "old/docker", "old/plain"
CELLS = {(row, col): {f"{row}/{col % 2}": b"%d %d" % (row, col % 2)} for row in range(2) for col in range(3)}
ATTACHED = (b"a list of parts", "text/sbom")
"""Content and type of the artifact that the scenes attach to a partition; they push its manifest alone."""
_NAMES = {"partitions": {"edge": "0.0.1.1", "gpu": "1.0.1.1--0.1.0.2"}}
# No secrets: anybody can make these keys.
_SECRETS = {"signing": 11_765, "builders": 47_011}


@dataclass(frozen=True, slots=True)
class Release:
    """Which code runs: a checkout of some release, or the tree that this file is in."""

    checkout: Path | None = None

    def environment(self) -> dict[str, str]:
        """Return what has Python find that release, in its child processes too, wherever they start."""
        if self.checkout is None:
            return {}
        return {"PYTHONPATH": str(self.checkout), "PYTHONSAFEPATH": "1"}

    def run_in(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Return the whole environment of a command, wherever it starts."""
        tree = self.checkout or Path(__file__).parents[3]
        return {**variables, "PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1"}


def recorded(name: str) -> Any:
    """Return a part of the fixture."""
    return json.loads((FIXTURES / f"{name}.json").read_text())


def keys(directory: Path, name: str) -> KeyPair:
    """Write a key pair, the same each time."""
    key = ec.derive_private_key(_SECRETS[name], ec.SECP256R1())
    pair = KeyPair(directory / f"{name}.pem", directory / f"{name}.pub")
    pair.private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    pair.public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return pair


def build(directory: Path) -> dict[str, Any]:
    """Build the images anew, to be recorded; the index is signed by the key of builders."""
    style = FieldStyle(more=_NAMES)
    model = build_image(CELLS, platforms=("linux/amd64", "linux/arm64"), field_style=style, anchor=True)
    sized = FieldStyle(sizes=True, media_types=True)
    docker = build_image(CELLS, kind="docker-manifest", field_style=sized)
    plain = build_image(None)
    payload = payload_of(model.digest)
    signature, blobs = signature_manifest({payload: keys(directory, "builders").sign(payload)})
    blobs = [*blobs, *referrer({}, *ATTACHED)[1]]
    parts = [(MODEL, model), (DOCKER, docker), (PLAIN, plain)]
    manifests = [
        _pushed(repository, "v1" if one is image.top else one.digest, one)
        for repository, image in parts
        for one in image.manifests
    ]
    return {
        "blobs": {
            repository: [_text(blob) for blob in (*image.blobs, *(blobs if image is model else ()))]
            for repository, image in parts
        },
        "manifests": [*manifests, _pushed(MODEL, signature_tag(model.digest), signature)],
    }


def push(content: dict[str, Any], registry: Registry) -> None:
    """Push what is recorded."""
    with RegistryClient(registry.url) as client:
        for repository, blobs in content["blobs"].items():
            for text in blobs:
                client.push_blob(repository, Blob(base64.b64decode(text), "application/octet-stream"))
        for one in content["manifests"]:
            manifest = Blob(base64.b64decode(one["content"]), one["mediaType"])
            client.push_manifest(one["repository"], one["reference"], manifest)


def _pushed(repository: str, reference: str, manifest: Blob) -> dict[str, str]:
    return {
        "repository": repository,
        "reference": reference,
        "mediaType": manifest.media_type,
        "content": _text(manifest),
    }


def _text(blob: Blob) -> str:
    return base64.b64encode(blob.content).decode()
