"""Engines that are told of mirrors as their operators tell them: each pulls an image, and says what files it got.

They run in a root that is empty at first, and what one pull has brought is not there for the next.
"""

import json
import uuid
from collections.abc import Mapping
from typing import Final

from tests.lab.cri import Cri
from tests.lab.engines.docker import saved_layers
from tests.lab.engines.engine import add_login, forget_logins
from tests.lab.layouts import layout_files
from tests.lab.namespaces import Namespaces
from tests.lab.process import answers_http, listens
from tests.lab.rootfs import apply_layers, read_tree

Login = tuple[str, str]

_SOCKET: Final = "/run/containerd-own/containerd.sock"
_CONTAINERD: Final = """\
version = {version}
root = "{lab}/containerd"
state = "/run/containerd-own"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
address = "{socket}"
[ttrpc]
address = "{socket}.ttrpc"
[plugins."io.containerd.metadata.v1.bolt"]
content_sharing_policy = "isolated"
[plugins."{images}".registry]
config_path = "{hosts}"
{more}[plugins."{runtime}".cni]
conf_dir = "{lab}/cni"
"""
_CRI: Final = {
    1: {"version": 2, "images": "io.containerd.grpc.v1.cri", "runtime": "io.containerd.grpc.v1.cri"},
    2: {"version": 3, "images": "io.containerd.cri.v1.images", "runtime": "io.containerd.cri.v1.runtime"},
}
"""What containerd's settings call the Kubernetes interface, by the first number of its version."""


class ContainerdClient:
    """containerd, asked by `ctr` and by the Kubernetes interface (CRI)."""

    def __init__(self, root: Namespaces, hosts: str, *, major: int, more: str = "") -> None:
        """Start it.

        Args:
            root: where it runs.
            hosts: the directory of `hosts.toml` files, in the root.
            major: the first number of its version.
            more: tables of its settings, each with its lines, besides those that mirrors take.
        """
        self._root = root
        self._hosts = hosts
        config = root.directory / "containerd.toml"
        config.write_text(_CONTAINERD.format(lab=root.lab, socket=_SOCKET, hosts=hosts, more=more, **_CRI[major]))
        root.daemon(
            *("containerd", "--config", f"{root.lab}/{config.name}"),
            log="containerd.log",
            ready=listens(root.seen(_SOCKET)),
        )
        self.runtime = Cri(root.seen(_SOCKET), root.directory)

    def ctr(
        self, reference: str, login: Login | None = None, *, hosts: str = "", is_local: bool = False
    ) -> dict[str, bytes]:
        """Pull with `ctr images pull`; `is_local`: ctr itself does it, as it always does before containerd 2."""
        namespace = uuid.uuid4().hex
        user = () if login is None else ("--user", ":".join(login))
        local = ("--local",) if is_local else ()
        self._run(namespace, "images", "pull", "--hosts-dir", hosts or self._hosts, *user, *local, reference)
        return self._files(namespace, reference)

    def cri(self, reference: str, login: Login | None = None, *, of: str = "") -> dict[str, bytes]:
        """Pull as a kubelet does; `of` is the address that it says the login is for."""
        self.runtime.pull(reference, login, of=of)
        try:
            return self._files("k8s.io", reference)
        finally:
            self._run("k8s.io", "images", "rm", "--sync", *self._run("k8s.io", "images", "ls", "--quiet").split())

    def _files(self, namespace: str, reference: str) -> dict[str, bytes]:
        place = f"{self._root.lab}/{uuid.uuid4().hex}"
        self._root.run("mkdir", place)
        self._run(namespace, "images", "mount", reference, place)
        try:
            return read_tree(self._root.seen(place))
        finally:
            self._root.run("umount", place)
            self._run(namespace, "snapshots", "rm", place)

    def _run(self, namespace: str, *arguments: str) -> str:
        return self._root.run("ctr", "--address", _SOCKET, "--namespace", namespace, *arguments)


