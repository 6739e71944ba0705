import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.lab.models import llama
from twodfs.errors import FormatError
from twodfs.field.partition import Selection
from twodfs.models.arrangement import arrange
from twodfs.models.plan import ModelPlan, PlannedCell
from twodfs.models.request import ModelRequest, Split


def selected(plan: ModelPlan, partition: str) -> list[PlannedCell]:
    rectangles = Selection.parse(plan.partitions[partition]).rectangles
    return [cell for cell in plan.cells if any(one.holds(cell.row, cell.col) for one in rectangles)]


def labels(plan: ModelPlan, row: int) -> dict[int, str]:
    return {cell.col: cell.label for cell in plan.cells if cell.row == row}


def sources(cells: list[PlannedCell]) -> Iterator[tuple[str, Any]]:
    for cell in cells:
        for file in cell.files:
            yield file.target, file.source


def index_of(cells: list[PlannedCell], label: str) -> dict[str, Any]:
    found = dict(sources(cells))[f"stages/{label}/model.safetensors.index.json"]
    index: dict[str, Any] = json.loads(found["text"])
    return index


def test_a_model_of_layers_has_a_column_for_each(tmp_path: Path) -> None:
    plan = arrange(ModelRequest(llama(tmp_path / "llama", layers=3), stages=2), row=0)
    assert labels(plan, 0) == {0: "embedding", 1: "layer 0", 2: "layer 1", 3: "layer 2", 4: "head"}
    assert labels(plan, 1) == {0: "small files", 1: "stage 1of2", 2: "stage 2of2", 3: "index of the whole model"}
    assert plan.at == "models/llama"
    assert plan.cells[1].files[0].target == "llama-layer-000.safetensors"
    first = f"{tmp_path}/llama/model-00001-of-00005.safetensors"
    assert plan.cells[0].files[0].source == {"safetensors": [first], "tensors": ["model.embed_tokens.weight"]}
    assert dict(sources([plan.cells[2]]))["llama-layer-001.safetensors"]["tensors"] == ["model.layers.1.*"]
    assert plan.notes == (
        "layers: 3, told by the names model.layers.N",
        "the head uses the embedding's weights: the last stage has them, too",
    )


@pytest.mark.parametrize("stages", [1, 2, 5])
def test_each_stage_has_an_index_of_its_files_and_links_to_them(stages: int, tmp_path: Path) -> None:
    root = llama(tmp_path / "llama", layers=3)
    plan = arrange(ModelRequest(root, stages=stages), row=0)
    whole = json.loads((root / "model.safetensors.index.json").read_text())
    seen: set[str] = set()
    for at in range(1, stages + 1):
        label = f"{at}of{stages}"
        cells = selected(plan, f"stage{label}")
        files = {target: source for target, source in sources(cells) if target.endswith(".safetensors")}
        weights = {target for target in files if "/" not in target}
        index = index_of(cells, label)
        assert set(index["weight_map"].values()) == weights
        links = {
            f"stages/{label}/{name}": {"link": f"../../{name}"} for name in [*weights, "config.json", "tokenizer.json"]
        }
        assert {target: source for target, source in sources(cells) if target in links} == links
        assert index["metadata"]["total_size"] == sum(
            file.size for cell in cells for file in cell.files if file.target in weights
        )
        assert ("model.embed_tokens.weight" in index["weight_map"]) == (at in (1, stages))
        assert {"config.json", "tokenizer.json"} < {target for target, _ in sources(cells)}
        assert "model.safetensors.index.json" not in {target for target, _ in sources(cells)}
        seen |= set(index["weight_map"])
    assert seen == set(whole["weight_map"])
    assert (
        json.loads(dict(sources(list(plan.cells)))["model.safetensors.index.json"]["text"])["metadata"]
        == whole["metadata"]
    )


def test_without_stages_there_are_no_partitions(tmp_path: Path) -> None:
    plan = arrange(ModelRequest(llama(tmp_path / "llama", layers=2)), row=0)
    assert (plan.partitions, labels(plan, 1)) == ({}, {0: "small files", 1: "index of the whole model"})


