import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.lab.models import llama
from twodfs.errors import FormatError
from twodfs.models.directory import ModelDirectory
from twodfs.models.tensors import find_tensors, read_config, write_index

INDEX = "model.safetensors.index.json"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return llama(tmp_path / "llama", layers=2, shards=2)


def changed(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def problem(model: Path) -> str:
    with pytest.raises(FormatError) as refused:
        find_tensors(ModelDirectory.look_at(model))
    return str(refused.value)


def test_an_index_and_its_files_agree(model: Path) -> None:
    found = find_tensors(ModelDirectory.look_at(model))
    assert found is not None
    assert found.places.keys() == json.loads((model / INDEX).read_text())["weight_map"].keys()
    assert [one.name for one in found.files] == [f"model-0000{at}-of-00002.safetensors" for at in (1, 2)]


@pytest.mark.parametrize("name", ["../llama/model-00001-of-00002.safetensors", "/etc/passwd", "..", "a\\b", ""])
def test_an_index_names_files_beside_it_alone(name: str, model: Path) -> None:
    changed(model / INDEX, weight_map={"w": name})
    assert problem(model) == f"{model / INDEX}: {name!r} is no name of a file beside the index in 'weight_map.w'"


def test_a_missing_file_is_named(model: Path) -> None:
    (model / "model-00002-of-00002.safetensors").unlink()
    assert problem(model).endswith("names the file 'model-00002-of-00002.safetensors', which is not beside it")
    (model / INDEX).unlink()
    assert problem(model) == "'model-*-of-00002.safetensors' are 2 files, and 1 are there"


def test_an_index_that_says_another_thing_than_the_files_is_refused(model: Path) -> None:
    weight_map = json.loads((model / INDEX).read_text())["weight_map"]
    changed(model / INDEX, weight_map={**weight_map, "more": "model-00001-of-00002.safetensors"})
    assert "says that model-00001-of-00002.safetensors holds the tensor 'more', and it does not" in problem(model)
    del weight_map["model.norm.weight"]
    changed(model / INDEX, weight_map=weight_map)
    assert re.search(
        r"00002-of-00002.safetensors holds the tensor 'model.norm.weight', which .* does not", problem(model)
    )


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("{", "not JSON"),
        ('{"weight_map": 1}', "expected an object, found int in 'weight_map'"),
        ('{"weight_map": {"a": 1}}', "expected a string, found int in 'weight_map.a'"),
        ('{"weight_map": {"a": "b", "a": "b"}}', "the same key twice"),
    ],
)
def test_a_malformed_index_is_refused(text: str, mistake: str, model: Path) -> None:
    (model / INDEX).write_text(text)
    assert problem(model).startswith(f"{model / INDEX}: ")
    assert mistake in problem(model)


def test_a_tensor_in_two_files_is_refused(model: Path) -> None:
    (model / INDEX).unlink()
    save_file({"model.norm.weight": np.zeros(1)}, model / "model-00001-of-00002.safetensors")
    assert re.search(r"both .*00001-of.* and .*00002-of.* hold the tensor 'model.norm.weight'", problem(model))


def test_several_models_are_not_one(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_file({"w": np.zeros(1)}, tmp_path / f"{name}.safetensors")
    assert find_tensors(ModelDirectory.look_at(tmp_path)) is None


def test_an_index_is_written_as_loaders_read_it() -> None:
    index = json.loads(write_index({"f": {"b": 2, "a": 1}, "g": {"c": 4}}))
    assert index == {"metadata": {"total_size": 7}, "weight_map": {"a": "f", "b": "f", "c": "g"}}


def test_a_config_may_have_what_python_writes(model: Path) -> None:
    (model / "config.json").write_text('{"a": NaN}')
    assert list(read_config(ModelDirectory.look_at(model))) == ["a"]
    for text, mistake in (("[]", "expected an object"), ("{", "is not JSON"), ("[" * 10**5, "is not JSON")):
        (model / "config.json").write_text(text)
        with pytest.raises(FormatError, match=mistake):
            read_config(ModelDirectory.look_at(model))
