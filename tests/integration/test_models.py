"""Models of each format, from their directory to a registry, pulled in stages by engines, and opened where they lie."""

import json
import shutil
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import numpy_helper
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from tests.lab.engines import Containerd, DockerEngine
from tests.lab.models import hub_cache, llama, write_gguf, write_onnx, write_safetensors
from tests.lab.proxy import Proxy
from tests.lab.workshop import Workshop

STAGES = [f"{at}of4" for at in range(1, 5)]
INDEX = "model.safetensors.index.json"


def pulled(engine: DockerEngine | Containerd, proxy: Proxy, name: str, partition: str, place: Path) -> Path:
    """Return where the engine's own copy of a partition's model lies."""
    reference = f"{proxy.address}/{name}:v1--{partition}"
    engine.pull(reference)
    engine.copy_out(reference, "/models", place)
    engine.remove(reference)
    (model,) = place.iterdir()
    return model


def opened(directory: Path) -> dict[str, tuple[str, list[int], bytes]]:
    """Return type, shape and bytes of each tensor, read as loaders do: through the index, by the real library.

    numpy has no bfloat16, so bytes of whole files are read as torch's loader maps them: by the header's offsets.
    """
    index = json.loads((directory / INDEX).read_text())
    found: dict[str, tuple[str, list[int], bytes]] = {}
    for file in sorted(set(index["weight_map"].values())):
        content = (directory / file).read_bytes()
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        with safe_open(directory / file, framework="np") as weights:
            assert weights.metadata() == {"format": "pt"}
            for name in weights.keys():  # noqa: SIM118 - it is no dictionary
                part = weights.get_slice(name)
                begin, end = header[name]["data_offsets"]
                found[name] = part.get_dtype(), part.get_shape(), content[8 + length + begin : 8 + length + end]
                assert index["weight_map"][name] == file
                if part.get_dtype() == "F32":
                    assert weights.get_tensor(name).tobytes() == found[name][2]
    assert found.keys() == index["weight_map"].keys()
    assert index["metadata"]["total_size"] == sum(len(one) for _, _, one in found.values())
    return found


def test_stages_of_a_model_in_safetensors_are_opened_where_they_lie(
    workshop: Workshop, proxy: Proxy, engine: DockerEngine | Containerd, tmp_path: Path
) -> None:
    name = f"models/llama-{engine.name}"
    source = llama(tmp_path / "llama")
    build = ("build", "--model", str(source), "--stages", "4", workshop.target(name), "--push", "--json")
    assert set(workshop.made(*build).json["plan"]["partitions"]) == {f"stage{one}" for one in STAGES}
    whole = opened(source)
    union: dict[str, tuple[str, list[int], bytes]] = {}
    for stage in STAGES:
        model = pulled(engine, proxy, name, f"stage{stage}", tmp_path / stage)
        assert not (model / INDEX).exists()
        assert [one.name for one in (model / "stages").iterdir()] == [stage]
        held = opened(model / "stages" / stage)
        assert held.items() <= whole.items()
        assert {one.name for one in model.glob("*.safetensors")} == {
            one.name for one in (model / "stages" / stage).glob("*.safetensors")
        }
        layers = {int(one.split(".")[2]) for one in held if one.startswith("model.layers.")}
        assert layers == set(range(min(layers), max(layers) + 1))
        assert not {one for one in union.keys() & held.keys() if one != "model.embed_tokens.weight"}
        assert json.loads((model / "stages" / stage / "config.json").read_text())["tie_word_embeddings"]
        union |= held
    assert "model.embed_tokens.weight" in held
    assert union == whole


def test_a_changed_tensor_is_one_cell_to_upload(workshop: Workshop, tmp_path: Path) -> None:
    source = llama(tmp_path / "llama", width=64)
    target = workshop.target("models/changed")
    build = ("build", "--model", str(source), "--stages", "4", target, "--push", "--json")
    workshop.made(*build)

    def cells() -> dict[str, int]:
        (manifest,) = workshop.images("models/changed")
        return {one["digest"]: one["size"] for one in workshop.field("models/changed", manifest)}

    before = cells()
    shard = source / "model-00003-of-00005.safetensors"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    pushed = workshop.made(*build).json["pushed"]
    after = cells()
    (digest,) = after.keys() - before.keys()
    assert len(before.keys() - after.keys()) == 1
    assert after[digest] <= pushed["uploadedBytes"] < after[digest] + 20_000  # with the field and the config


