"""A model of 1 GiB split by layers, beside `cp` and SHA-256 of the same bytes: `python -m benchmarks.model_split`.

The contenders take turns, round after round, on files that the page cache holds. `cp, sha256` copies the files and then
hashes the copies, with OpenSSL's SHA-256, which uses the processor's own instructions as Python's does; a build does
both in one pass, and writes tars that are cut at other places. Each build has an empty store; `again` has that of the
round, and a model that nobody touched.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.evaluation.measuring.meter import Meter
from benchmarks.peers import cpu_model
from tests.lab.models import llama

RESULT: Final = Path(__file__).parent / "results" / "model_split.json"
PEER: Final = "cp, sha256"
BUILD: Final = "build"
"""As users run it; with one job alone is for comparison."""
AIM: Final = 0.5
"""Speed beside the peer's that is aimed at."""
MOST_MEMORY: Final = 100 * 2**20
"""Bytes that a build may have resident."""
WIDTH: Final = 1472
"""Of a model of 1 GiB: 24 layers of 20 bytes for each of its squares."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One run; seconds on the clock and of processors, and the most bytes that were resident."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Contender:
    name: str
    run: Callable[[], None]


def measure(directory: Path, rounds: int, width: int) -> tuple[int, dict[str, list[Sample]]]:
    """Return the bytes of the model, and the samples of each contender."""
    model = llama(directory / "model", width=width, words=32 * width // 10)
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
        Contender(PEER, copied),
        Contender("build, one job", lambda: anew("--jobs", "1")),
        Contender(BUILD, anew),
        Contender("build, again", built),
    )
    samples: dict[str, list[Sample]] = {one.name: [] for one in contenders}
    copied()  # so that the page cache holds the model for the first of them, too
    for _ in range(rounds):
        for contender in contenders:
            with Meter() as used:
                contender.run()
            samples[contender.name].append(Sample(used.seconds, used.cpu_seconds, used.peak_bytes))
    return size, samples


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=int, default=WIDTH, help="of the model; its bytes grow with the square")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-models-") as directory:
        size, samples = measure(Path(directory), asked.rounds, asked.width)
    rows = {}
    for name, runs in samples.items():
        beside = zip(samples[PEER], runs, strict=True)
        rows[name] = {
            "seconds": median(one.seconds for one in runs),
            "cpuSeconds": median(one.cpu_seconds for one in runs),
            "peakBytes": max(one.peak_bytes for one in runs),
            "speedBesidePeer": median(peer.seconds / one.seconds for peer, one in beside),
        }
        row = rows[name]
        print(
            f"{name:15} {row['seconds']:6.2f} s  {row['cpuSeconds']:6.2f} s of processors  "
            f"{row['peakBytes'] / 2**20:5.0f} MiB  {row['speedBesidePeer']:6.2f} times as fast as {PEER}"
        )
    content = {
        "cpu": cpu_model(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        "modelBytes": size,
        "rounds": asked.rounds,
        "contenders": rows,
    }
    if asked.width == WIDTH:
        RESULT.write_text(json.dumps(content, indent=1) + "\n")
    builds = [row for name, row in rows.items() if name != PEER]
    is_met = rows[BUILD]["speedBesidePeer"] >= AIM and all(row["peakBytes"] <= MOST_MEMORY for row in builds)
    print(f"aim, {AIM:g} times as fast in {MOST_MEMORY >> 20} MiB: {'met' if is_met else 'NOT met'}")
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
