"""Docker images with a layer for each split: ``docker build`` and ``docker push``, to a daemon that is warm."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from benchmarks.evaluation.contenders.builder import PATIENCE
from benchmarks.models import Model
from tests.lab import command
from tests.lab.engines import DockerEngine
from tests.lab.todays_docker import Store, TodaysDocker
from tests.lab.todays_root import LAB, TodaysRoot

_ENVIRONMENT: Final = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
}


class Daemon(Protocol):
    """A Docker Engine that images are built with."""

    @property
    def servers(self) -> Sequence[int]:
        """Its process, which all others are below."""

    def build(self, context: Path, dockerfile: str, reference: str) -> None:
        """Build an image from a Dockerfile in the context."""

    def push(self, reference: str) -> None:
        """Push an image."""

    def forget(self) -> None:
        """Remove all images and what was built."""


class OlderDocker(DockerEngine):
    """Docker Engine of this machine's own Debian, whose gzip compresses weights."""

    @property
    def servers(self) -> Sequence[int]:
        return (self.pid,)


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
        with cls.start_several(directory, "classic") as (docker,):
            yield docker

    @classmethod
    @contextmanager
    def start_several(cls, directory: Path, *stores: Store) -> Iterator[Sequence[Docker]]:
        """Run a daemon with each of these stores: none finds anything that another has built."""
        with TodaysRoot.enter(directory) as root:
            yield [
                cls(root, TodaysDocker.start(root, store, name=f"docker-{at}-{store}"))
                for at, store in enumerate(stores)
            ]

    @property
    def version(self) -> str:
        """Versions of the daemon and of the client's builder."""
        engine = self.run("version", "--format", "{{.Server.Version}}").strip()
        return f"{engine} with buildx {self.run('buildx', 'version').split()[1]}"

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
    """The splits, divided evenly over a number of images, which are built and pushed one after another."""

    def __init__(self, docker: Daemon, images: int | None) -> None:
        """Build with this daemon; ``images`` None: as many as the model has splits."""
        self._docker = docker
        self._images = images
        self.servers = docker.servers

    @property
    def name(self) -> str:
        if self._images is None:
            return "Docker, image each"
        return "Docker, one image" if self._images == 1 else f"Docker, {self._images} images"

    def build(self, model: Model, repository: str) -> None:
        for at, files in enumerate(self.groups(model)):
            dockerfile = f"image-{at:03}.Dockerfile"
            (model.directory / dockerfile).write_text(dockerfile_of(model.base, files))
            self._docker.build(model.directory, dockerfile, _reference(repository, at))

    def push(self, model: Model, repository: str) -> None:
        for at, _ in enumerate(self.groups(model)):
            self._docker.push(_reference(repository, at))

    def publish(self, model: Model, repository: str) -> None:
        self.build(model, repository)
        self.push(model, repository)

    def forget(self) -> None:
        self._docker.forget()

    def groups(self, model: Model) -> Iterable[Sequence[str]]:
        """Return the files of each image."""
        return divided(model.files, self._images or len(model.files))


class DockerWindows(DockerImages):
    """An image for every run of consecutive splits: each partition of one row that can be asked for."""

    def __init__(self, docker: Daemon) -> None:
        super().__init__(docker, None)

    def groups(self, model: Model) -> Iterable[Sequence[str]]:
        return windows(model.files)


def _reference(repository: str, at: int) -> str:
    return f"{repository}/image-{at:03}:v1"


def dockerfile_of(base: str, files: Sequence[str]) -> str:
    """Return a Dockerfile that copies each file into a layer of its own."""
    return "".join((f"FROM {base}\n", *(f"COPY {file} /model/{file}\n" for file in files)))


def divided(files: Sequence[str], parts: int) -> Iterator[Sequence[str]]:
    """Yield so many runs of consecutive files, which differ by one file at most."""
    for at in range(parts):
        yield files[len(files) * at // parts : len(files) * (at + 1) // parts]


def windows(files: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield every run of consecutive files; those that begin alike follow each other, so that layers are shared."""
    for begin in range(len(files)):
        for end in range(begin + 1, len(files) + 1):
            yield files[begin:end]
