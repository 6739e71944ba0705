"""An image or artifact in a registry: its layers, and whether they hold the model that it was made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

from benchmarks.models import Model
from tests.lab.registry_client import RegistryClient
from tests.lab.rootfs import apply_layers

_TITLE: Final = "org.opencontainers.image.title"


class WrongContentError(Exception):
    """What was published is not the model: a figure about it would say nothing."""


class Published:
    """An image or artifact under a tag."""

    def __init__(self, client: RegistryClient, repository: str, tag: str = "v1") -> None:
        """Ask ``client`` for ``repository:tag`` whenever something of it is asked for."""
        self._client = client
        self._repository = repository
        self._tag = tag

    def manifests(self) -> tuple[dict[str, Any], ...]:
        """Return the manifest, or those that an index lists, in its order; raises ``WrongContentError``."""
        document = self._document(self._tag)
        if "manifests" not in document:
            return (document,)
        return tuple(self._document(entry["digest"]) for entry in document["manifests"])

    def layers(self) -> frozenset[str]:
        """Return the digests of all layers, those of an artifact beside the image included."""
        return frozenset(layer["digest"] for one in self.manifests() for layer in one["layers"])

    def check_image(self, model: Model, files: Iterable[str]) -> None:
        """Raise ``WrongContentError`` where the image does not have these files of the model in ``/model``."""
        manifest = self.manifests()[0]
        contents = [self._blob(layer["digest"]) for layer in manifest["layers"]]
        if len(json.loads(self._blob(manifest["config"]["digest"]))["rootfs"]["diff_ids"]) != len(contents):
            raise WrongContentError(f"{self}: its config does not name as many layers")
        found = apply_layers(contents)
        for file in files:
            if found.get(f"model/{file}") != (model.directory / file).read_bytes():
                raise WrongContentError(f"{self}: {file} is not the model's")

    def check_artifact(self, model: Model) -> None:
        """Raise ``WrongContentError`` where the layers are not the files of the model themselves."""
        found = {layer.get("annotations", {}).get(_TITLE): layer["digest"] for layer in self.manifests()[0]["layers"]}
        if found != {file: _digest((model.directory / file).read_bytes()) for file in model.files}:
            raise WrongContentError(f"{self}: its layers are not the model's files")

    def __str__(self) -> str:
        return f"{self._repository}:{self._tag}"

    def _document(self, reference: str) -> dict[str, Any]:
        answer = self._client.get_manifest(self._repository, reference)
        if answer.status != HTTPStatus.OK:
            raise WrongContentError(f"{self}: {reference}: status {answer.status}")
        return dict(json.loads(answer.body))

    def _blob(self, digest: str) -> bytes:
        content = self._client.request("GET", f"/v2/{self._repository}/blobs/{digest}").body
        if _digest(content) != digest:
            raise WrongContentError(f"{self}: {digest} has other content")
        return content


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
