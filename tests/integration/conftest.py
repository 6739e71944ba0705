"""The proxy in front of the session's stock registry, and a place to build images in."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.blob_wire import Crews, Relay
from tests.lab.conversation import Conversation, Exchange, whole_api
from tests.lab.engines import Containerd, DockerEngine
from tests.lab.peers import require
from tests.lab.proxy import Proxy
from tests.lab.redis import Redis
from tests.lab.registries import Registries, push_model, three_registries
from tests.lab.registry import Registry
from tests.lab.workshop import Workshop, write_model


@pytest.fixture(scope="session")
def proxy(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """One proxy for all tests that only pull; it has no Redis."""
    with Proxy.start(tmp_path_factory.mktemp("proxy"), registry.url) as started:
        yield started


@pytest.fixture(scope="session")
def registries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registries]:
    """Three registries for all tests that only pull; each has another image as library/model:v1."""
    require("docker-registry")
    with three_registries(tmp_path_factory.mktemp("three"), push_model) as started:
        yield started


@pytest.fixture(scope="session")
def straight_conversation(tmp_path_factory: pytest.TempPathFactory) -> list[Exchange]:
    """The whole API spoken with a fresh registry."""
    require("docker-registry")
    with Registry.start(tmp_path_factory.mktemp("direct")) as registry:
        talk = Conversation(registry.address)
        whole_api(talk)
    return talk.exchanges


@pytest.fixture(params=["docker_engine", "containerd_engine"])
def engine(request: pytest.FixtureRequest) -> DockerEngine | Containerd:
    """The engines that have a daemon, one after the other."""
    started: DockerEngine | Containerd = request.getfixturevalue(request.param)
    return started


@pytest.fixture
def workshop(tmp_path: Path, registry: Registry) -> Workshop:
    write_model(tmp_path / "model")
    return Workshop(tmp_path / "model", tmp_path / "store", registry)


@pytest.fixture(scope="session")
def crews(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crews]:
    directory = tmp_path_factory.mktemp("crews")
    with Redis.start(directory) as redis, Crews(directory, redis.url) as started:
        yield started


@pytest.fixture(params=["auto", "buffered", "tls", "auto, workers", "buffered, workers"])
def relay(request: pytest.FixtureRequest) -> Relay:
    """Every way in which bodies pass, in this process and in two workers."""
    setting, _, more = request.param.partition(", ")
    if setting == "tls":
        return Relay("tls", is_tls=True)
    return Relay(request.param, setting, crews=request.getfixturevalue("crews") if more else None)