def test_a_model_begins_at_its_row(tmp_path: Path) -> None:
    plan = arrange(ModelRequest(llama(tmp_path / "Llama 3", layers=2), stages=1), row=7, named=True)
    assert {cell.row for cell in plan.cells} == {7, 8}
    assert plan.partitions == {"llama-3-stage1of1": "7.0.7.3--8.0.8.0--8.1.8.1"}
    assert plan.next_row == 9


def test_files_may_be_cells(tmp_path: Path) -> None:
    root = llama(tmp_path / "llama", layers=3)
    plan = arrange(ModelRequest(root, split=Split.FILES, stages=2), row=0)
    assert list(labels(plan, 0).values()) == [f"model-{at:05}-of-00005.safetensors" for at in range(1, 6)]
    assert plan.cells[0].files[0].source == f"{root}/model-00001-of-00005.safetensors"
    assert plan.cells[-1].files[0].source == f"{root}/model.safetensors.index.json"
    indexes = [index_of(selected(plan, f"stage{label}"), label)["weight_map"] for label in ("1of2", "2of2")]
    assert indexes[0] | indexes[1] == json.loads((root / "model.safetensors.index.json").read_text())["weight_map"]
    assert not indexes[0].keys() & indexes[1].keys()


def test_files_are_put_together_up_to_a_size(tmp_path: Path) -> None:
    for at, size in enumerate((4, 5, 1, 9, 10, 1)):
        (tmp_path / f"{at}.gguf").write_bytes(bytes(size))
    plan = arrange(ModelRequest(tmp_path, split=10), row=0)
    assert list(labels(plan, 0).values()) == ["0.gguf to 2.gguf", "3.gguf", "4.gguf", "5.gguf"]
    with pytest.raises(FormatError, match=r"3.gguf has 9 B, more than the 8 B of the split; 'gguf-split"):
        arrange(ModelRequest(tmp_path, split=8), row=0)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("a.gguf", "'gguf-split --split-max-size' cuts"),
        ("a.onnx", "external data in several files"),
        ("a.pt", "save the model in smaller files"),
    ],
)
def test_a_cell_that_is_too_big_is_an_error_that_names_a_remedy(name: str, advice: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(bytes(1002))
    assert arrange(ModelRequest(tmp_path, max_layer=1002), row=0)
    with pytest.raises(
        FormatError, match=rf"row 0, column 0 \({name}\) would have 1 kB, more than the 1 kB .*{advice}"
    ):
        arrange(ModelRequest(tmp_path, max_layer=1001), row=0)


def test_layers_are_the_remedy_for_big_safetensors(tmp_path: Path) -> None:
    root = llama(tmp_path / "llama", layers=8, shards=1)
    with pytest.raises(FormatError, match="the split 'layers' makes a cell of each layer"):
        arrange(ModelRequest(root, split=Split.FILES, max_layer=50_000), row=0)
    assert arrange(ModelRequest(root, split=Split.LAYERS, max_layer=50_000), row=0)


def test_stages_of_files_that_no_index_names_are_not_for_every_program(tmp_path: Path) -> None:
    for name in ("model-00001-of-00002.gguf", "model-00002-of-00002.gguf"):
        (tmp_path / name).write_bytes(b"1")
    asked = ModelRequest(tmp_path, stages=2)
    assert arrange(asked, row=0).notes == (
        "a stage has some of the files: programs that open all of them together want 'all'",
    )
    assert arrange(replace(asked, stages=0), row=0).notes == ()


def test_a_sharded_state_has_a_column_for_each_rank(tmp_path: Path) -> None:
    for rank, parts in enumerate((2, 1, 2)):
        for part in range(parts):
            (tmp_path / f"model-rank-{rank}-part-{part}.safetensors").write_bytes(bytes(9))
    (tmp_path / "config.json").write_text("{}")
    plan = arrange(ModelRequest(tmp_path, stages=3), row=1)
    assert [(cell.row, cell.col) for cell in plan.cells] == [(1, 0), (1, 1), (1, 2), (2, 0), (2, 2), (3, 0)]
    assert plan.partitions["stage2of3"] == "1.1.2.1--3.0.3.0"
    assert plan.notes == ("ranks: 3, a column each",)


def test_weights_in_another_format_are_for_all_alone(tmp_path: Path) -> None:
    root = llama(tmp_path / "llama", layers=2)
    (root / "pytorch_model.bin").write_bytes(b"1")
    (root / "consolidated.safetensors").write_bytes(b"damaged, and not looked at")
    plan = arrange(ModelRequest(root, stages=2), row=0)
    assert labels(plan, 2) == {0: "consolidated.safetensors", 1: "pytorch_model.bin"}
    assert not [one for name in plan.partitions for one in selected(plan, name) if one.row == 2]
    assert plan.notes[-1] == "no part of the model, and for 'all' alone: consolidated.safetensors and 1 more"


def test_layers_are_asked_of_one_model_in_safetensors(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"1")
    asked = ModelRequest(tmp_path, split=Split.LAYERS)
    with pytest.raises(FormatError, match="does not hold one model in safetensors files"):
        arrange(asked, row=0)
    for name in ("a", "b"):
        save_file({"h.0.w": np.zeros(1)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(FormatError, match="does not hold one model in safetensors files"):
        arrange(asked, row=0)
    assert len(arrange(replace(asked, split=None), row=0).cells) == 3
    (tmp_path / "b.safetensors").unlink()
    save_file({"stage1.w": np.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(FormatError, match=re.escape("shows a layer; a pattern tells how, as 'stage(\\d+)\\.'")):
        arrange(asked, row=0)
    pattern = re.compile(r"stage(\d+)\.")
    assert labels(arrange(replace(asked, pattern=pattern), row=0), 0)[1] == "layer 1"


def test_more_stages_than_columns_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="9 stages need at least as many columns, and there are 4"):
        arrange(ModelRequest(llama(tmp_path / "llama", layers=2), stages=9), row=0)


def test_patterns_stand_for_names_where_they_match_no_other(tmp_path: Path) -> None:
    names = ["enc.a", "enc.b", "enc.layers.0.[x]", "enc.layers.0.y", "enc.layers.1.x", "enc.layers.10.x", "norm.w"]
    save_file({name: np.zeros(1) for name in names}, tmp_path / "model.safetensors")
    cells = arrange(ModelRequest(tmp_path), row=0).cells
    assert [source["tensors"] for target, source in sources(list(cells)) if target.endswith(".safetensors")] == [
        ["enc.a", "enc.b"],  # "enc.*" would be all but the last
        ["enc.layers.0.*"],
        ["enc.layers.1.x"],
        ["enc.layers.10.x"],
        ["norm.w"],
    ]


@pytest.mark.parametrize(
    ("file", "index"),
    [
        ("model.safetensors", "model.safetensors.index.json"),
        ("diffusion_pytorch_model-00001-of-00001.safetensors", "diffusion_pytorch_model.safetensors.index.json"),
    ],
)
def test_an_index_has_the_name_that_loaders_of_the_file_look_for(file: str, index: str, tmp_path: Path) -> None:
    save_file({"h.0.w": np.zeros(1), "h.1.w": np.zeros(1)}, tmp_path / file)
    targets = {target for target, _ in sources(list(arrange(ModelRequest(tmp_path, stages=2), row=0).cells))}
    assert {index, f"stages/1of2/{index}", f"stages/2of2/{index}"} < targets


def test_an_adapter_stays_one_file_unless_layers_are_asked_for(tmp_path: Path) -> None:
    save_file({"base.layers.0.w": np.zeros(1)}, tmp_path / "adapter_model.safetensors")
    assert labels(arrange(ModelRequest(tmp_path), row=0), 0) == {0: "adapter_model.safetensors"}
    assert labels(arrange(ModelRequest(tmp_path, split=Split.LAYERS), row=0), 0) == {1: "layer 0"}
