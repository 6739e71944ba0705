"""Facts about published models, each tried with the programs that it is about."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus

from benchmarks.evaluation.contenders.builder import Publisher
from benchmarks.evaluation.contenders.docker import Docker
from benchmarks.evaluation.contenders.published import Published, WrongContentError
from benchmarks.models import Model
from tests.lab.command import CommandError
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to publish a model in one image or artifact."""

    publisher: Publisher
    image: str
    """What the image is called below the repository."""
    has_field: bool = False
    """Whether its image has the splits in a field, from which a proxy makes others."""
    is_artifact: bool = False

    @property
    def name(self) -> str:
        return self.publisher.name


@dataclass(frozen=True, slots=True)
class Examination:
    """What examines: a registry, a proxy in front of it, and an engine."""

    registry: Registry
    proxy: Proxy
    docker: Docker

    def check(self, contender: Contender, model: Model, repository: str) -> None:
        """Raise ``WrongContentError`` where what was published is not the model."""
        url, tag = self.registry.url, "v1"
        if contender.has_field:
            url, tag = self.proxy.url, _all_of(model)
        with RegistryClient(url) as client:
            published = Published(client, f"{repository}/{contender.image}", tag)
            if contender.is_artifact:
                published.check_artifact(model)
            else:
                published.check_image(model, model.files)

    def runs(self, contender: Contender, model: Model, repository: str) -> bool:
        """Return whether Docker pulls it, as a partition where it has a field, and a container sees the last split."""
        address, tag = (self.proxy.address, _all_of(model)) if contender.has_field else (self.registry.address, "v1")
        reference = f"{address}/{repository}/{contender.image}:{tag}"
        file = model.files[-1]
        look = ("/bin/busybox", "sha256sum", f"/model/{file}")
        try:
            self.docker.run("pull", "--quiet", reference)
            seen = self.docker.run("run", "--rm", "--network", "none", reference, *look)
        except CommandError:
            return False
        if seen.split()[0] != hashlib.sha256((model.directory / file).read_bytes()).hexdigest():
            raise WrongContentError(f"{reference}: a container sees another {file}")
        return True

    def gives_partitions(self, contender: Contender, repository: str) -> bool:
        """Return whether the proxy makes an image of the first split alone."""
        with RegistryClient(self.proxy.url) as client:
            answer = client.get_manifest(f"{repository}/{contender.image}", "v1--0.0.0.0")
        return answer.status == HTTPStatus.OK

    def shared_layers(self, contender: Contender, model: Model, repository: str, other: str) -> int:
        """Return how many splits are the same blobs in an image of the same files in the opposite order.

        It is built from nothing, as on another machine, and published to the repository ``other``.
        """
        reversed_model = _reversed(model)
        contender.publisher.forget()
        contender.publisher.publish(reversed_model, f"{self.registry.address}/{other}")
        with RegistryClient(self.registry.url) as client:
            first, second = (Published(client, f"{one}/{contender.image}").layers() for one in (repository, other))
            base = Published(client, *model.base.partition("/")[2].rsplit(":", 1)).layers()
        return len((first & second) - base)


def _all_of(model: Model) -> str:
    return f"v1--0.0.0.{len(model.files) - 1}"


def _reversed(model: Model) -> Model:
    """Return the model with its splits, and the allotments of its build file, in the opposite order."""
    files: Sequence[str] = model.files[::-1]
    allotments = [{"src": file, "dst": f"/model/{file}", "row": 0, "col": at} for at, file in enumerate(files)]
    (model.directory / "2dfs.json").write_text(json.dumps({"allotments": allotments}))
    return replace(model, files=tuple(files))
