"""A header that is taken is one for the format's own library as well, and means the same to both."""

import json
import math
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open

from tests.lab.models import write_safetensors
from twodfs.errors import FormatError
from twodfs.models.safetensors import DTYPE_BITS, read_header
from twodfs.models.subset import join

_NAMES = st.sampled_from(
    ["a", "b", "model.layers.0.w", "..", "x/../y", "ü", "", "dtype", "__metadata__", "\0", "c" * 300]
)
_NUMBERS = st.one_of(st.integers(-1, 9), st.sampled_from([2**31, 2**62, 2**64, True, 1.5, None, "1"]))


@st.composite
def _headers(draw: st.DrawFn) -> tuple[dict[str, Any], int]:
    """Draw a header that is right, and the bytes that follow it."""
    header: dict[str, Any] = {}
    at = 0
    for name in draw(st.lists(st.text(st.characters(codec="utf-8"), max_size=9), max_size=5, unique=True)):
        dtype = draw(st.sampled_from([*DTYPE_BITS]))
        shape = [8 * draw(st.integers(0, 2)), *draw(st.lists(st.integers(0, 3), max_size=2))]
        size = DTYPE_BITS[dtype] * math.prod(shape) // 8
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    return header, at


@st.composite
def _spoiled(draw: st.DrawFn) -> tuple[Any, int]:
    """Draw a header with something replaced."""
    header, size = draw(_headers())
    for _ in range(draw(st.integers(0, 2))):
        if not header or draw(st.booleans()):
            header[draw(_NAMES)] = draw(st.sampled_from([1, {}, {"a": "b"}, [], {"dtype": "F32", "shape": []}, None]))
            continue
        tensor = header[draw(st.sampled_from(sorted(header)))]
        if isinstance(tensor, dict):
            key = draw(st.sampled_from(["dtype", "shape", "data_offsets", "more"]))
            tensor[key] = draw(
                st.one_of(_NUMBERS, st.lists(_NUMBERS, max_size=3), st.sampled_from([*DTYPE_BITS, "F31"]))
            )
    return header, max(0, size + draw(st.sampled_from([0, 0, 0, 1, -1])))


@given(st.one_of(_headers(), _spoiled()))
def test_what_is_taken_the_library_takes_and_reads_alike(drawn: tuple[Any, int]) -> None:
    header, size = drawn
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "a")
        write_safetensors(path, header, bytes(size))
        try:
            found = read_header(path)
        except FormatError as error:
            assert str(error).startswith(f"{path}: ")
            return
        with safe_open(path, framework="np") as opened:
            assert set(opened.keys()) == set(found.tensors)
            for name, tensor in found.tensors.items():
                part = opened.get_slice(name)
                assert (part.get_dtype(), tuple(part.get_shape())) == (tensor.dtype, tensor.shape)


@given(_headers())
def test_what_is_right_is_taken_and_written_again(drawn: tuple[dict[str, Any], int]) -> None:
    header, size = drawn
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "a")
        write_safetensors(path, header, bytes(size))
        try:
            file = read_header(path)
        except FormatError as error:
            assert "is a path that leaves its directory" in str(error)
            return
        written, parts = join([(file, name) for name in file.tensors])
        path = Path(directory, "b")
        path.write_bytes(written + bytes(sum(one.size for one in parts)))
        again = read_header(path)
        assert {name: (one.dtype, one.shape) for name, one in again.tensors.items()} == {
            name: (one.dtype, one.shape) for name, one in file.tensors.items()
        }


@given(st.binary(max_size=200))
def test_any_bytes_are_taken_only_where_the_library_takes_them(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "a")
        path.write_bytes(len(content).to_bytes(8, "little") + content)
        try:
            read_header(path)
        except FormatError:
            return
        with safe_open(path, framework="np"):
            pass


def test_the_library_says_no_with_its_own_error() -> None:
    """So that a test above cannot pass by never asking it."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "a")
        write_safetensors(path, json.dumps({"a": 1}).encode())
        try:
            with safe_open(path, framework="np"):
                raise AssertionError
        except SafetensorError:
            pass
