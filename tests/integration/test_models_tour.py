"""The page on models, gone from its first command to its last; ports and places are the test's own."""

import re
from collections.abc import Iterator
from pathlib import Path

import kubernetes_validate
import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from tests.lab.engines import DockerEngine
from tests.lab.models import hub_cache, llama, write_gguf, write_onnx
from tests.lab.peers import require
from tests.lab.tours import Step, Walked, own_places, steps, walk

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tour is gone: with the models that its readers have themselves."""
    place = tmp_path_factory.mktemp("tour")
    write_gguf(place / "gguf", shards=4)
    write_onnx(place / "onnx")
    hub = place / ".cache" / "huggingface" / "hub"
    hub_cache(hub, llama(place / "small", layers=4)).rename(hub / "models--lab--small")
    (place / "ranks").mkdir()
    for rank, part in ((0, 0), (0, 1), (1, 0), (1, 1)):
        tensors = {f"model.layers.{part}.mlp.weight": np.full((100, 100), rank, np.float32)}
        save_file(tensors, place / "ranks" / f"model-rank-{rank}-part-{part}.safetensors")
    (place / "ranks" / "config.json").write_text("{}")
    return place


@pytest.fixture(scope="module")
def other_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerEngine]:
    with DockerEngine.start(tmp_path_factory.mktemp("docker")) as started:
        yield started


@pytest.fixture(scope="module")
def walked(directory: Path, docker_engine: DockerEngine, other_engine: DockerEngine) -> list[Walked]:
    require("docker-registry", "busybox", "curl")

    def device(step: Step) -> str:
        """Let steps below a heading that names a device, and those behind them, have its Docker."""
        if "first device" in step.section:
            return f"export DOCKER_HOST={docker_engine.host}"
        return f"export DOCKER_HOST={other_engine.host}" if "second device" in step.section else ""

    variables = {**docker_engine.environment, "HOME": str(directory)}
    places = own_places(directory / "registry")
    return walk(steps(PAGE), directory, places=places, variables=variables, before=device)


def test_every_command_does_what_the_page_shows(walked: list[Walked]) -> None:
    assert len(walked) > 30
    failed = [one.step.command for one in walked if one.status != 0]
    assert failed == [one.step.command for one in walked if one.step.shown.lstrip().startswith("twodfs:")]
    told_otherwise = [one for one in walked if one.step.shown and not one.is_as_shown]
    assert not told_otherwise, "\n".join(f"$ {one.step.command}\n{one.printed}" for one in told_otherwise)


def test_pods_are_as_kubernetes_wants_them_and_find_what_they_look_for(walked: list[Walked], directory: Path) -> None:
    assert walked
    (told,) = re.findall(r"`/stage/(models/\S+)/1of2`", PAGE)
    for at in (1, 2):
        pod = yaml.safe_load((directory / f"stage{at}.yaml").read_text())
        kubernetes_validate.validate(pod, "1.36", strict=True)
        (container,) = pod["spec"]["containers"]
        (volume,) = pod["spec"]["volumes"]
        assert container["image"] == "registry.example.org/library/serve:1"
        assert [(one["name"], one["mountPath"], one.get("subPath")) for one in container["volumeMounts"]] == [
            (volume["name"], "/stage", None)
        ]
        assert volume["image"]["reference"] == f"models.example.org/models/tiny:v1--stage{at}of2"
        copied = directory / f"device{at}" / Path(told, f"{at}of2").relative_to("models")
        assert (copied / "model.safetensors.index.json").is_file()
