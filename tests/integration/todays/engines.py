"""Today's engines: daemons are started when they are first asked for."""

import functools
import json
from typing import Final, Literal

from tests.lab.process import answers_http, listens
from tests.lab.todays_root import LAB, TodaysRoot

Store = Literal["classic", "containerd"]

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
        name = f"docker-{store}"
        settings = self._root.directory / f"{name}.json"
        settings.write_text(json.dumps({"features": {"containerd-snapshotter": store == "containerd"}}))
        runtime = f"/run/{name}"
        self._root.daemon(
            *("dockerd", "--config-file", f"{LAB}/{settings.name}", "--shutdown-timeout=1"),
            *("--bridge=none", "--iptables=false", "--ip6tables=false"),
            *("--data-root", f"{LAB}/{name}", "--exec-root", f"{runtime}/exec"),
            *("--host", f"unix://{runtime}/docker.sock", "--pidfile", f"{runtime}/docker.pid"),
            log=f"{name}.log",
            ready=answers_http(self._root.seen(f"{runtime}/docker.sock"), "/_ping"),
        )
        return ("docker", "--host", f"unix://{runtime}/docker.sock")

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