def test_a_device_fetches_a_changed_layer_and_docker_what_is_behind_it(
    workshop: Workshop, proxy: Proxy, engine: DockerEngine | Containerd, tmp_path: Path
) -> None:
    """Docker's classic store knows a layer by all below it; ``docs/models.md`` says so."""
    name = f"models/next-{engine.name}"
    source = llama(tmp_path / "llama", width=64, layers=6, shards=1)
    weights = source / "model-00001-of-00001.safetensors"
    stages = []
    for tag in ("v1", "v2"):
        workshop.made("build", "--model", str(source), "--stages", "2", workshop.target(name, tag), "--push")
        (image,) = workshop.images(name, f"{tag}--stage1of2", proxy.url)
        stages.append([one["digest"] for one in image["layers"]])
        log = workshop.registry.log.stat().st_size
        engine.pull(f"{proxy.address}/{name}:{tag}--stage1of2")
        tensors = load_file(weights)
        tensors["model.layers.1.input_layernorm.weight"] += 1
        save_file(tensors, weights, {"format": "pt"})
    (changed,) = [at for at, (old, new) in enumerate(zip(*stages, strict=True)) if old != new]
    assert 0 < changed < len(stages[1]) - 1
    asked = {one.target.rpartition("/")[2] for one in workshop.registry.requests(since=log) if one.method == "GET"}
    behind = stages[1][changed:] if engine.name == "docker" else stages[1][changed : changed + 1]
    assert asked.intersection(stages[1]) == set(behind)
    for tag in ("v1", "v2"):
        engine.remove(f"{proxy.address}/{name}:{tag}--stage1of2")


def test_what_is_written_for_going_on_by_hand_builds_the_same(workshop: Workshop, tmp_path: Path) -> None:
    source = llama(workshop.directory / "llama", layers=3)
    target = workshop.target("models/by-hand")
    file = workshop.directory / "new.json"
    plan = workshop.made(
        *("build", "--model", "llama", "--stages", "2", target, "--dry-run", "--json", "--write-2dfs", "new.json")
    ).json
    assert [one["label"] for one in plan["cells"]][:2] == ["embedding", "layer 0"]
    assert not workshop.store.exists()
    assert str(source) not in file.read_text()
    first = workshop.made("build", "--model", "llama", "--stages", "2", target, "--json").json
    again = workshop.made("build", "-f", "new.json", "scratch", target, "--json", store=tmp_path / "other").json
    checked = workshop.made("build", "-f", "new.json", "scratch", target, "--json", "--checksum").json
    assert first["digest"] == again["digest"] == checked["digest"]
    refused = workshop.twodfs("build", "--model", "llama", target, "--dry-run", "--write-2dfs", "new.json")
    assert (refused.status, refused.out) == (1, "")
    assert refused.err == "twodfs: new.json is there already; remove it, or name another file with --write-2dfs\n"


def tensors_of_gguf(files: list[Path]) -> dict[str, tuple[int, list[int], bytes]]:
    return {
        one.name: (int(one.tensor_type), one.shape.tolist(), one.data.tobytes())
        for file in files
        for one in gguf.GGUFReader(file).tensors
    }


def test_a_model_in_shards_of_gguf_is_opened_where_it_lies(
    workshop: Workshop, proxy: Proxy, engine: DockerEngine | Containerd, tmp_path: Path
) -> None:
    name = f"models/gguf-{engine.name}"
    source = write_gguf(tmp_path / "tiny", shards=4)
    shards = sorted(source.glob("*.gguf"))
    workshop.made("build", "--model", str(source), "--stages", "2", workshop.target(name), "--push")
    whole = tensors_of_gguf(shards)
    halves = [pulled(engine, proxy, name, f"stage{at}of2", tmp_path / str(at)) for at in (1, 2)]
    held = [tensors_of_gguf(sorted(one.glob("*.gguf"))) for one in halves]
    assert held[0] | held[1] == whole
    assert not held[0].keys() & held[1].keys()
    assert all((one / "LICENSE").read_text() == "free" for one in halves)
    model = pulled(engine, proxy, name, "all", tmp_path / "all")
    assert {one.name: one.read_bytes() for one in model.glob("*.gguf")} == {
        one.name: one.read_bytes() for one in shards
    }


def tensors_of_onnx(directory: Path) -> dict[str, npt.NDArray[Any]]:
    onnx.checker.check_model(directory / "model.onnx")
    model = onnx.load(directory / "model.onnx")
    return {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}


