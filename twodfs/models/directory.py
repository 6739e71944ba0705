"""A model's directory: its files of weights, and the small ones beside them.

Files are looked at, and of ONNX models the graph is read: it says in which files beside it the weights are.

Names that begin with a dot are left out, as ``.git`` and ``.cache``. Of links see ``twodfs.links``: those of a
snapshot in a model hub's cache are followed, and others that leave the directory are an error.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from twodfs.errors import FormatError
from twodfs.files import read_file
from twodfs.links import is_followed
from twodfs.models.onnx import external_files

_WEIGHTS: Final = (
    *(".safetensors", ".gguf", ".ggml", ".llamafile", ".onnx", ".onnx_data", ".data", ".bin", ".pt", ".pth", ".ckpt"),
    *(".h5", ".keras", ".msgpack", ".ot", ".npz", ".tflite", ".pb", ".mlmodel", ".nemo", ".engine", ".plan"),
)
"""Endings of files of weights."""
_SMALL: Final = 64 * 2**20
"""Bytes from which on a file of another kind has a cell of its own; tokenizers have 35 million."""
_MAX_FILES: Final = 100_000
_POINTER: Final = b"version https://git-lfs.github.com/spec/"
_POINTER_BYTES: Final = 1024
_SKIPPED: Final = "__pycache__"
_GGUF: Final = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")
_RANK: Final = re.compile(r"(?:.*[-_.])?rank-(\d{1,6})-part-(\d{1,6})\.safetensors")
"""Names that vLLM gives files of ``sharded_state``."""
_DIGITS: Final = re.compile(r"(\d+)")


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file of a model; ``name`` is its path below the model's directory, ``size`` is in bytes."""

    path: Path
    name: str
    size: int

    @property
    def suffix(self) -> str:
        """The ending of its name, as ``.gguf``."""
        return PurePosixPath(self.name).suffix.lower()


@dataclass(frozen=True, slots=True)
class ModelDirectory:
    """A model's directory.

    Attributes:
        path: where it is; of a model hub's cache, the snapshot.
        name: what people call the model.
        weights: files of weights and other big ones, in natural order: ``part-2`` before ``part-10``.
        small: the others.
    """

    path: Path
    name: str
    weights: tuple[ModelFile, ...]
    small: tuple[ModelFile, ...]

    @classmethod
    def look_at(cls, path: Path) -> ModelDirectory:
        """Return the model in the directory ``path``, a snapshot of a model hub's cache or a repository in it.

        Raises:
            FormatError: there is no such directory, it holds no weights, a link in it leads out or to nothing, or a
                file of a set is missing.
        """
        if not path.is_dir():
            what = "is no directory; give the directory that the file is in" if path.exists() else "does not exist"
            raise FormatError(f"{str(path)!r} {what}")
        root = _snapshot(path)
        files = sorted(_files(root), key=lambda one: _natural(one.name))
        external = _external(files)
        weights = tuple(one for one in files if one.suffix in _WEIGHTS or one.size >= _SMALL or one.name in external)
        if not weights:
            raise FormatError(f"{str(root)!r} holds no file of weights; is it a model's directory?")
        _check_pointers(weights)
        _check_gguf(weights)
        kept = set(weights)
        return cls(root, _name_of(root), weights, tuple(one for one in files if one not in kept))

    @property
    def ranks(self) -> dict[tuple[int, int], ModelFile] | None:
        """The files of ``sharded_state`` by part and rank; None where any of the weights is none."""
        found = {}
        for one in self.weights:
            shard = _RANK.fullmatch(one.name)
            if shard is None:
                return None
            found[int(shard[2]), int(shard[1])] = one
        return found


