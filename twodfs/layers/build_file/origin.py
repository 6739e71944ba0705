"""The origin of a build file: what its errors call it, and on which line of it something stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from twodfs.errors import BuildFileError, FormatError

_LAST_STEP: Final = re.compile(r"(?:\.[^.\[\]]*|\[[0-9]*\])\Z|\A[^.\[\]]+\Z")


@dataclass(frozen=True, slots=True)
class FileOrigin:
    """Where a build file comes from.

    Attributes:
        name: of the file; empty where it has none.
        yaml: its text; empty where it is JSON.
    """

    name: str = ""
    yaml: str = field(default="", repr=False)

    @contextmanager
    def mistakes(self) -> Iterator[None]:
        """Make a ``BuildFileError`` that names file and line of every ``FormatError`` raised in the block."""
        try:
            yield
        except FormatError as error:
            line = self._line(error.path)
            parts = (self.name, f"line {line}" if line else "", str(error))
            raise BuildFileError(": ".join(filter(None, parts))) from None

    def _line(self, path: str) -> int | None:
        """Return the line of YAML that has the value at ``path``, or the object that it is missing from."""
        if not (self.yaml and path):
            return None
        from twodfs.layers.build_file.yaml_text import read_yaml  # noqa: PLC0415 - JSON is read without it

        lines: dict[str, int] = {}
        read_yaml(self.yaml, lines)
        while path and path not in lines:
            path, steps = _LAST_STEP.subn("", path)
            if not steps:
                return None
        return lines.get(path)
