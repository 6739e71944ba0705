import io
import re
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from safetensors.numpy import load, save_file

from twodfs.build.keys import SETTLED_NS, key_of_stamps
from twodfs.errors import BuildError, FormatError
from twodfs.layers.build_file.cells import Cell
from twodfs.layers.build_file.file import BuildFile
from twodfs.layers.compression import Compression, Packing
from twodfs.layers.layer import LayerPlan

PLAIN = Packing(Compression.NONE)


def cell(directory: Path, source: Any, target: Any = "/m/f", **more: Any) -> Cell:
    entry = {"src": source, "dst": target, "row": 0, "col": 0, **more}
    return BuildFile.parse(orjson.dumps({"allotments": [entry]}), directory).cells[0]


def layer(one: Cell) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    sink = io.BytesIO()
    LayerPlan.of(one.copies).write(sink, PLAIN)
    with tarfile.open(fileobj=io.BytesIO(sink.getvalue())) as archive:
        found = {}
        for member in archive:
            file = archive.extractfile(member) if member.isreg() else None
            found[member.name] = member, file.read() if file else b""
        return found


def tensors(directory: Path) -> Path:
    save_file({"h.0.w": np.arange(4), "h.1.w": np.arange(5)}, directory / "a.safetensors")
    save_file({"h.1.b": np.arange(6)}, directory / "b.safetensors")
    return directory


def test_a_text_is_a_file(tmp_path: Path) -> None:
    (member, content) = layer(cell(tmp_path, {"text": "grüße\n"}, mode="0600", uid=7))["m/f"]
    assert (content.decode(), member.mode, member.uid) == ("grüße\n", 0o600, 7)


def test_a_link_is_a_link(tmp_path: Path) -> None:
    (member, _) = layer(cell(tmp_path, {"link": "../../x"}))["m/f"]
    assert (member.issym(), member.linkname) == (True, "../../x")


def test_tensors_are_a_file_of_the_format(tmp_path: Path) -> None:
    source = {"safetensors": ["a.safetensors", "./b.safetensors"], "tensors": ["h.1.*"]}
    found = load(layer(cell(tensors(tmp_path), source))["m/f"][1])
    assert {name: list(one) for name, one in found.items()} == {"h.1.b": [*range(6)], "h.1.w": [*range(5)]}
    assert len(load(layer(cell(tmp_path, {"safetensors": ["a.safetensors"]}))["m/f"][1])) == 2


def test_objects_and_paths_go_together(tmp_path: Path) -> None:
    tensors(tmp_path)
    found = layer(cell(tmp_path, ["a.safetensors", {"text": ""}, {"link": "a"}], ["/m/a", "/m/b", "/m/c"]))
    assert [(name, one.type) for name, (one, _) in found.items()] == [("m/a", b"0"), ("m/b", b"0"), ("m/c", b"2")]


@pytest.mark.parametrize(
    ("source", "mistake"),
    [
        ({}, "expected a path or an object with text or link or safetensors/tensors, found  in 'allotments[0].src'"),
        ({"text": "a", "link": "b"}, "found 'text', 'link' in 'allotments[0].src'"),
        ({"text": 1}, "expected a string, found int in 'allotments[0].src.text'"),
        ({"link": ""}, "a link says where it leads, in 4095 bytes at most and without NUL in 'allotments[0].src.link'"),
        ({"link": "a" * 5000}, "a link says where it leads"),
        ({"tensors": ["a"]}, "expected a path or an object"),
        ({"safetensors": []}, "expected at least one, found none in 'allotments[0].src.safetensors'"),
        ({"safetensors": "a"}, "expected an array, found str in 'allotments[0].src.safetensors'"),
        ({"safetensors": [""]}, "expected a text without NUL, found none in 'allotments[0].src.safetensors[0]'"),
        ({"safetensors": ["none"]}, "No such file or directory in 'allotments[0].src.safetensors[0]'"),
        (
            {"safetensors": ["a.safetensors"], "tensors": ["h.0.w", "x*"]},
            "no tensor of these files matches 'x*' in 'allotments[0].src.tensors[1]'",
        ),
        (
            {"safetensors": ["a.safetensors", "a.safetensors"]},
            "hold the tensor 'h.0.w' in 'allotments[0].src.tensors'",
        ),
        ([{"text": 1}], "expected a string, found int in 'allotments[0].src[0].text'"),
    ],
)
def test_mistakes_are_named(source: Any, mistake: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=re.escape(mistake)):
        cell(tensors(tmp_path), source, ["/m/f"] if isinstance(source, list) else "/m/f")


def test_what_is_made_needs_a_name(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"needs a name in 'allotments\[0\].dst'"):
        cell(tmp_path, {"text": ""}, "/m/")


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    one = cell(tmp_path, [{"text": ""}, {"link": "x"}], ["/m/f", "/m/f/g"])
    with pytest.raises(FormatError, match="'/m/f' is a file in"):
        LayerPlan.of(one.copies)


def test_a_file_of_tensors_that_changes_is_seen(tmp_path: Path) -> None:
    one = cell(tensors(tmp_path), {"safetensors": ["a.safetensors"]})
    plan = LayerPlan.of(one.copies)
    save_file({"h.0.w": np.arange(9)}, tmp_path / "a.safetensors")
    with pytest.raises(BuildError, match=r"a\.safetensors changed while it was read"):
        plan.write(io.BytesIO(), PLAIN)
    with pytest.raises(BuildError, match=r"a\.safetensors changed while it was read"):
        LayerPlan.of(one.copies)


def test_keys_tell_layers_of_what_is_made_apart(tmp_path: Path) -> None:
    tensors(tmp_path)
    time.sleep(2 * SETTLED_NS / 1e9)  # for files just written there is no key

    def key(source: Any) -> bytes | None:
        return key_of_stamps(LayerPlan.of(cell(tmp_path, source).copies).written, PLAIN)

    sources: list[Any] = [
        {"text": "a"},
        {"text": "b"},
        {"link": "a"},
        {"link": "b"},
        {"safetensors": ["a.safetensors"]},
        {"safetensors": ["a.safetensors"], "tensors": ["h.0.w"]},
        {"safetensors": ["b.safetensors"]},
    ]
    keys = [key(one) for one in sources]
    assert None not in keys
    assert len(set(keys)) == len(sources)
    assert keys == [key(one) for one in sources]
    save_file({"h.1.b": np.arange(6)}, tmp_path / "b.safetensors")
    assert key(sources[-1]) is None
