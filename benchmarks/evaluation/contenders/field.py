"""One image with a field: ``twodfs build``, a process of its own each time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.evaluation.contenders.builder import PATIENCE
from benchmarks.models import Model

_SOURCE: Final = Path(__file__).parents[3]


class Twodfs:
    """``twodfs build`` and ``twodfs build --push``, into a store of its own."""

    name = "2DFS, one image"
    servers: Sequence[int] = ()

    def __init__(self, directory: Path) -> None:
        """Keep the store below ``directory``; the program has its bytecode, as an installation has."""
        self._store = directory / "store"
        more = {"TWODFS_STORE": str(self._store), "PYTHONPATH": str(_SOURCE)}
        self._environment = {**os.environ, **more, "PYTHONPYCACHEPREFIX": str(_SOURCE / "build" / "bytecode")}
        self._environment.pop("PYTHONDONTWRITEBYTECODE", None)
        compiling = (sys.executable, "-m", "compileall", "-q", str(_SOURCE / "twodfs"))
        subprocess.run(compiling, env=self._environment, check=True, capture_output=True)

    def build(self, model: Model, repository: str) -> None:
        self._run(model, repository)

    def publish(self, model: Model, repository: str) -> None:
        self._run(model, repository, "--push")

    def forget(self) -> None:
        shutil.rmtree(self._store, ignore_errors=True)

    def _run(self, model: Model, repository: str, *options: str) -> None:
        argv = [sys.executable, "-m", "twodfs", "build", model.base, f"{repository}/field:v1", "--quiet", *options]
        subprocess.run(
            argv, cwd=model.directory, env=self._environment, check=True, capture_output=True, timeout=PATIENCE
        )
