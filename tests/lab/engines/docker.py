"""A private Docker Engine with its classic image store."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.lab import command
from tests.lab.engines.engine import Lifetime, add_login, forget_logins, pull
from tests.lab.mounts import runtime_directory, unmount_below
from tests.lab.process import Launch, Server, answers_http
from tests.lab.programs import environment, program
from tests.lab.rootfs import apply_layers

_PACKAGED = "/usr/bin/docker"


class DockerEngine(Lifetime):
    """`with DockerEngine.start(directory) as docker: ...`; dockerd brings its own containerd."""

    name = "docker"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._logins = directory / "config.json"
        forget_logins(self._logins)
        self._environment = environment(DOCKER_CONFIG=str(directory))
        runtime = self._cleanup.enter_context(runtime_directory())
        self._daemon = Server(_launch(directory, runtime))
        self.host = f"unix://{runtime}/docker.sock"
        self._client = (program("docker"), "--host", self.host)

    @property
    def pid(self) -> int:
        return self._daemon.pid

    @property
    def version(self) -> str:
        return self._run("version", "--format", "{{.Server.Version}}").strip()

    @property
    def environment(self) -> dict[str, str]:
        """The variables under which `docker` talks to this one."""
        return {**self._environment, "DOCKER_HOST": self._client[2]}

    def _open(self) -> None:
        self._cleanup.callback(unmount_below, self._directory)
        self._cleanup.enter_context(self._daemon).launch()
        self._cleanup.callback(self._remove_containers)

    def login(self, address: str, user: str, password: str) -> None:
        add_login(self._logins, address, user, password)

    def log_in(self, address: str, user: str, password: str) -> None:
        """Run `docker login`, which asks the registry; raises CommandError when it says no."""
        self._run("login", "--username", user, "--password", password, address)

    def log_out(self, address: str) -> None:
        self._run("logout", address)

    def pull(self, reference: str, platform: str | None = None) -> None:
        choice = ("--platform", platform) if platform else ()
        pull(self.name, reference, (*self._client, "pull", *choice, reference), self._environment)

    def files(self, reference: str) -> dict[str, bytes]:
        """Read what `docker save` writes: layers taken from the store's own file systems.

        A container's file system would not do, the engine puts files of its own into it.
        """
        saved = self._directory / "saved.tar"
        try:
            self.save(reference, saved)
            return apply_layers(saved_layers(saved))
        finally:
            saved.unlink(missing_ok=True)

    def copy_out(self, reference: str, path: str, place: Path) -> None:
        """Copy a directory of the pulled image, links and all, to `place`, which is made."""
        container = self._run("create", "--pull", "never", reference, "none").strip()
        try:
            self._run("cp", f"{container}:{path}", str(place))
        finally:
            self._run("rm", container)

    def save(self, reference: str, archive: Path, *more: str) -> None:
        """Write images into an archive with `docker save`."""
        self._run("save", "--output", str(archive), reference, *more)

    def load(self, archive: Path) -> None:
        """Read an archive with `docker load`."""
        self._run("load", "--input", str(archive))

    def run(self, reference: str, *argv: str) -> str:
        return self._run("run", "--rm", "--network", "none", "--pull", "never", reference, *argv)

    def import_root(self, archive: Path, reference: str) -> None:
        """Make an image of one layer out of the tar of a root file system."""
        self._run("import", str(archive), reference)

    def inspect(self, reference: str) -> dict[str, Any]:
        """Return what the engine knows of an image or a container."""
        (known,) = json.loads(self._run("inspect", reference))
        return dict(known)

    def start_container(self, reference: str, *options: str) -> str:
        """Start a container in the machine's own network; returns its id."""
        return self._run("run", "--detach", "--network", "host", "--pull", "never", *options, reference).strip()

    def execute(self, container: str, *argv: str) -> str:
        """Run a command in a running container; returns its standard output."""
        return self._run("exec", container, *argv)

    def stop_container(self, container: str, seconds: int = 10) -> int:
        """Ask a container to end, remove it, and return its exit status."""
        self._run("stop", "--time", str(seconds), container)
        status = int(self.inspect(container)["State"]["ExitCode"])
        self._run("rm", container)
        return status

    def build(self, context: Path, dockerfile: str, reference: str, *more: str) -> None:
        """Build an image with BuildKit, from a Dockerfile in the context; `more` are `docker build`'s own."""
        # Debian's own client has BuildKit built in; newer ones need a plugin for it.
        client = (_PACKAGED if Path(_PACKAGED).exists() else self._client[0], *self._client[1:])
        arguments = (
            "build",
            "--quiet",
            "--file",
            str(context / dockerfile),
            "--tag",
            reference,
            *more,
            str(context),
        )
        command.run((*client, *arguments), {**self._environment, "DOCKER_BUILDKIT": "1"}, seconds=600)

    def tag(self, reference: str, other: str) -> None:
        self._run("tag", reference, other)

    def push(self, reference: str) -> None:
        command.run((*self._client, "push", "--quiet", reference), self._environment, seconds=600)

    def forget(self) -> None:
        """Remove all images and what was built."""
        self._run("system", "prune", "--all", "--force")
        self._run("builder", "prune", "--all", "--force")

    def remove(self, reference: str) -> None:
        self._run("rmi", reference)

    def _run(self, *arguments: str) -> str:
        return command.run((*self._client, *arguments), self._environment)

    def _remove_containers(self) -> None:
        # An interrupted `docker run` leaves its container behind.
        containers = self._run("ps", "--all", "--quiet").split()
        if containers:
            self._run("rm", "--force", *containers)


def _launch(directory: Path, runtime: Path) -> Launch:
    settings = directory / "daemon.json"
    settings.write_text("{}")  # not the machine's own, which may name sockets
    # No --storage-driver: dockerd takes overlay2 where the kernel has it below this directory, vfs where not.
    return Launch(
        argv=(
            *(program("dockerd"), "--config-file", str(settings), "--shutdown-timeout=1"),
            *("--bridge=none", "--iptables=false", "--ip6tables=false"),
            *("--data-root", str(directory / "data"), "--exec-root", str(runtime / "exec")),
            *("--host", f"unix://{runtime}/docker.sock", "--pidfile", str(runtime / "docker.pid")),
        ),
        log=directory / "dockerd.log",
        ready=answers_http(runtime / "docker.sock", "/_ping"),
        environment=environment(),
        directory=directory,
        patience=60,
    )


def saved_layers(saved: Path) -> Iterator[bytes]:
    """Yield the layers in what `docker save` wrote, the lowest first."""
    with tarfile.open(saved) as archive:
        described = archive.extractfile("manifest.json")
        assert described is not None
        for name in json.load(described)[0]["Layers"]:
            layer = archive.extractfile(name)
            assert layer is not None
            yield layer.read()
