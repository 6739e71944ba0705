"""All tensors of a model in safetensors files, with the index that says where each of them is.

An index is ``model.safetensors.index.json``: ``{"metadata": {"total_size": 4096}, "weight_map": {"model.norm.weight":
"model-00001-of-00005.safetensors"}}``. Loaders open every file that it names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from twodfs.errors import FormatError, within
from twodfs.files import read_file
from twodfs.models.directory import ModelDirectory, ModelFile
from twodfs.models.safetensors import TensorFile, read_header
from twodfs.oci.documents import expect, parse_object

_INDEX_NAME: Final = "model.safetensors.index.json"
SUFFIX: Final = ".safetensors"
MAX_INDEX_BYTES: Final = 64 * 2**20
_INDEX: Final = ".safetensors.index.json"
_SHARD: Final = re.compile(r"(.+)-\d{5}-of-(\d{5})\.safetensors")


@dataclass(frozen=True, slots=True)
class ModelTensors:
    """The tensors of a model.

    Attributes:
        files: those that hold them, in natural order.
        index: the index in the directory; None where there is none.
        places: the file of each tensor.
    """

    files: tuple[ModelFile, ...]
    index: ModelFile | None
    places: Mapping[str, TensorFile]

    @property
    def index_name(self) -> str:
        """The name that loaders look for an index under; it goes with the files' own: ``model-00001-of-00005``."""
        if self.index:
            return self.index.name
        first = self.files[0].name
        shard = _SHARD.fullmatch(first)
        return f"{shard[1] if shard else first.removesuffix(SUFFIX)}{_INDEX}"

    @property
    def is_adapter(self) -> bool:
        """Whether loaders want them in one file: adapters of ``peft`` have no index."""
        return self.index_name == f"adapter_model{_INDEX}"

    def sizes(self) -> dict[str, int]:
        """Return the bytes of each tensor."""
        return {name: file.tensors[name].size for name, file in self.places.items()}


def find_tensors(directory: ModelDirectory) -> ModelTensors | None:
    """Return the tensors of the one model in safetensors files right in ``directory``; None where there is not one.

    Raises:
        FormatError: a file is damaged, or index and files contradict each other.
    """
    on_top = {one.name: one for one in directory.weights if one.suffix == SUFFIX and "/" not in one.name}
    indexes = {one.name: one for one in directory.small if one.name.endswith(_INDEX) and "/" not in one.name}
    index = indexes.get(_INDEX_NAME) or (next(iter(indexes.values())) if len(indexes) == 1 else None)
    if index:
        weight_map = _weight_map(index)
        files = [one for name, one in on_top.items() if name in set(weight_map.values())]
        missing = next((name for name in weight_map.values() if name not in on_top), None)
        if missing is not None:
            raise FormatError(f"{index.path} names the file {missing[:200]!r}, which is not beside it")
        places = _places(files)
        _check(index, weight_map, places)
        return ModelTensors(tuple(files), index, places)
    sets = {(found[1], found[2]) if (found := _SHARD.fullmatch(name)) else name for name in on_top}
    if len(sets) != 1:
        return None
    (one,) = sets
    if not isinstance(one, str) and len(on_top) != int(one[1]):
        raise FormatError(f"'{one[0]}-*-of-{one[1]}{SUFFIX}' are {int(one[1])} files, and {len(on_top)} are there")
    return ModelTensors(tuple(on_top.values()), None, _places(on_top.values()))


def write_index(files: Mapping[str, Mapping[str, int]]) -> str:
    """Return an index of ``files``: for the name of each, the bytes of its tensors by name."""
    places = {name: file for file, tensors in files.items() for name in tensors}
    total = sum(size for tensors in files.values() for size in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
    return json.dumps(index, indent=2, ensure_ascii=False) + "\n"


def read_config(directory: ModelDirectory) -> dict[str, Any]:
    """Return the model's ``config.json``; empty where it has none.

    Raises:
        FormatError: it is no JSON object.
    """
    for one in directory.small:
        if one.name == "config.json":
            try:
                # Not strict: Python programs write NaN and Infinity.
                config = json.loads(read_file(one.path))
            except OSError as error:
                raise FormatError(f"cannot read {one.path}: {error.strerror}") from None
            except (ValueError, RecursionError) as error:
                raise FormatError(f"{one.path} is not JSON: {error}") from None
            with within(str(one.path)):
                return expect(config, dict, "")
    return {}


def _weight_map(index: ModelFile) -> dict[str, str]:
    try:
        return _parsed(read_file(index.path, limit=MAX_INDEX_BYTES))
    except OSError as error:
        raise FormatError(f"cannot read {index.path}: {error.strerror}") from None
    except FormatError as error:
        raise FormatError(f"{index.path}: {error}") from None


def _parsed(body: bytes) -> dict[str, str]:
    weight_map = expect(parse_object(body).get("weight_map"), dict, "weight_map")
    for name, file in weight_map.items():
        path = f"weight_map.{name[:200]}"
        expect(file, str, path)
        if file in ("", ".", "..") or "/" in file or "\\" in file or "\0" in file:
            raise FormatError(f"{file[:200]!r} is no name of a file beside the index", path)
    return weight_map


def _places(files: Iterable[ModelFile]) -> dict[str, TensorFile]:
    places: dict[str, TensorFile] = {}
    for one in files:
        file = read_header(one.path)
        for name in file.tensors:
            if (other := places.setdefault(name, file)) is not file:
                raise FormatError(f"both {other.path} and {file.path} hold the tensor {name[:200]!r}")
    return places


def _check(index: ModelFile, weight_map: Mapping[str, str], places: Mapping[str, TensorFile]) -> None:
    for name, file in weight_map.items():
        if name not in places or places[name].path.name != file:
            raise FormatError(f"{index.path} says that {file} holds the tensor {name[:200]!r}, and it does not")
    for name, there in places.items():
        if name not in weight_map:
            raise FormatError(f"{there.path} holds the tensor {name[:200]!r}, which {index.path} does not name")
