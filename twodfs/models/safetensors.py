"""Headers of safetensors files, read strictly; tensors themselves are never loaded.

A file is eight bytes (little-endian) that say how long the header is, the header, and the tensors' bytes
(https://github.com/huggingface/safetensors, "Format")::

    {"__metadata__": {"format": "pt"},
     "model.norm.weight": {"dtype": "BF16", "shape": [2048], "data_offsets": [0, 4096]}}

"The byte buffer needs to be entirely indexed, and cannot contain holes." "Duplicate keys are disallowed." The
header "MUST begin with a { character" and "MAY be trailing padded with whitespace".

Headers come with models from strangers. The work on one is linear in its bytes, and the memory is bounded by
``MAX_HEADER_BYTES`` and ``MAX_VALUES``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import FileIO
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from twodfs.errors import FormatError
from twodfs.files import Stamp, open_file, read_up_to

MAX_HEADER_BYTES: Final = 100_000_000
"""As in the format's own library, which says "to prevent parsing extremely large JSON"."""
MAX_VALUES: Final = 2_000_000
"""Commas of a header, at most: as many as 400,000 matrices have."""
_MAX_NUMBER: Final = 2**63 - 1

DTYPE_BITS: Final = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}
"""Bits of an element of each type that the format knows."""

METADATA: Final = "__metadata__"
LENGTH_BYTES: Final = 8
_KEYS = ("dtype", "shape", "data_offsets")
_CACHED = 8
"""Headers that are kept: the cells of a model read the same few files one after the other."""


class Tensor(NamedTuple):
    """A tensor of a file; ``begin`` and ``end`` (bytes) are where it lies behind the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class TensorFile:
    """A safetensors file whose header was read.

    Attributes:
        path: of the file.
        stamp: of the file as its header was read.
        data: bytes in front of the tensors.
        tensors: by name, in the order of the header.
        metadata: texts by name.
    """

    path: Path
    stamp: Stamp
    data: int
    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def read_header(path: Path) -> TensorFile:
    """Return the file at ``path`` with its header.

    Raises:
        FormatError: it is no safetensors file, by the rule that the message names, or cannot be read; with the
            path of the file.
    """
    try:
        return _read(path, Stamp.of(path.stat()))
    except OSError as error:
        raise FormatError(f"cannot read {path}: {error.strerror}") from None


@lru_cache(maxsize=_CACHED)
def _read(path: Path, stamp: Stamp) -> TensorFile:
    with open_file(path) as file:
        if Stamp.of(os.fstat(file.fileno())) != stamp:
            raise FormatError(f"{path} is changing; build again when nothing writes to it")
        try:
            text = _header(file, stamp.size)
            tensors, metadata = _parsed(text)
            _check_places(tensors, stamp.size - LENGTH_BYTES - len(text))
        except FormatError as error:
            raise FormatError(f"{path}: {error.problem}") from None
    return TensorFile(path, stamp, LENGTH_BYTES + len(text), tensors, metadata)


def _header(file: FileIO, size: int) -> bytes:
    begin = read_up_to(file, LENGTH_BYTES)
    if len(begin) < LENGTH_BYTES:
        raise FormatError(
            f"it has {size} bytes; a safetensors file begins with {LENGTH_BYTES} that say its header's length"
        )
    length = int.from_bytes(begin, "little")
    if length > size - LENGTH_BYTES:
        raise FormatError(f"its header of {length} bytes would end beyond the file, which has {size} bytes")
    if length > MAX_HEADER_BYTES:
        raise FormatError(f"its header has {length} bytes; a header has {MAX_HEADER_BYTES} bytes at most")
    text = read_up_to(file, length)
    if len(text) < length:
        raise FormatError("it became shorter while it was read")
    if not text.startswith(b"{"):
        raise FormatError("its header begins with something else than '{'; is it a safetensors file?")
    if text.count(b",") > MAX_VALUES:
        raise FormatError(f"its header has more than {MAX_VALUES} commas; that is no model's")
    return text


class _Header(dict[str, Any]):
    """A JSON object that is no tensor: the header itself, or its metadata."""


def _parsed(text: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a header; the innermost objects are checked first, and kept small."""
    try:
        header = json.loads(
            text.decode(),
            object_pairs_hook=_object,
            parse_constant=_no_number,
            parse_float=_no_number,
        )
    except UnicodeDecodeError as error:
        raise FormatError(f"its header is not UTF-8, at byte {error.start}") from None
    except RecursionError:
        raise FormatError("its header is nested deeper than any header") from None
    except ValueError as error:  # malformed, or an integer of thousands of digits
        raise FormatError(f"its header is not JSON: {error}") from None
    if not isinstance(header, _Header):
        raise FormatError("its header is a tensor where an object of tensors is expected")
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(one, str) for one in metadata.values()):
        raise FormatError(f"{METADATA!r} of its header is no object of texts")
    for name, tensor in header.items():
        _check_name(name)
        if not isinstance(tensor, Tensor):
            raise FormatError(f"the entry {name[:200]!r} of its header is no tensor")
    return dict(header), dict(metadata)


