import json
import os
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from tests.lab.models import write_safetensors
from twodfs.errors import FormatError
from twodfs.models import safetensors
from twodfs.models.safetensors import MAX_HEADER_BYTES, MAX_VALUES, Tensor, read_header

GOOD = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}


def test_a_file_of_the_formats_own_library_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file(
        {"b": np.zeros((2, 3), np.float16), "a.c": np.ones(5, np.float64), "none": np.zeros((0, 4), np.float32)},
        path,
        metadata={"format": "pt", "dtype": "mixed"},
    )
    found = read_header(path)
    assert found.metadata == {"format": "pt", "dtype": "mixed"}
    assert found.tensors == {
        "a.c": Tensor("F64", (5,), 0, 40),
        "none": Tensor("F32", (0, 4), 40, 40),
        "b": Tensor("F16", (2, 3), 40, 52),
    }
    assert found.data + 52 == path.stat().st_size == found.stamp.size


@pytest.mark.parametrize("dtype", safetensors.DTYPE_BITS)
def test_every_type_is_one_of_the_library(dtype: str, tmp_path: Path) -> None:
    size = safetensors.DTYPE_BITS[dtype]
    write_safetensors(tmp_path / "a", {"t": {"dtype": dtype, "shape": [8], "data_offsets": [0, size]}}, bytes(size))
    assert read_header(tmp_path / "a").tensors["t"].size == size
    with safe_open(tmp_path / "a", framework="np") as opened:
        assert opened.get_slice("t").get_dtype() == dtype


HOSTILE: dict[str, tuple[object, bytes, str]] = {
    "overlap": (
        {"a": GOOD, "b": {**GOOD, "data_offsets": [8, 24]}},
        bytes(24),
        "its tensors 'a' and 'b' overlap at byte 8",
    ),
    "hole": (
        {"a": GOOD, "b": {**GOOD, "data_offsets": [20, 36]}},
        bytes(36),
        "it has a hole of 4 bytes in front of its tensor 'b'",
    ),
    "hole at the start": ({"a": {**GOOD, "data_offsets": [4, 20]}}, bytes(20), "a hole of 4 bytes"),
    "beyond the file": ({"a": GOOD}, bytes(15), "its tensors take 16 bytes, and 15 are there"),
    "more than tensors": ({"a": GOOD}, bytes(17), "1 bytes behind its tensors belong to none"),
    "backwards": ({"a": {**GOOD, "data_offsets": [16, 0]}}, bytes(16), "end before they begin"),
    "negative": ({"a": {**GOOD, "data_offsets": [-16, 0]}}, bytes(16), "are no data_offsets"),
    "offsets that are true": ({"a": {**GOOD, "data_offsets": [False, True]}}, bytes(1), "are no data_offsets"),
    "three offsets": ({"a": {**GOOD, "data_offsets": [0, 16, 16]}}, bytes(16), "are no data_offsets"),
    "text as offsets": ({"a": {**GOOD, "data_offsets": "0,16"}}, bytes(16), "are no data_offsets"),
    "beyond 64 bits": ({"a": {**GOOD, "data_offsets": [0, 2**64]}}, bytes(16), "are no data_offsets"),
    "shape of fractions": (b'{"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}}', bytes(8), "only whole numbers"),
    "negative shape": ({"a": {**GOOD, "shape": [-2, -2]}}, bytes(16), "is no shape"),
    "absurd shape": ({"a": {**GOOD, "shape": [2**62, 2**62]}}, bytes(16), "more elements than any file has bytes"),
    "shape that wraps": ({"a": {**GOOD, "shape": [2**32, 2**32, 4]}}, bytes(16), "more elements than any file"),
    "long shape": ({"a": {**GOOD, "shape": [3] * 100_000}}, bytes(16), "more elements than any file has bytes"),
    "another size than its type": ({"a": {**GOOD, "dtype": "F64"}}, bytes(16), "has 32 bytes, not the 16"),
    "half a byte": ({"a": {"dtype": "F4", "shape": [3], "data_offsets": [0, 2]}}, bytes(2), "has 1.5 bytes, not the 2"),
    "unknown type": ({"a": {**GOOD, "dtype": "F31"}}, bytes(16), "'F31' is no dtype of the format; known: BOOL"),
    "type that is no text": ({"a": {**GOOD, "dtype": ["F32"]}}, bytes(16), "is no dtype of the format"),
    "another key": ({"a": {**GOOD, "strides": [1]}}, bytes(16), "has the keys dtype, shape, data_offsets, strides"),
    "a key less": ({"a": {"dtype": "F32", "shape": [4]}}, bytes(16), "has the keys dtype, shape; expected"),
    "no tensor": ({"a": 1}, b"", "the entry 'a' of its header is no tensor"),
    "tensors in tensors": ({"a": {"b": GOOD}}, bytes(16), "the entry 'a' of its header is no tensor"),
    "metadata of numbers": ({"__metadata__": {"a": 1}}, b"", "'__metadata__' of its header is no object of texts"),
    "metadata that is a tensor": ({"__metadata__": GOOD}, bytes(16), "'__metadata__' of its header is no object"),
    "a tensor alone": (GOOD, bytes(16), "its header is a tensor where an object of tensors is expected"),
    "key twice": (
        b'{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}',
        b"",
        "its header has the key 'a' twice",
    ),
    "key twice in a tensor": (
        b'{"a":{"dtype":"F32","dtype":"I32","shape":[0],"data_offsets":[0,0]}}',
        b"",
        "its header has the key 'dtype' twice",
    ),
    "not a number": (b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,0]}}', b"", "its header has NaN where only"),
    "infinity": (b'{"a":{"dtype":"F32","shape":[-Infinity],"data_offsets":[0,0]}}', b"", "has -Infinity where only"),
    "digits": (b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b"]}}", b"", "its header is not JSON"),
    "nested": (b'{"a":' + b"[" * 1_000_000, b"", "its header is nested deeper than any header"),
    "objects nested": (b'{"a":' * 1_000_000, b"", "its header is nested deeper than any header"),
    "no JSON": (b'{"a"', b"", "its header is not JSON"),
    "no object": (b"[]", b"", "its header begins with something else than '{'"),
    "spaces first": (b' {"a":1}', b"", "its header begins with something else than '{'"),
    "no UTF-8": (b'{"\xff":1}', b"", "its header is not UTF-8, at byte 2"),
    "half a character": (
        b'{"\\ud800":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}',
        b"",
        "has half a character",
    ),
    "name of a path": ({"../../etc/passwd": GOOD}, bytes(16), "is a path that leaves its directory"),
    "name from the root": ({"/etc/passwd": GOOD}, bytes(16), "is a path that leaves its directory"),
    "commas": (b"{" + b"," * (MAX_VALUES + 1), b"", f"its header has more than {MAX_VALUES} commas"),
}


