"""Tensors picked from safetensors files by name, as one file of the format: its header, and what follows it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from fnmatch import translate
from glob import has_magic
from itertools import pairwise
from typing import Any, NamedTuple

from twodfs.errors import FormatError
from twodfs.models.safetensors import DTYPE_BITS, LENGTH_BYTES, MAX_HEADER_BYTES, METADATA, TensorFile


class TensorRange(NamedTuple):
    """Bytes of a file that are tensors of another."""

    file: TensorFile
    offset: int
    size: int


def pick(files: Sequence[TensorFile], patterns: Sequence[str]) -> list[tuple[TensorFile, str]]:
    """Return the tensors of ``files`` that ``patterns`` match: names, or with ``*``, ``?`` and ``[...]``.

    Raises:
        FormatError: one matches none; with its place among them.
    """
    found: dict[tuple[int, str], None] = {}
    for at, pattern in enumerate(patterns):
        matched = [(number, pattern) for number, file in enumerate(files) if pattern in file.tensors]
        if not matched and has_magic(pattern):
            match = re.compile(translate(pattern)).match
            matched = [(number, name) for number, file in enumerate(files) for name in file.tensors if match(name)]
        if not matched:
            raise FormatError(f"no tensor of these files matches {pattern[:200]!r}", f"[{at}]")
        found.update(dict.fromkeys(matched))
    return [(files[number], name) for number, name in found]


def join(tensors: Iterable[tuple[TensorFile, str]]) -> tuple[bytes, list[TensorRange]]:
    """Return the header of a file that holds ``tensors`` (each a file and the name of one in it), and what follows it.

    Tensors stand as the format's own library puts them: by the size of their elements, so that all are aligned,
    then by name. Of the files' metadata that which all of them have stays.

    Raises:
        FormatError: a name comes twice, or the header would be longer than headers may be.
    """
    ordered = sorted(tensors, key=lambda one: (-DTYPE_BITS[one[0].tensors[one[1]].dtype], one[1]))
    for (first, name), (second, other) in pairwise(sorted(ordered, key=lambda one: one[1])):
        if name == other:
            raise FormatError(f"both {first.path} and {second.path} hold the tensor {name!r}")
    header: dict[str, Any] = {}
    if metadata := _shared_metadata([file for file, _ in ordered]):
        header[METADATA] = metadata
    parts: list[TensorRange] = []
    at = 0
    for file, name in ordered:
        tensor = file.tensors[name]
        header[name] = {
            "dtype": tensor.dtype,
            "shape": tensor.shape,
            "data_offsets": (at, at + tensor.size),
        }
        at += tensor.size
        begin = file.data + tensor.begin
        if parts and parts[-1].file is file and parts[-1].offset + parts[-1].size == begin:
            parts[-1] = parts[-1]._replace(size=parts[-1].size + tensor.size)
        elif tensor.size:
            parts.append(TensorRange(file, begin, tensor.size))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % LENGTH_BYTES)
    if len(text) > MAX_HEADER_BYTES:
        raise FormatError(f"{len(ordered)} tensors in one file need a header of more than {MAX_HEADER_BYTES} bytes")
    return len(text).to_bytes(LENGTH_BYTES, "little") + text, parts


def _shared_metadata(files: Sequence[TensorFile]) -> dict[str, str]:
    if not files:
        return {}
    shared = set(files[0].metadata.items()).intersection(*(one.metadata.items() for one in files[1:]))
    return dict(sorted(shared))
