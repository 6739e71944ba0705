import re
from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.external_data_helper import set_external_data

from tests.lab.models import write_onnx
from twodfs.errors import FormatError
from twodfs.models.directory import ModelDirectory
from twodfs.models.onnx import external_files


def tensor(location: str) -> TensorProto:
    made = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    made.raw_data = b"1234"
    set_external_data(made, location)
    return made


def model(*locations: str) -> onnx.ModelProto:
    return helper.make_model(helper.make_graph([], "g", [], [], [tensor(one) for one in locations]))


def written(path: Path, content: onnx.ModelProto) -> Path:
    path.write_bytes(content.SerializeToString())
    return path


def test_weights_beside_a_model_are_found(tmp_path: Path) -> None:
    source = write_onnx(tmp_path / "tiny")
    assert external_files(source / "model.onnx") == ["model.onnx_data", "onnx__MatMul_2"]
    found = ModelDirectory.look_at(source)
    assert [one.name for one in found.weights] == ["model.onnx", "model.onnx_data", "onnx__MatMul_2"]


def test_tensors_in_attributes_branches_and_functions_are_found(tmp_path: Path) -> None:
    branch = helper.make_graph([helper.make_node("Constant", [], ["a"], value=tensor("in-branch"))], "b", [], [])
    nodes = [helper.make_node("If", ["c"], ["d"], then_branch=branch)]
    content = helper.make_model(helper.make_graph(nodes, "g", [], []))
    function = helper.make_node("Constant", [], ["a"], value=tensor("in-function"))
    content.functions.append(helper.make_function("d", "f", [], [], [function], []))
    sparse = content.graph.sparse_initializer.add()
    sparse.values.CopyFrom(tensor("in-sparse"))
    path = written(tmp_path / "a.onnx", content)
    assert set(external_files(path)) == {"in-branch", "in-function", "in-sparse"}


def test_weights_in_the_model_itself_are_skipped(tmp_path: Path) -> None:
    inside = helper.make_tensor("w", TensorProto.FLOAT, [9], [1.0] * 9)
    content = helper.make_model(helper.make_graph([], "g", [], [], [inside, tensor("./w.bin")]))
    assert external_files(written(tmp_path / "a.onnx", content)) == ["w.bin"]


@pytest.mark.parametrize("location", ["../w", "/etc/passwd", "a/../../w", "a//w", "a\\w", ""])
def test_weights_elsewhere_are_refused(location: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.onnx", model(location))
    with pytest.raises(FormatError, match=re.escape(f"{path}: its weights are in {location!r}, which is no file")):
        external_files(path)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    written(tmp_path / "a.onnx", model("w.bin"))
    with pytest.raises(FormatError, match=r"a.onnx' has weights in the file 'w.bin', which is not there"):
        ModelDirectory.look_at(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"<html>",
        b"\x3a\xff\xff\xff\xff\x0f",
        b"\x3a",
        b"\xff" * 20,
        b"\x0b",
        b"\x09\0",
        b"\x3a\x05\x2a\x03\x6a\x02\x0a\x7f",
        b"\x3a\x02\x2a\x09" + bytes(9),
    ],
)
def test_what_is_no_model_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(FormatError, match=r"a.onnx: it is no ONNX model"):
        external_files(tmp_path / "a.onnx")


def test_graphs_that_are_nested_without_end_are_refused(tmp_path: Path) -> None:
    graph = b""
    for _ in range(100):
        for tag in (b"\x32", b"\x2a", b"\x0a"):  # Attribute.g, Node.attribute, Graph.node
            length = len(graph)
            graph = tag + bytes([length & 0x7F | 0x80, length >> 7]) + graph
    length = len(graph)
    (tmp_path / "a.onnx").write_bytes(b"\x3a" + bytes([length & 0x7F | 0x80, length >> 7]) + graph)
    with pytest.raises(FormatError, match="nested deeper than any model's"):
        external_files(tmp_path / "a.onnx")


@given(content=st.binary(max_size=60))
def test_any_bytes_are_a_model_or_an_error(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.onnx"
    path.write_bytes(content)
    try:
        found = external_files(path)
    except FormatError as error:
        assert str(error).startswith(f"{path}: ")
        return
    assert len(found) <= len(content)


@given(locations=st.lists(st.text(st.sampled_from("abc./"), max_size=6), max_size=4))
def test_the_library_reads_the_same_names(locations: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = written(tmp_path_factory.getbasetemp() / "named.onnx", model(*locations))
    loaded = onnx.load(path, load_external_data=False)
    named = {entry.value for one in loaded.graph.initializer for entry in one.external_data if entry.key == "location"}
    try:
        found = external_files(path)
    except FormatError:
        assert any({"", ".", ".."} & set(one.removeprefix("./").split("/")) for one in named)
        return
    assert set(found) == {one.removeprefix("./") for one in named}
