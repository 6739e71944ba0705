"""A private containerd, driven by `ctr`."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import command
from tests.lab.engines.engine import Lifetime, pull
from tests.lab.mounts import runtime_directory, unmount_below
from tests.lab.process import Launch, Server, listens
from tests.lab.programs import environment, program
from tests.lab.rootfs import read_tree

# cri wants a network; opt would make a folder in /opt.
_CONFIG = """\
version = 2
root = "{directory}/root"
state = "{runtime}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
address = "{runtime}/containerd.sock"
[ttrpc]
address = "{runtime}/containerd.sock.ttrpc"
"""


class Containerd(Lifetime):
    """`with Containerd.start(directory) as containerd: ...`.

    Its snapshots are overlays, the only kind that `ctr images mount` knows: the directory must not be on one.
    """

    name = "containerd"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._environment = environment()
        self._credentials: dict[str, str] = {}
        self._platforms: dict[str, tuple[str, ...]] = {}
        self.runtime = self._cleanup.enter_context(runtime_directory())
        self._daemon = Server(_launch(directory, self.runtime))
        self._client = (program("ctr"), "--address", str(self.runtime / "containerd.sock"))

    def _open(self) -> None:
        self._cleanup.callback(unmount_below, self._directory)
        self._cleanup.enter_context(self._daemon).launch()
        self._cleanup.callback(self._remove_containers)

    def login(self, address: str, user: str, password: str) -> None:
        self._credentials[address] = f"{user}:{password}"

    def pull(self, reference: str, platform: str | None = None) -> None:
        # ctr remembers no platform: what mounts or runs a foreign image must name it again.
        choice = ("--platform", platform) if platform else ()
        credentials = self._credentials.get(reference.partition("/")[0])
        user = ("--user", credentials) if credentials else ()
        argv = (*self._client, "images", "pull", "--plain-http", *choice, *user, reference)
        pull(self.name, reference, argv, self._environment)
        self._platforms[reference] = choice

    def pull_by_hosts(self, reference: str, hosts: Path) -> None:
        """Pull as the directory of `hosts.toml` files says, which may name mirrors."""
        argv = (*self._client, "images", "pull", "--hosts-dir", str(hosts), reference)
        pull(self.name, reference, argv, self._environment)
        self._platforms[reference] = ()

    def files(self, reference: str) -> dict[str, bytes]:
        """Mount the snapshot that containerd unpacked and read it."""
        with self._mounted(reference) as place:
            return read_tree(place)

    def copy_out(self, reference: str, path: str, place: Path) -> None:
        """Copy a directory of the pulled image, links and all, to `place`, which is made."""
        with self._mounted(reference) as root:
            shutil.copytree(root / path.lstrip("/"), place, symlinks=True)

    @contextmanager
    def _mounted(self, reference: str) -> Iterator[Path]:
        place = self._directory / uuid.uuid4().hex
        place.mkdir()
        self._run("images", "mount", *self._platforms[reference], reference, str(place))
        try:
            yield place
        finally:
            unmount_below(place)
            self._run("snapshots", "rm", str(place))

    def run(self, reference: str, *argv: str) -> str:
        own = ("--runc-root", str(self.runtime / "runc"), "--fifo-dir", str(self.runtime / "fifo"))
        name = uuid.uuid4().hex
        return self._run("run", "--rm", *own, *self._platforms[reference], reference, name, *argv)

    def remove(self, reference: str) -> None:
        self._run("images", "rm", "--sync", reference)
        del self._platforms[reference]

    def _remove_containers(self) -> None:
        # An interrupted `ctr run` leaves its container behind, and containers outlive containerd.
        for task in self._run("tasks", "ls", "--quiet").split():
            self._run("tasks", "rm", "--force", task)
        for container in self._run("containers", "ls", "--quiet").split():
            self._run("containers", "rm", container)

    def _run(self, *arguments: str) -> str:
        return command.run((*self._client, *arguments), self._environment)


def _launch(directory: Path, runtime: Path) -> Launch:
    config = directory / "config.toml"
    config.write_text(_CONFIG.format(directory=directory, runtime=runtime))
    return Launch(
        argv=(program("containerd"), "--config", str(config)),
        log=directory / "containerd.log",
        ready=listens(runtime / "containerd.sock"),
        environment=environment(),
        directory=directory,
    )