@pytest.mark.parametrize(("header", "data", "rule"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_header_is_refused_by_file_and_rule(header: object, data: bytes, rule: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_safetensors(path, header, data)
    with pytest.raises(FormatError) as refused:
        read_header(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert rule in str(refused.value)
    assert len(str(refused.value)) < 1000


def test_lengths_are_held_against_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"\x08\0\0")
    with pytest.raises(FormatError, match="it has 3 bytes; a safetensors file begins with 8"):
        read_header(path)
    path.write_bytes((2**63).to_bytes(8, "little") + b"{}")
    with pytest.raises(FormatError, match=f"its header of {2**63} bytes would end beyond the file, which has 10 bytes"):
        read_header(path)


def test_a_header_of_more_than_the_formats_bytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes((MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b"{")
    os.truncate(path, MAX_HEADER_BYTES + 100)  # nothing but a hole on the disk
    begun = time.process_time()
    with pytest.raises(FormatError, match=f"a header has {MAX_HEADER_BYTES} bytes at most"):
        read_header(path)
    assert time.process_time() - begun < 0.5


@pytest.mark.parametrize("filling", [b'"a":{},', b'"a":[],', b'"a":1,', b'"a":"",'])
def test_the_memory_for_a_header_has_a_bound(filling: bytes, tmp_path: Path) -> None:
    write_safetensors(tmp_path / "a", b'{"__metadata__":{' + filling * 200_000 + b'"b":""}}')
    tracemalloc.start()
    with pytest.raises(FormatError, match="twice"):
        read_header(tmp_path / "a")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 60 * 2**20


def test_the_work_on_a_header_is_linear(tmp_path: Path) -> None:
    def seconds(count: int) -> float:
        header = {str(at): {"dtype": "U8", "shape": [1], "data_offsets": [at, at + 1]} for at in range(count)}
        path = tmp_path / str(count)
        write_safetensors(path, header, bytes(count))
        begun = time.process_time()
        assert len(read_header(path).tensors) == count
        return time.process_time() - begun

    few = min(seconds(10_000 + at) for at in range(3))
    assert seconds(100_000) < 30 * few


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"cannot read .*/none: No such file"):
        read_header(tmp_path / "none")
    with pytest.raises(FormatError, match="it is a directory"):
        read_header(tmp_path)


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "a"
    tensor: dict[str, Any] = {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}
    write_safetensors(path, {"a": tensor}, b"1")
    assert list(read_header(path).tensors) == ["a"]
    path.unlink()
    path.write_text("")
    write_safetensors(path, {"bb": tensor}, b"1")
    assert list(read_header(path).tensors) == ["bb"]
    assert json.loads(path.read_bytes()[8:-1])["bb"]