def _snapshot(path: Path) -> Path:
    """Return the snapshot that is meant where ``path`` is a repository in a model hub's cache."""
    snapshots = path / "snapshots"
    if not (snapshots.is_dir() and (path / "blobs").is_dir()):
        return path
    try:
        revision = read_file(path / "refs" / "main", limit=1000).decode("utf-8", "replace").strip()
    except OSError:  # another branch was asked for
        revision = ""
    if revision and "/" not in revision and revision != ".." and (snapshots / revision).is_dir():
        return snapshots / revision
    found = sorted(one for one in snapshots.iterdir() if one.is_dir())
    if len(found) == 1:
        return found[0]
    raise FormatError(f"{str(snapshots)!r} holds {len(found)} snapshots, and none is named 'main'; give one of them")


def _name_of(root: Path) -> str:
    there = Path(os.path.realpath(root))
    if there.parent.name == "snapshots" and there.parents[1].name.startswith("models--"):
        return there.parents[1].name.rpartition("--")[2]
    return there.name or "model"


def _files(root: Path) -> Iterator[ModelFile]:
    count = 0
    for directory, directories, names in os.walk(root, onerror=_unreadable):
        directories[:] = [one for one in directories if not one.startswith(".") and one != _SKIPPED]
        for one in directories:
            if (link := Path(directory, one)).is_symlink():
                raise FormatError(f"{str(link)!r} is a link to a directory; a model's directory holds its files itself")
        for name in names:
            if name.startswith("."):
                continue
            count += 1
            if count > _MAX_FILES:
                raise FormatError(f"{str(root)!r} holds more than {_MAX_FILES} files; is it a model's directory?")
            yield _file(root, Path(directory, name))


def _file(root: Path, path: Path) -> ModelFile:
    name = path.relative_to(root).as_posix()
    try:
        name.encode()
        # A link that stays in the source is a copy here: loaders see files alone.
        if path.is_symlink():
            is_followed(path, root, follow=None, path=name)
        status = path.stat()
    except UnicodeEncodeError:
        raise FormatError(f"{str(path)!r} has a name that is not UTF-8") from None
    except OSError as error:
        raise FormatError(f"cannot read {str(path)!r}: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise FormatError(f"{str(path)!r} is no regular file")
    return ModelFile(path, name, status.st_size)


def _unreadable(error: OSError) -> None:
    raise FormatError(f"cannot read {error.filename!r}: {error.strerror}")


def _natural(name: str) -> tuple[tuple[bool, int, str], ...]:
    return tuple((one.isdecimal(), int(one) if one.isdecimal() else 0, one) for one in _DIGITS.split(name))


def _external(files: Sequence[ModelFile]) -> set[str]:
    """Return the names of files that ONNX models keep weights in."""
    there = {one.name for one in files}
    found = set()
    for one in files:
        if one.suffix == ".onnx":
            place = PurePosixPath(one.name).parent
            for location in external_files(one.path):
                name = (place / location).as_posix()
                if name not in there:
                    raise FormatError(f"{str(one.path)!r} has weights in the file {location!r}, which is not there")
                found.add(name)
    return found


def _check_pointers(weights: Sequence[ModelFile]) -> None:
    """Refuse what Git leaves in the place of big files where it was cloned without them."""
    for one in weights:
        if one.size < _POINTER_BYTES and read_file(one.path).startswith(_POINTER):
            raise FormatError(f"{str(one.path)!r} is a pointer of Git LFS; 'git lfs pull' gets the file itself")


def _check_gguf(weights: tuple[ModelFile, ...]) -> None:
    """Hold sets of GGUF files against the number that their names give: a set that lacks one cannot be opened."""
    sets: dict[tuple[str, str], set[int]] = {}
    for one in weights:
        if found := _GGUF.fullmatch(one.name):
            sets.setdefault((found[1], found[3]), set()).add(int(found[2]))
    for (name, count), there in sets.items():
        missing = next((at for at in range(1, int(count) + 1) if at not in there), None)
        if missing is not None:
            raise FormatError(f"'{name}-{missing:05}-of-{count}.gguf' is missing: {len(there)} of {count} are there")
