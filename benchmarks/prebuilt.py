"""Images made beforehand: the documents of a partition, which a proxy cuts, pushed to the registry itself."""

from __future__ import annotations

import http.client
import json
from urllib.parse import urlencode

from tests.lab.layers import Blob
from tests.lab.registry_client import RegistryClient, RegistryError


def prebuild(proxy_url: str, registry_url: str, repository: str, tag: str, *, to: str, under: str) -> None:
    """Push what the proxy answers for a partition's tag to the repository ``to``, under a tag of its own.

    Layers are mounted, so that both are the same blobs in the registry. Raises RegistryError.
    """
    with RegistryClient(proxy_url) as cut, RegistryClient(registry_url) as stock:
        answer = cut.get_manifest(repository, tag)
        if answer.status != http.client.OK:
            raise RegistryError(f"{repository}:{tag}: {answer.status}: {answer.body.decode(errors='replace')}")
        index = Blob(answer.body, answer.headers["content-type"])
        for entry in json.loads(index.content)["manifests"]:
            manifest = Blob(cut.get_manifest(repository, entry["digest"]).body, entry["mediaType"])
            document = json.loads(manifest.content)
            config = document["config"]
            body = cut.request("GET", f"/v2/{repository}/blobs/{config['digest']}").body
            stock.push_blob(to, Blob(body, config["mediaType"]))
            if to != repository:
                for layer in document["layers"]:
                    _mount(stock, layer["digest"], repository, to)
            stock.push_manifest(to, entry["digest"], manifest)
        stock.push_manifest(to, under, index)


def _mount(stock: RegistryClient, digest: str, source: str, target: str) -> None:
    query = urlencode({"mount": digest, "from": source})
    answer = stock.request("POST", f"/v2/{target}/blobs/uploads/?{query}", body=b"")
    if answer.status != http.client.CREATED:
        raise RegistryError(f"{target}: {digest} was not mounted from {source}: {answer.status}")
