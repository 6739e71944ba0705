from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save_file

from tests.lab.models import Tensors, write_safetensors
from twodfs.errors import FormatError
from twodfs.models.safetensors import read_header
from twodfs.models.subset import join, pick


def written(*picked: tuple[Path, str]) -> bytes:
    header, parts = join([(read_header(path), name) for path, name in picked])
    return header + b"".join(one.file.path.read_bytes()[one.offset : one.offset + one.size] for one in parts)


def two_files(directory: Path) -> tuple[Path, Path, Tensors]:
    random = np.random.default_rng(1)
    one: Tensors = {"a.8": random.integers(0, 9, 3, np.uint8), "a.32": random.random((2, 2), np.float32)}
    two: Tensors = {"b.16": random.random(5).astype(np.float16), "b.0": np.zeros((0, 3), np.float64)}
    save_file(one, directory / "one", metadata={"format": "pt", "part": "1"})
    save_file(two, directory / "two", metadata={"format": "pt", "part": "2"})
    return directory / "one", directory / "two", {**one, **two}


def test_tensors_of_several_files_are_one_file_of_the_library(tmp_path: Path) -> None:
    one, two, tensors = two_files(tmp_path)
    content = written((one, "a.8"), (two, "b.0"), (two, "b.16"), (one, "a.32"))
    found = load(content)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[name], tensor)
        assert found[name].dtype == tensor.dtype


def test_bytes_are_those_that_the_library_writes(tmp_path: Path) -> None:
    """So the same tensors make the same cell, however they were dealt out to files."""
    one, two, tensors = two_files(tmp_path)
    save_file(tensors, tmp_path / "all", metadata={"format": "pt"})
    assert written((two, "b.16"), (one, "a.8"), (two, "b.0"), (one, "a.32")) == (tmp_path / "all").read_bytes()


def test_every_tensor_is_aligned(tmp_path: Path) -> None:
    save_file({"a": np.zeros(3, np.uint8), "z": np.zeros(3, np.float64), "m": np.zeros(3, np.int16)}, tmp_path / "one")
    header, _ = join([(read_header(tmp_path / "one"), name) for name in "azm"])
    assert len(header) % 8 == 0
    (tmp_path / "new").write_bytes(header + bytes(33))
    tensors = read_header(tmp_path / "new").tensors
    assert [tensors[name].begin for name in "zma"] == [0, 24, 30]


def test_neighbours_are_read_at_once(tmp_path: Path) -> None:
    save_file({name: np.zeros(4, np.uint16) for name in "abcd"}, tmp_path / "one")
    file = read_header(tmp_path / "one")
    _, parts = join([(file, name) for name in "abd"])
    assert [(one.offset - file.data, one.size) for one in parts] == [(0, 16), (24, 8)]


def test_metadata_stay_where_all_files_have_them(tmp_path: Path) -> None:
    one, two, _ = two_files(tmp_path)
    (tmp_path / "new").write_bytes(written((one, "a.8"), (two, "b.16")))
    assert read_header(tmp_path / "new").metadata == {"format": "pt"}


def test_no_tensor_comes_twice(tmp_path: Path) -> None:
    one, two, _ = two_files(tmp_path)
    save_file({"a.8": np.zeros(1)}, two)
    with pytest.raises(FormatError, match=r"both .*/two and .*/one hold the tensor 'a.8'"):
        written((one, "a.8"), (two, "a.8"))


def test_no_tensors_are_a_file_as_well() -> None:
    header, parts = join([])
    assert (load(header), parts) == ({}, [])


def test_names_and_patterns_pick_tensors(tmp_path: Path) -> None:
    tensor = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
    write_safetensors(tmp_path / "a", dict.fromkeys(("h.1.w", "h.10.w", "h.[1].w", "x"), tensor))
    file = read_header(tmp_path / "a")

    def names(*patterns: str) -> list[str]:
        return [name for _, name in pick([file], patterns)]

    assert names("h.1.*") == ["h.1.w"]
    assert names("h.[1].w") == ["h.[1].w"]
    assert names("h.[12].w", "x", "h.1.w") == ["h.1.w", "x"]
    with pytest.raises(FormatError, match=r"no tensor of these files matches 'h.2.\*' in '\[1\]'"):
        names("x", "h.2.*")
