"""The files that an ONNX model keeps its weights in, read from the model without loading it.

A model is a message of Protocol Buffers (https://onnx.ai/onnx/repo-docs/IR.html; "External Data"): tensors of its graph
may say in ``external_data`` in which file beside it they are, at ``location``. The messages on the way to them are
walked through, and all else is skipped. The work is linear in their fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

from twodfs.errors import FormatError
from twodfs.files import open_file

_Fields: TypeAlias = Mapping[int, str]

# The numbers of fields in onnx.proto that lead to a tensor, by message.
_MESSAGES: Final[Mapping[str, _Fields]] = {
    "Model": {7: "Graph", 25: "Function"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Function": {7: "Node"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {13: "Entry"},
}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_KEY, _VALUE = 1, 2
_MAX_DEPTH: Final = 64
_MAX_TEXT: Final = 4096
"""Bytes of a location."""
_MAX_VARINT: Final = 10


def external_files(path: Path) -> list[str]:
    """Return the files that the ONNX model at ``path`` names, relative to its directory, each once.

    Raises:
        FormatError: it is no ONNX model, or names a file outside of its directory.
    """
    try:
        with open_file(path) as raw, BufferedReader(raw) as file:
            size = file.seek(0, 2)
            file.seek(0)
            found = dict.fromkeys(_locations(file, "Model", size, 0))
    except OSError as error:
        raise FormatError(f"cannot read {path}: {error.strerror}") from None
    except FormatError as error:
        raise FormatError(f"{path}: {error.problem}") from None
    for location in found:
        parts = location.removeprefix("./").split("/")
        if not {"", ".", ".."}.isdisjoint(parts) or "\\" in location or "\0" in location:
            raise FormatError(f"{path}: its weights are in {location[:200]!r}, which is no file beside it")
    return [one.removeprefix("./") for one in found]


def _locations(file: BinaryIO, message: str, end: int, depth: int) -> Iterator[str]:
    """Yield the locations in the message that begins here and ends at ``end``."""
    if depth > _MAX_DEPTH:
        raise FormatError("its graphs are nested deeper than any model's")
    inner = _MESSAGES[message]
    while (at := file.tell()) < end:
        number, kind = divmod(_varint(file, end), 8)
        if kind == _BYTES:
            length = _varint(file, end)
            behind = file.tell() + length
            if behind > end:
                raise FormatError(f"it is no ONNX model: a field at byte {at} ends beyond what holds it")
            if inner.get(number) == "Entry":
                yield from _location(file, behind)
            elif number in inner:
                yield from _locations(file, inner[number], behind, depth + 1)
            file.seek(behind)
        elif kind == _VARINT:
            _varint(file, end)
        elif kind in (_FIXED64, _FIXED32):
            file.seek(8 if kind == _FIXED64 else 4, 1)
        else:
            raise FormatError(f"it is no ONNX model: the field at byte {at} is of no known kind")
    if file.tell() > end:
        raise FormatError("it is no ONNX model: its last field ends beyond what holds it")


def _location(file: BinaryIO, end: int) -> Iterator[str]:
    """Yield the value of an entry whose key is ``location``."""
    texts = {_KEY: b"", _VALUE: b""}
    while file.tell() < end:
        number, kind = divmod(_varint(file, end), 8)
        length = _varint(file, end)
        if kind != _BYTES or length > min(_MAX_TEXT, end - file.tell()):
            raise FormatError(f"it is no ONNX model: an entry of external_data has a text of {length} bytes")
        texts[number] = file.read(length)
    if texts[_KEY] == b"location":
        try:
            yield texts[_VALUE].decode()
        except UnicodeDecodeError:
            raise FormatError("a location of its weights is not UTF-8") from None


def _varint(file: BinaryIO, end: int) -> int:
    value = 0
    for at in range(_MAX_VARINT):
        byte = file.read(1)
        if not byte or file.tell() > end:
            break
        value |= (byte[0] & 0x7F) << 7 * at
        if byte[0] < 0x80:  # noqa: PLR2004 - the highest bit says that another follows
            return value
    raise FormatError("it is no ONNX model: it ends within a number")
