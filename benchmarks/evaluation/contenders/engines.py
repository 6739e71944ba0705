"""Engines that pull, each with an empty store: Docker Engine and containerd of Debian's newest release."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from benchmarks.evaluation.contenders.docker import Docker
from tests.lab.todays_containerd import TodaysContainerd
from tests.lab.todays_root import TodaysRoot


class PullingEngine(Protocol):
    """An engine that pulls and unpacks."""

    @property
    def name(self) -> str:
        """With its version."""

    @property
    def servers(self) -> Sequence[int]:
        """Its processes."""

    def pull(self, reference: str) -> None:
        """Pull HOST:PORT/REPOSITORY:TAG; raises CommandError."""

    def remove(self, reference: str) -> None:
        """Remove the image, with its content and what was unpacked of it."""


class PullingDocker:
    """Docker Engine, which is warm; its client is a process of its own for each pull."""

    def __init__(self, docker: Docker) -> None:
        self._docker = docker
        self.servers = docker.servers
        self.name = f"Docker Engine {_version(docker.run('version', '--format', '{{.Server.Version}}'))}"

    def pull(self, reference: str) -> None:
        self._docker.run("pull", "--quiet", reference)

    def remove(self, reference: str) -> None:
        self._docker.run("rmi", reference)


class PullingContainerd:
    """containerd, which is warm, driven by ``ctr``, a process of its own for each pull."""

    def __init__(self, root: TodaysRoot, daemon: TodaysContainerd) -> None:
        self._root = root
        self._client = daemon.client
        self.servers = (daemon.server.pid,)
        self.name = f"containerd {_version(self._run('version'))}"

    @classmethod
    @contextmanager
    def start(cls, directory: Path) -> Iterator[PullingContainerd]:
        """Run a daemon that keeps its store below ``directory``."""
        with TodaysRoot.enter(directory) as root:
            yield cls(root, TodaysContainerd.start(root))

    def pull(self, reference: str) -> None:
        self._run("images", "pull", "--plain-http", reference)

    def remove(self, reference: str) -> None:
        # It waits until the garbage is collected: content and snapshots.
        self._run("images", "rm", "--sync", reference)

    def _run(self, *arguments: str) -> str:
        return self._root.run(*self._client, *arguments)


def _version(said: str) -> str:
    found = re.search(r"\d+(\.\d+)+", said)
    assert found is not None, said
    return found[0]
