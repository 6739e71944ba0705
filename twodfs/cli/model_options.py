"""The options of ``twodfs build --model``: the build file that they amount to."""

from __future__ import annotations

import os
from argparse import Namespace
from collections import ChainMap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from twodfs.choices import DEFAULT_NAMES
from twodfs.errors import BuildError, BuildFileError, FormatError, UsageError
from twodfs.layers.build_file.file import BuildFile
from twodfs.layers.build_file.origin import FileOrigin
from twodfs.layers.build_file.variables import escaped
from twodfs.layers.expansion import expand_models
from twodfs.oci.documents import Json

_OPTIONS: Final = {
    "split": "--split",
    "stages": "--stages",
    "max_layer": "--max-layer",
    "layer_pattern": "--layer-pattern",
    "at": "--at",
}
"""Options beside ``--model``, by the keys that they are in a build file."""


@dataclass(frozen=True, slots=True)
class BuildSource:
    """Where the cells come from.

    Attributes:
        file: the build file; where there is a model, None.
        model: what is said about a model, as an entry of ``models``; None where there is a build file.
        written: where the build file is written that the model amounts to; None for nowhere.
        variables: of the build file, before those of the environment.
    """

    file: Path | None
    model: Json | None = None
    written: Path | None = None
    variables: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, arguments: Namespace) -> BuildSource:
        """Return the source that the command line names.

        Raises:
            UsageError: options contradict each other.
        """
        told = {key: value for key in _OPTIONS if (value := getattr(arguments, key)) is not None}
        if arguments.model is None:
            alone = next((_OPTIONS[key] for key in told), "--write-2dfs" if arguments.write_2dfs else None)
            if alone:
                raise UsageError(f"{alone} goes with --model alone; 'models' in a build file has the like")
            return cls(arguments.file or _default_file(), variables=dict(arguments.set or ()))
        if arguments.file is not None:
            raise UsageError("--model takes the place of a build file; leave out --file, or write 'models' into it")
        if arguments.set is not None:
            raise UsageError("--set goes with a build file, and --model takes its place")
        return cls(None, {"dir": str(arguments.model), **told}, arguments.write_2dfs)

    def load(self) -> BuildFile:
        """Return the build file, whose sources are all there; a model's is written where that is asked for.

        Raises:
            BuildError: it cannot be written.
            BuildFileError: it cannot be read, is malformed, or a source is missing or malformed.
        """
        if self.file is not None:
            return BuildFile.load(self.file, ChainMap({**self.variables}, os.environ))
        models = [self.model]
        with _mistakes_of_options(has_place="at" in (self.model or {})):
            build_file = BuildFile.of({"models": models}, Path(), FileOrigin())
            if self.written:
                _write(self.written, expand_models(models, Path()).as_build_file(self.written.parent))
        return build_file


def _default_file() -> Path:
    """Return the build file that is meant where none is named."""
    first = Path(DEFAULT_NAMES[0])
    return next((one for one in map(Path, DEFAULT_NAMES) if one.exists()), first)


@contextmanager
def _mistakes_of_options(*, has_place: bool) -> Iterator[None]:
    """Let mistakes in the entry that options make name the options; ``has_place``: ``--at`` is one of them."""
    try:
        yield
    except FormatError as error:
        key = error.path.removeprefix("models[0]").removeprefix(".")
        if has_place and key.startswith("dst["):
            key = "at"
        where = _OPTIONS.get(key, "--model")
        raise BuildFileError(f"{error.problem}, in {where}") from None


def _write(path: Path, content: Any) -> None:
    try:
        # Never over another: people go on by hand.
        with path.open("xb") as file:
            file.write(orjson.dumps(escaped(content), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    except FileExistsError:
        raise BuildError(f"{path} is there already; remove it, or name another file with --write-2dfs") from None
    except OSError as error:
        raise BuildError(f"cannot write {path}: {error.strerror}") from None
