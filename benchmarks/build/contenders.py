"""What is measured: each takes a model from its files to an image in the registry that can be pulled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from benchmarks.models import Model
from tests.lab.engines import DockerEngine

_SOURCE = Path(__file__).parents[2]


class Contender(Protocol):
    """A way to build."""

    name: str

    def publish(self, model: Model, repository: str) -> None:
        """Build ``model`` and push it to ``repository``."""

    def forget(self) -> None:
        """Make the next build a cold one."""


class Twodfs:
    """``twodfs build --push``, a process of its own each time."""

    name = "twodfs"

    def __init__(self, directory: Path) -> None:
        self._store = directory / "store"

    def publish(self, model: Model, repository: str) -> None:
        self.run(model, repository, "--push")

    def run(self, model: Model, repository: str, *options: str) -> None:
        argv = [sys.executable, "-m", "twodfs", "build", "scratch", f"{repository}/field:v1", "--quiet"]
        environment = {**os.environ, "TWODFS_STORE": str(self._store), "PYTHONPATH": str(_SOURCE)}
        subprocess.run([*argv, *options], cwd=model.directory, env=environment, check=True, capture_output=True)

    def forget(self) -> None:
        shutil.rmtree(self._store, ignore_errors=True)


class TwodfsUnpushed(Twodfs):
    """``twodfs build`` alone: into the local store."""

    name = "twodfs, no push"

    def publish(self, model: Model, repository: str) -> None:
        self.run(model, repository)


class DockerOneImage:
    """``docker build`` with BuildKit and ``docker push``: all splits in one image, a layer each."""

    name = "docker, one image"

    def __init__(self, engine: DockerEngine) -> None:
        self._engine = engine

    def publish(self, model: Model, repository: str) -> None:
        reference = f"{repository}/whole:v1"
        self._engine.build(model.directory, "Dockerfile", reference)
        self._engine.push(reference)

    def forget(self) -> None:
        self._engine.forget()


class DockerImageEach:
    """``docker build`` with BuildKit and ``docker push``: an image for each split."""

    name = "docker, image each"

    def __init__(self, engine: DockerEngine) -> None:
        self._engine = engine

    def publish(self, model: Model, repository: str) -> None:
        for file in model.files:
            reference = f"{repository}/{file.removesuffix('.bin')}:v1"
            self._engine.build(model.directory, f"{file}.Dockerfile", reference)
            self._engine.push(reference)

    def forget(self) -> None:
        self._engine.forget()
