"""Peers as pytest fixtures; `tests/conftest.py` loads them for every test."""

from collections.abc import Iterator

import pytest

from tests.lab.engines import Containerd, DockerEngine, Podman, Skopeo
from tests.lab.peers import require
from tests.lab.redis import Redis
from tests.lab.registry import Registry


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """One stock registry for all tests: each pushes to repositories of its own."""
    require("docker-registry")
    with Registry.start(tmp_path_factory.mktemp("registry")) as started:
        yield started


@pytest.fixture
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A Redis for this test alone, which may do to it what it likes."""
    require("redis-server")
    with Redis.start(tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest.fixture(scope="session")
def docker_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerEngine]:
    require("dockerd", "docker", "containerd", "runc")
    with DockerEngine.start(tmp_path_factory.mktemp("docker")) as started:
        yield started


@pytest.fixture(scope="session")
def containerd_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    require("containerd", "ctr", "runc")
    with Containerd.start(tmp_path_factory.mktemp("containerd")) as started:
        yield started


@pytest.fixture(scope="session")
def podman_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    require("podman", "runc")
    with Podman.start(tmp_path_factory.mktemp("podman")) as started:
        yield started


@pytest.fixture(scope="session")
def skopeo_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Skopeo]:
    require("skopeo")
    with Skopeo.start(tmp_path_factory.mktemp("skopeo")) as started:
        yield started
