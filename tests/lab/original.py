"""The image of the original builder, in a registry."""

import json
from pathlib import Path

from tests.lab.documents import OCI
from tests.lab.layers import Blob
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient

FIXTURE = Path(__file__).parents[1] / "fixtures" / "original-2dfs" / "oci-layout"


def push_original(registry: Registry, repository: str) -> None:
    """Push the original builder's image: its blobs, then its manifests, children first."""
    root = json.loads((FIXTURE / "index.json").read_bytes())["manifests"][0]["digest"]
    contents = {f"sha256:{one.name}": one.read_bytes() for one in (FIXTURE / "blobs/sha256").iterdir()}
    children = [one["digest"] for one in json.loads(contents[root])["manifests"]]
    with RegistryClient(registry.url) as client:
        for digest, content in contents.items():
            if digest not in (root, *children):
                client.push_blob(repository, Blob(content, ""))
        for digest in children:
            client.push_manifest(repository, digest, Blob(contents[digest], OCI.manifest))
        client.push_manifest(repository, "v1", Blob(contents[root], OCI.index))
