"""Today's Docker Engine, with a store of its own below the directory of the root that it runs in."""

import json
from dataclasses import dataclass
from typing import Final, Literal, Self

from tests.lab.process import Server, answers_http
from tests.lab.todays_root import LAB, TodaysRoot

Store = Literal["classic", "containerd"]

_DAEMON: Final = (
    *("dockerd", "--shutdown-timeout=1"),
    *("--bridge=none", "--iptables=false", "--ip6tables=false"),
)


@dataclass(frozen=True, slots=True)
class TodaysDocker:
    """A daemon that runs, and how its client is called in the root."""

    client: tuple[str, ...]
    server: Server
    """Below its process are dockerd, and the containerd that dockerd brings."""

    @classmethod
    def start(cls, root: TodaysRoot, store: Store, *, name: str | None = None) -> Self:
        """Start a daemon that ends with the root; a second one with the same store has another name.

        Raises StartError.
        """
        name = name or f"docker-{store}"
        file = root.directory / f"{name}.json"
        file.write_text(json.dumps({"features": {"containerd-snapshotter": store == "containerd"}}))
        runtime = f"/run/{name}"
        server = root.daemon(
            *(*_DAEMON, "--config-file", f"{LAB}/{file.name}"),
            *("--data-root", f"{LAB}/{name}", "--exec-root", f"{runtime}/exec"),
            *("--host", f"unix://{runtime}/docker.sock", "--pidfile", f"{runtime}/docker.pid"),
            log=f"{name}.log",
            ready=answers_http(root.seen(f"{runtime}/docker.sock"), "/_ping"),
        )
        return cls(("docker", "--host", f"unix://{runtime}/docker.sock"), server)
