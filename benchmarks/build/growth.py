"""What limits a build, by the size of the model: the start of the program, and SHA-256."""

from __future__ import annotations

import functools
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.build.floor import hashing
from benchmarks.evaluation.contenders.field import Twodfs
from benchmarks.models import Noise, make_model

SCALES = (0.01, 0.1, 0.3, 1.0, 3.0)
"""Sizes of the models, as multiples of the real one."""


def growth(name: str, directory: Path, noise: Noise, twodfs: Twodfs, rounds: int) -> Iterator[dict[str, Any]]:
    """Yield, for each size, the medians of hashing the files, of a build into the local store, and of one more."""
    for scale in SCALES:
        model = make_model(name, directory / f"{scale:g}", noise, splits=10, scale=scale, by_layers=True)
        build = functools.partial(twodfs.build, model, "localhost/growth")
        taken: dict[str, list[float]] = {"sha256": [], "build": [], "unchanged": []}
        for _ in range(rounds):
            twodfs.forget()
            os.sync()
            taken["sha256"].append(hashing(model)[0])
            taken["build"].append(timed(build))
            taken["unchanged"].append(timed(build))
        yield {"bytes": model.size, **{what: statistics.median(seconds) for what, seconds in taken.items()}}


def interpreter() -> float:
    """Return the least seconds of three starts of an interpreter that does nothing."""
    return min(timed(lambda: subprocess.run([sys.executable, "-c", ""], check=True)) for _ in range(3))


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that ``work`` takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
