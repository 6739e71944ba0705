"""A real engine pushes large layers through the proxy and pulls them back, spliced and buffered."""

import os
from pathlib import Path

import pytest

from tests.lab.engines import DockerEngine
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry

MIB = 2**20


@pytest.mark.parametrize("relay", ["auto", "buffered"])
def test_large_layers_come_back_as_they_were_pushed(
    registry: Registry, docker_engine: DockerEngine, tmp_path: Path, relay: str
) -> None:
    context = tmp_path / "context"
    context.mkdir()
    weights = {f"layer-{number}.bin": os.urandom(number * 4 * MIB + 1) for number in range(4)}
    for name, content in weights.items():
        (context / name).write_bytes(content)
    steps = ["FROM scratch", *(f"COPY {name} /{name}" for name in weights)]
    (context / "Dockerfile").write_text("\n".join(steps))
    environment = {"TWODFS_PROXY_BLOBS_RELAY": relay}
    with Proxy.start(tmp_path, registry.url, environment=environment) as proxy:
        reference = f"{proxy.address}/pushes/{relay}:v1"
        docker_engine.build(context, "Dockerfile", reference)
        docker_engine.push(reference)
        docker_engine.remove(reference)
        docker_engine.forget()
        docker_engine.pull(reference)
        assert docker_engine.files(reference) == weights
        docker_engine.remove(reference)
