"""Today's containerd, with a store of its own below the directory of the root that it runs in."""

from dataclasses import dataclass
from typing import Final, Self

from tests.lab.process import Server, listens
from tests.lab.todays_root import LAB, TodaysRoot

# cri wants a network, and opt a folder in /opt. Each namespace fetches its content itself.
_CONFIG: Final = f"""\
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
_SOCKET: Final = "/run/containerd-own/containerd.sock"


@dataclass(frozen=True, slots=True)
class TodaysContainerd:
    """A daemon that runs, and how its client is called in the root."""

    client: tuple[str, ...]
    server: Server

    @classmethod
    def start(cls, root: TodaysRoot) -> Self:
        """Start a daemon that ends with the root; raises StartError."""
        (root.directory / "containerd.toml").write_text(_CONFIG)
        server = root.daemon(
            *("containerd", "--config", f"{LAB}/containerd.toml"),
            log="containerd.log",
            ready=listens(root.seen(_SOCKET)),
        )
        return cls(("ctr", "--address", _SOCKET), server)
