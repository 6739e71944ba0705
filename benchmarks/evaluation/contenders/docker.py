"""Docker images with a layer for each split: ``docker build`` and ``docker push``, to a daemon that is warm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.evaluation.contenders.builder import PATIENCE
from benchmarks.models import Model
from tests.lab import command
from tests.lab.todays_docker import TodaysDocker
from tests.lab.todays_root import LAB, TodaysRoot

_ENVIRONMENT: Final = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
}


class Docker:
    """Docker Engine of Debian's newest release, with BuildKit, as that release sets it up."""

    def __init__(self, root: TodaysRoot, daemon: TodaysDocker) -> None:
        self._root = root
        self._daemon = daemon
        self.servers = (daemon.server.pid,)

    @classmethod
    @contextmanager
    def start(cls, directory: Path) -> Iterator[Docker]:
        """Run a daemon that builds what lies below ``directory``, and keeps its store there."""
        with TodaysRoot.enter(directory) as root:
            yield cls(root, TodaysDocker.start(root, "classic"))

    @property
    def version(self) -> str:
        """Versions of the daemon and of the client's builder."""
        engine = self.run("version", "--format", "{{.Server.Version}}").strip()
        return f"Docker {engine}, buildx {self.run('buildx', 'version').split()[1]}"

    def build(self, context: Path, dockerfile: str, reference: str) -> None:
        """Build an image from a Dockerfile in the context."""
        place = f"{LAB}/{context.relative_to(self._root.directory)}"
        self.run("build", "--quiet", "--file", f"{place}/{dockerfile}", "--tag", reference, place)

    def push(self, reference: str) -> None:
        self.run("push", "--quiet", reference)

    def forget(self) -> None:
        """Remove all images and what was built."""
        self.run("system", "prune", "--all", "--force")
        self.run("builder", "prune", "--all", "--force")

    def run(self, *arguments: str) -> str:
        """Return what the client says; raises CommandError."""
        return command.run(self._root.argv(*self._daemon.client, *arguments), _ENVIRONMENT, seconds=PATIENCE)


class DockerImages:
    """The splits, divided evenly over a number of images; one after another, as scripts do it."""

    def __init__(self, docker: Docker, images: int | None) -> None:
        """Build with this daemon; ``images`` None: as many as the model has splits."""
        self._docker = docker
        self._images = images
        self.servers = docker.servers

    @property
    def name(self) -> str:
        if self._images is None:
            return "Docker, an image for each split"
        return "Docker, one image" if self._images == 1 else f"Docker, {self._images} images"

    def build(self, model: Model, repository: str) -> None:
        self._make(model, repository, push=False)

    def publish(self, model: Model, repository: str) -> None:
        self._make(model, repository, push=True)

    def forget(self) -> None:
        self._docker.forget()

    def _make(self, model: Model, repository: str, *, push: bool) -> None:
        for at, files in enumerate(divided(model.files, self._images or len(model.files))):
            dockerfile = f"image-{at:03}.Dockerfile"
            (model.directory / dockerfile).write_text(dockerfile_of(model.base, files))
            reference = f"{repository}/image-{at:03}:v1"
            self._docker.build(model.directory, dockerfile, reference)
            if push:
                self._docker.push(reference)


def dockerfile_of(base: str, files: Sequence[str]) -> str:
    """Return a Dockerfile that copies each file into a layer of its own."""
    return "".join((f"FROM {base}\n", *(f"COPY {file} /model/{file}\n" for file in files)))


def divided(files: Sequence[str], parts: int) -> Iterator[Sequence[str]]:
    """Yield so many runs of consecutive files, which differ by one file at most."""
    for at in range(parts):
        yield files[len(files) * at // parts : len(files) * (at + 1) // parts]
