"""A model of 1 GiB split by layers, beside `cp` and SHA-256 of the same bytes.

The contenders take turns, round after round, on files that the page cache holds. `cp` copies the files, and OpenSSL,
which uses the processor's own instructions as Python does, hashes the copies; a build does both in one pass, and writes
tars that are cut at other places. Each build has an empty store; `again` has that of the round, and a model that nobody
touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.evaluation.measuring.meter import Meter
from tests.lab.models import llama

PEER: Final = "cp and SHA-256"
SPLIT: Final = "twodfs"
"""As users run it; with one job alone is for comparison."""
_WIDTH: Final = 1472
"""Of a model of 1 GiB: 24 layers of 20 bytes for each of its squares."""


@dataclass(frozen=True, slots=True)
class _Run:
    """Seconds on the clock and of processors, and the most bytes that were resident."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class _Contender:
    name: str
    run: Callable[[], None]


def model_split(directory: Path, rounds: int) -> dict[str, Any]:
    """Return the bytes of the model, and by contender the medians of its runs and its speed beside the peer's."""
    model = llama(directory / "model", width=_WIDTH, words=32 * _WIDTH // 10)
    size = sum(one.stat().st_size for one in model.glob("*.safetensors"))
    copy, store = directory / "copy", directory / "store"

    def copied() -> None:
        shutil.rmtree(copy, ignore_errors=True)
        subprocess.run(["cp", "--reflink=never", "-r", str(model), str(copy)], check=True)
        files = [str(one) for one in copy.glob("*.safetensors")]
        subprocess.run(["openssl", "dgst", "-sha256", *files], check=True, stdout=subprocess.DEVNULL)

    def built(*options: str) -> None:
        argv = ["-m", "twodfs", "build", "--model", str(model), "--split", "layers", "--stages", "4", *options]
        subprocess.run(
            [sys.executable, *argv, "localhost:1/model:v1"],
            env={**os.environ, "TWODFS_STORE": str(store)},
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def anew(*options: str) -> None:
        shutil.rmtree(store, ignore_errors=True)
        built(*options)

    contenders = (
        _Contender(PEER, copied),
        _Contender(f"{SPLIT}, one job", lambda: anew("--jobs", "1")),
        _Contender(SPLIT, anew),
        _Contender(f"{SPLIT}, again", built),
    )
    samples: dict[str, list[_Run]] = {one.name: [] for one in contenders}
    copied()  # so that the page cache holds the model for the first of them, too
    for _ in range(rounds):
        for contender in contenders:
            with Meter() as used:
                contender.run()
            samples[contender.name].append(_Run(used.seconds, used.cpu_seconds, used.peak_bytes))
    shutil.rmtree(directory)
    return {"bytes": size, "contenders": {name: _medians(runs, samples[PEER]) for name, runs in samples.items()}}


def _medians(runs: list[_Run], peer: list[_Run]) -> dict[str, float]:
    return {
        "seconds": median(one.seconds for one in runs),
        "cpu_seconds": median(one.cpu_seconds for one in runs),
        "peak_bytes": max(one.peak_bytes for one in runs),
        "speed": median(other.seconds / one.seconds for other, one in zip(peer, runs, strict=True)),
    }