def test_a_model_in_onnx_with_external_data_is_opened_where_it_lies(
    workshop: Workshop, proxy: Proxy, engine: DockerEngine | Containerd, tmp_path: Path
) -> None:
    name = f"models/onnx-{engine.name}"
    source = write_onnx(tmp_path / "tiny")
    workshop.made("build", "--model", str(source), workshop.target(name), "--push")
    whole = tensors_of_onnx(source)
    found = tensors_of_onnx(pulled(engine, proxy, name, "all", tmp_path / "all"))
    assert found.keys() == whole.keys()
    for one, tensor in whole.items():
        np.testing.assert_array_equal(found[one], tensor)


def test_a_snapshot_of_a_hubs_cache_is_the_model(
    workshop: Workshop, proxy: Proxy, engine: DockerEngine | Containerd, tmp_path: Path
) -> None:
    name = f"models/hub-{engine.name}"
    source = llama(tmp_path / "llama", layers=4)
    repository = hub_cache(tmp_path / "hub", source)
    whole = opened(source)
    shutil.rmtree(source)
    workshop.made("build", "--model", str(repository), "--stages", "2", workshop.target(name), "--push")
    union: dict[str, tuple[str, list[int], bytes]] = {}
    for at in ("1of2", "2of2"):
        model = pulled(engine, proxy, name, f"stage{at}", tmp_path / at)
        assert model.name == "tiny"
        union |= opened(model / "stages" / at)
    assert union == whole
    assert opened(pulled(engine, proxy, name, "all", tmp_path / "all")) == whole


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "llama", "-f", "2dfs.json"], "--model takes the place of a build file; leave out --file"),
        (["--model", "llama", "--set", "A=b"], "--set goes with a build file, and --model takes its place"),
        (["--split", "layers"], "--split goes with --model alone"),
        (["--write-2dfs", "x"], "--write-2dfs goes with --model alone"),
        (["--model", "none"], "does not exist, in --model"),
        (["--model", "llama", "--split", "rows"], "expected files, layers or a size, as 2GB, found 'rows', in --split"),
        (
            ["--model", "llama", "--stages", "99"],
            "99 stages need at least as many columns, and there are 4, in --model",
        ),
        (["--model", "llama", "--stages", "0"], "--stages is 0; expected 1..1000"),
        (["--model", "llama", "--max-layer", "1kB"], "more than the 1 kB that a layer may have"),
        (["--model", "llama", "--at", "/a/../b"], "climbs with '..'; write the path as it is in the image, in --at"),
        (["--model", "llama", "--layer-pattern", "x"], "has 0 groups; expected one, the layer's number"),
        ([], "missing: TARGET; 'twodfs build --help' explains"),
    ],
)
def test_mistakes_name_the_option(arguments: list[str], message: str, workshop: Workshop) -> None:
    llama(workshop.directory / "llama", layers=2)
    done = workshop.twodfs("build", *arguments, workshop.target("models/none"))
    assert (done.status, done.out) == (2, "")
    assert message in done.err
    assert not workshop.store.exists()


def test_a_hostile_header_is_a_line_and_no_traceback(workshop: Workshop) -> None:
    model = llama(workshop.directory / "llama", layers=2)
    write_safetensors(model / "model-00001-of-00005.safetensors", b'{"a":' * 100_000)
    done = workshop.twodfs("build", "--model", "llama", workshop.target("models/none"))
    assert (done.status, done.out) == (2, "")
    assert done.err.endswith(
        "llama/model-00001-of-00005.safetensors: its header is nested deeper than any header, in --model\n"
    )
    assert done.err.count("\n") == 1


def test_a_plan_is_for_people_and_the_build_file_too(workshop: Workshop) -> None:
    llama(workshop.directory / "llama", layers=2)
    (workshop.directory / "2dfs.json").write_text(json.dumps({"models": [{"dir": "llama", "stages": 2}]}))
    target = workshop.target("models/plan")
    lines = workshop.made("build", "scratch", target, "--dry-run").out.splitlines()
    assert lines == workshop.made("build", "--model", "llama", "--stages", "2", target, "--dry-run").out.splitlines()
    assert lines[0] == "llama: layers: 2, told by the names model.layers.N"
    assert [one.split() for one in lines if one.startswith(("row", "  0    1", "--stage2of2"))] == [
        ["row", "col", "size", "files", "holds"],
        ["0", "1", "21.7", "kB", "1", "layer", "0"],
        ["--stage2of2", "5", "39.4", "kB", "0.0.0.0--0.2.0.3--1.0.1.0--1.2.1.2"],
    ]
    assert lines[-1] == "8 cells, 63.4 kB"
    assert not workshop.store.exists()
    told = workshop.made("build", "--model", "llama", "--stages", "2", target)
    assert told.err.startswith("\n".join(lines))
