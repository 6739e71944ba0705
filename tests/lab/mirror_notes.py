"""What the chart's notes tell a node to have: the files that they show, as the programs read them."""

import json
import re
import tomllib
from dataclasses import dataclass
from typing import Any, Final, Self

_HOSTS: Final = re.compile(r"/etc/containerd/certs\.d/([^/]+)/hosts\.toml")
_PODMAN: Final = "/etc/containers/registries.conf.d/twodfs-proxy.conf"
_DOCKER: Final = "/etc/docker/daemon.json"


@dataclass(frozen=True, slots=True)
class MirrorNotes:
    """The files of one installation."""

    hosts: dict[str, dict[str, Any]]
    """Content of ``hosts.toml``, by the name that images have for the registry."""
    locations: dict[str, tuple[str, bool]]
    """The mirror of podman and CRI-O by that name, and whether it is marked as insecure."""
    docker: dict[str, Any]
    """``daemon.json``; empty where there is none."""

    @classmethod
    def of(cls, notes: str) -> Self:
        """Return the files in the notes: each is a block that begins with a comment of its path."""
        blocks = dict(re.findall(r"^  # (/etc/\S+)\n((?:  .*\n)*)", notes + "\n", re.MULTILINE))
        hosts = {found[1]: tomllib.loads(text) for path, text in blocks.items() if (found := _HOSTS.fullmatch(path))}
        locations = {}
        for registry in tomllib.loads(blocks[_PODMAN]).get("registry", []):
            assert registry["prefix"] == registry["location"]
            (mirror,) = registry["mirror"]
            locations[registry["prefix"]] = (mirror["location"], mirror.get("insecure", False))
        return cls(hosts, locations, json.loads(blocks.get(_DOCKER, "{}")))
