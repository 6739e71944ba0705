"""Today's engines: daemons are started when they are first asked for."""

import functools
from typing import Final

from tests.lab.process import listens
from tests.lab.todays_docker import Store, TodaysDocker
from tests.lab.todays_root import LAB, TodaysRoot

# cri wants a network, and opt a folder in /opt. Each namespace fetches its content itself.
_CONTAINERD: Final = f"""\
version = 3
root = "{LAB}/containerd"
state = "/run/containerd-own"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", \
"io.containerd.cri.v1.runtime", "io.containerd.internal.v1.opt"]
[grpc]
address = "/run/containerd-own/containerd.sock"
[ttrpc]
address = "/run/containerd-own/containerd.sock.ttrpc"
[plugins."io.containerd.metadata.v1.bolt"]
content_sharing_policy = "isolated"
"""
# Podman's own runtime refuses hosts with both cgroup versions.
_PODMAN: Final = (
    *("podman", "--root", f"{LAB}/podman", "--runroot", "/run/podman-own", "--runtime", "runc"),
    *("--cgroup-manager", "cgroupfs", "--events-backend", "none"),
)
_BUILDAH: Final = (
    *("buildah", "--root", f"{LAB}/buildah", "--runroot", "/run/buildah-own", "--storage-driver", "vfs"),
)


class Engines:
    """Returns the start of an engine's command lines."""

    podman = _PODMAN
    buildah = _BUILDAH

    def __init__(self, root: TodaysRoot) -> None:
        self._root = root
        self.docker = functools.cache(self._docker)
        self.containerd = functools.cache(self._containerd)

    def _docker(self, store: Store) -> tuple[str, ...]:
        return TodaysDocker.start(self._root, store).client

    def _containerd(self, namespace: str) -> tuple[str, ...]:
        return (*self._ctr, "--namespace", namespace)

    @functools.cached_property
    def _ctr(self) -> tuple[str, ...]:
        (self._root.directory / "containerd.toml").write_text(_CONTAINERD)
        socket = "/run/containerd-own/containerd.sock"
        self._root.daemon(
            *("containerd", "--config", f"{LAB}/containerd.toml"),
            log="containerd.log",
            ready=listens(self._root.seen(socket)),
        )
        return ("ctr", "--address", socket)