class DockerClient:
    """Docker Engine with one of its stores."""

    def __init__(self, root: Namespaces, settings: dict[str, object]) -> None:
        """Start it with the settings of `daemon.json`."""
        self._root = root
        name = f"docker-{uuid.uuid4().hex[:8]}"
        (root.directory / f"{name}.json").write_text(json.dumps(settings))
        self._own = root.directory / f"{name}-client"
        self._own.mkdir()
        forget_logins(self._own / "config.json")
        socket = f"/run/{name}/docker.sock"
        self._client = ("docker", "--host", f"unix://{socket}")
        root.daemon(
            *("dockerd", "--config-file", f"{root.lab}/{name}.json", "--shutdown-timeout=1"),
            *("--bridge=none", "--iptables=false", "--ip6tables=false"),
            *("--data-root", f"{root.lab}/{name}", "--exec-root", f"/run/{name}/exec"),
            *("--host", f"unix://{socket}", "--pidfile", f"/run/{name}/docker.pid"),
            log=f"{name}.log",
            ready=answers_http(root.seen(socket), "/_ping"),
        )

    def log_in(self, address: str, login: Login) -> None:
        """Use these credentials for a registry from now on."""
        add_login(self._own / "config.json", address, *login)

    def pull(self, reference: str) -> dict[str, bytes]:
        settings = f"{self._root.lab}/{self._own.name}"
        self._root.run(*self._client, "pull", "--quiet", reference, DOCKER_CONFIG=settings)
        name = f"{uuid.uuid4().hex}.tar"
        try:
            self._root.run(*self._client, "save", "--output", f"{self._root.lab}/{name}", reference)
        finally:
            self._root.run(*self._client, "rmi", "--force", reference)
        return apply_layers(saved_layers(self._root.directory / name))


class ContainersClients:
    """Podman, Skopeo and Buildah, which read `registries.conf`."""

    def __init__(self, root: Namespaces, settings: str) -> None:
        """`settings` is the text of `registries.conf`."""
        self._root = root
        for name in ("registries.conf", "auth.json"):
            (root.directory / name).touch()
        root.run("mount", "--bind", f"{root.lab}/registries.conf", "/etc/containers/registries.conf")
        self.set(settings)
        self.log_in({})

    def set(self, settings: str) -> None:
        """Use another `registries.conf` from now on."""
        (self._root.directory / "registries.conf").write_text(settings)

    def log_in(self, logins: Mapping[str, Login]) -> None:
        """Use these credentials, and no others, from now on: by registry, or registry and path."""
        forget_logins(self._root.directory / "auth.json")
        for place, login in logins.items():
            add_login(self._root.directory / "auth.json", place, *login)

    def podman(self, reference: str) -> dict[str, bytes]:
        own = ("--root", f"{self._root.lab}/podman", "--runroot", "/run/podman-own", "--events-backend", "none")
        self._run("podman", *own, "pull", "--quiet", reference)
        try:
            return read_tree(self._root.seen(self._run("podman", *own, "image", "mount", reference).strip()))
        finally:
            self._run("podman", *own, "image", "unmount", reference)
            self._run("podman", *own, "rmi", "--force", reference)

    def skopeo(self, reference: str) -> dict[str, bytes]:
        name = uuid.uuid4().hex
        self._run("skopeo", "copy", "--quiet", f"docker://{reference}", f"oci:{self._root.lab}/{name}:it")
        return layout_files(self._root.directory / name)

    def digest(self, reference: str) -> str:
        """Return what a tag names."""
        return self._run("skopeo", "inspect", "--format", "{{.Digest}}", f"docker://{reference}").strip()

    def buildah(self, reference: str) -> dict[str, bytes]:
        own = ("--root", f"{self._root.lab}/buildah", "--runroot", "/run/buildah-own", "--storage-driver", "vfs")
        container = self._run("buildah", *own, "from", "--quiet", "--pull-always", reference).strip()
        try:
            return read_tree(self._root.seen(self._run("buildah", *own, "mount", container).strip()))
        finally:
            self._run("buildah", *own, "rm", container)
            self._run("buildah", *own, "rmi", "--force", reference)

    def _run(self, *argv: str) -> str:
        return self._root.run(*argv, REGISTRY_AUTH_FILE=f"{self._root.lab}/auth.json")
