"""What was published is compared with the model, over a real registry."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from benchmarks.evaluation.contenders.published import Published, WrongContentError
from benchmarks.models import Model, Noise, make_model
from tests.lab.images import push_image
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient

Push = Callable[[Sequence[str]], Published]


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return make_model("MobileNetV2", tmp_path / "model", Noise(seed=1), splits=2, scale=0.001)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry.start(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture
def client(registry: Registry) -> Iterator[RegistryClient]:
    with RegistryClient(registry.url) as client:
        yield client


@pytest.fixture
def pushed(registry: Registry, client: RegistryClient, model: Model) -> Push:
    """Return what pushes an image with a layer for each of the files."""

    def push(files: Sequence[str]) -> Published:
        layers = [{f"model/{file}": (model.directory / file).read_bytes()} for file in files]
        push_image(registry.url, "whole", "v1", base=layers)
        return Published(client, "whole")

    return push


def test_an_image_with_all_files_is_right_and_its_layers_are_known(pushed: Push, model: Model) -> None:
    published = pushed(model.files)
    published.check_image(model, model.files)
    assert len(published.layers()) == 2


def test_a_file_that_is_missing_is_noticed(pushed: Push, model: Model) -> None:
    published = pushed(model.files[:1])
    with pytest.raises(WrongContentError, match=model.files[1]):
        published.check_image(model, model.files)


def test_a_file_with_other_content_is_noticed(pushed: Push, model: Model) -> None:
    published = pushed(model.files)
    model.change(1, Noise(seed=2), top_down=False)
    published.check_image(model, model.files[:1])
    with pytest.raises(WrongContentError, match=model.files[1]):
        published.check_image(model, model.files)


def test_an_image_is_no_artifact_of_files(pushed: Push, model: Model) -> None:
    with pytest.raises(WrongContentError):
        pushed(model.files).check_artifact(model)


def test_what_is_not_there_is_wrong(client: RegistryClient) -> None:
    with pytest.raises(WrongContentError, match="404"):
        Published(client, "nothing").layers()
