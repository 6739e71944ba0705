"""Today's engines: daemons are started when they are first asked for."""

import functools
from typing import Final

from tests.lab.todays_containerd import TodaysContainerd
from tests.lab.todays_docker import Store, TodaysDocker
from tests.lab.todays_root import LAB, TodaysRoot

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
        return TodaysContainerd.start(self._root).client
