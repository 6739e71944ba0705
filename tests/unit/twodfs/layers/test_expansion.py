import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.lab.models import llama
from twodfs.errors import FormatError
from twodfs.layers.build_file.file import BuildFile
from twodfs.layers.expansion import expand_models


def parse(directory: Path, **raw: Any) -> BuildFile:
    return BuildFile.parse(orjson.dumps(raw), directory)


def test_models_are_cells_beside_the_written_ones(tmp_path: Path) -> None:
    llama(tmp_path / "llama", layers=2)
    (tmp_path / "a").write_bytes(b"1")
    found = parse(
        tmp_path,
        models=[{"dir": "llama", "stages": 2, "row": 1, "at": "/m"}],
        allotments=[{"src": "a", "dst": "/a", "row": 0, "col": 0}],
        partitions={"a": "0.0.0.0"},
    )
    assert [(one.row, one.col, one.label) for one in found.cells[:2]] == [(0, 0, ""), (1, 0, "embedding")]
    assert [*found.partitions] == ["a", "stage1of2", "stage2of2"]
    assert found.cells[1].copies[0].target == "m/llama-embedding.safetensors"
    whole = parse(tmp_path, models=[{"dir": "llama"}])
    assert (whole.cells[0].label, whole.beyond_original) == ("embedding", None)
    assert found.notes[0] == "llama: layers: 2, told by the names model.layers.N"


def test_several_models_stand_below_each_other_under_their_names(tmp_path: Path) -> None:
    llama(tmp_path / "a", layers=2)
    llama(tmp_path / "b", layers=2)
    models = [{"dir": one, "stages": 1} for one in "ab"]
    found = parse(tmp_path, models=models)
    assert {name: str(one) for name, one in found.partitions.items()} == {
        "a-stage1of1": "0.0.0.3--1.0.1.0--1.1.1.1",
        "b-stage1of1": "2.0.2.3--3.0.3.0--3.1.3.1",
    }
    assert {one.row for one in found.cells} == {0, 1, 2, 3}
    same = [{**one, "name": "x"} for one in models]
    with pytest.raises(
        FormatError, match=r"'x-stage1of1' is another model's as well; give each a name in 'models\[1\]"
    ):
        parse(tmp_path, models=same)


@pytest.mark.parametrize(
    ("raw", "mistake"),
    [
        ({"models": 1}, "expected an array, found int in 'models'"),
        ({"models": []}, "expected an array, found nothing in 'allotments'"),
        ({"models": [{"dir": "none"}]}, "does not exist in 'models[0]'"),
        ({"models": [{"dir": "llama", "stages": "x"}]}, "expected an integer, found str in 'models[0].stages'"),
        ({"models": [{"dir": "llama", "at": "/a/../b"}]}, "climbs with '..'"),
        (
            {"models": [{"dir": "llama", "stages": 1}], "partitions": {"stage1of1": "0.0.0.0"}},
            "'stage1of1' is the name of a model's partition in 'partitions.stage1of1'",
        ),
        (
            {"models": [{"dir": "llama"}], "allotments": [{"src": "llama", "dst": "/x", "row": 0, "col": 1}]},
            "row 0, column 1 is given twice: first in 'allotments[0]', then in 'models[0]'",
        ),
    ],
)
def test_mistakes_are_named(raw: Any, mistake: str, tmp_path: Path) -> None:
    llama(tmp_path / "llama", layers=2)
    with pytest.raises(FormatError, match=re.escape(mistake)):
        parse(tmp_path, **raw)


def test_the_written_build_file_means_the_same(tmp_path: Path) -> None:
    llama(tmp_path / "in [brackets]", layers=2)
    models = [{"dir": "in [brackets]", "stages": 2}]
    written = expand_models(models, tmp_path).as_build_file(tmp_path)
    assert str(tmp_path) not in orjson.dumps(written).decode()
    here, there = parse(tmp_path, models=models), parse(tmp_path, **written)
    assert here.partitions == there.partitions
    for one, other in zip(here.cells, there.cells, strict=True):
        assert [(copy.target, copy.content, copy.link) for copy in one.copies] == [
            (copy.target, copy.content, copy.link) for copy in other.copies
        ]
    elsewhere = expand_models(models, tmp_path).as_build_file(tmp_path / "other")
    assert str(tmp_path) in orjson.dumps(elsewhere).decode()