def _object(pairs: list[tuple[str, Any]]) -> Tensor | _Header:
    found = _Header(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise FormatError(f"its header has the key {twice[:200]!r} twice in one object")
    is_tensor = any(key in found and not isinstance(found[key], Tensor | str) for key in _KEYS)
    return _tensor(found) if is_tensor else found


def _tensor(raw: _Header) -> Tensor:
    if set(raw) != set(_KEYS):
        raise FormatError(f"a tensor of its header has the keys {', '.join(raw)[:200]}; expected {', '.join(_KEYS)}")
    dtype, shape, offsets = (raw[key] for key in _KEYS)
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise FormatError(f"{str(dtype)[:140]!r} is no dtype of the format; known: {', '.join(DTYPE_BITS)}")
    if not _are_sizes(shape):
        raise FormatError(f"{str(shape)[:140]} is no shape; expected an array of whole numbers from 0")
    if not _are_sizes(offsets) or len(offsets) != len(("begin", "end")):
        raise FormatError(f"{str(offsets)[:140]} are no data_offsets; expected two whole numbers from 0")
    begin, end = offsets
    if begin > end:
        raise FormatError(f"data_offsets {offsets} end before they begin")
    bits = _elements(shape) * DTYPE_BITS[dtype]
    if bits % 8 or bits // 8 != end - begin:
        raise FormatError(
            f"a tensor of shape {str(shape)[:140]} and dtype {dtype} has {bits / 8:.15g} bytes, not the {end - begin} "
            f"of its data_offsets {offsets}"
        )
    return Tensor(dtype, tuple(shape), begin, end)


def _are_sizes(value: object) -> bool:
    return isinstance(value, list) and all(type(one) is int and 0 <= one <= _MAX_NUMBER for one in value)


def _elements(shape: Sequence[int]) -> int:
    """Return how many elements ``shape`` has; a product of many large numbers would take its time."""
    if 0 in shape:
        return 0
    count = 1
    for one in shape:
        count *= one
        if count > _MAX_NUMBER:
            raise FormatError(f"a tensor of shape {str(list(shape))[:140]} has more elements than any file has bytes")
    return count


def _no_number(text: str) -> NoReturn:
    raise FormatError(f"its header has {text[:40]} where only whole numbers may stand")


def _check_name(name: str) -> None:
    """Refuse names that are no text, or that a program which makes files of tensors would follow out of a directory."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise FormatError(f"the tensor's name {name[:200]!r} has half a character") from None
    if ".." in name.split("/") or "\0" in name or name.startswith("/"):
        raise FormatError(f"the tensor's name {name[:200]!r} is a path that leaves its directory; no model has one")


def _check_places(tensors: dict[str, Tensor], size: int) -> None:
    """Hold the tensors' places against the format: one behind the other, from the header to the end of the file."""
    end, before = 0, ""
    for name, tensor in sorted(tensors.items(), key=lambda one: one[1][2:]):
        if tensor.begin < end:
            raise FormatError(f"its tensors {before[:200]!r} and {name[:200]!r} overlap at byte {tensor.begin}")
        if tensor.begin > end:
            raise FormatError(f"it has a hole of {tensor.begin - end} bytes in front of its tensor {name[:200]!r}")
        end, before = tensor.end, name
    if end > size:
        raise FormatError(f"its tensors take {end} bytes, and {size} are there: it is cut off, or its header is wrong")
    if end < size:
        raise FormatError(f"{size - end} bytes behind its tensors belong to none")
