"""``python -m benchmarks.evaluation``: measure all parts, and write the page with its plots."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from benchmarks.evaluation.bench import Bench
from benchmarks.evaluation.document import write_page
from benchmarks.evaluation.part import Part
from benchmarks.evaluation.parts import PARTS
from benchmarks.evaluation.samples import Samples, read_samples
from benchmarks.evaluation.summary import Summary
from benchmarks.models import SPLITS
from benchmarks.peers import machine

_SOURCE: Final = Path(__file__).parents[2]
RESULTS: Final = Path(__file__).parents[1] / "results" / "evaluation.json"
RAW: Final = _SOURCE / "build" / "evaluation"
PAGES: Final = _SOURCE / "docs"
_ROUNDS: Final = 5


def main() -> None:
    arguments = _arguments()
    parts = [part for part in PARTS if not arguments.parts or part.name in arguments.parts]
    raw: Path = arguments.output / "raw" if arguments.output else RAW
    began = time.monotonic()
    about = {"environment": machine(), "rounds": arguments.rounds, "quick": arguments.quick}
    with tempfile.TemporaryDirectory(prefix="twodfs-evaluation-") as directory:
        bench = Bench(Path(directory), Samples(raw), arguments.models, arguments.rounds, arguments.quick)
        _measure(parts, bench)
    about["minutes"] = round((time.monotonic() - began) / 60, 1)
    summary = Summary.of(read_samples(raw), about)
    results = arguments.output / "evaluation.json" if arguments.output else RESULTS
    results.write_text(json.dumps(summary.as_json(), indent=1) + "\n")
    write_page(summary, arguments.output or PAGES)


def _measure(parts: Iterable[Part], bench: Bench) -> None:
    for part in parts:
        print(f"== {part.title}", flush=True)
        began = time.monotonic()
        part.measure(bench)
        print(f"{time.monotonic() - began:.0f} s", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny models, one round, few points: does all of it work?")
    parser.add_argument("--parts", nargs="+", choices=[part.name for part in PARTS], default=[])
    parser.add_argument("--models", nargs="+", choices=SPLITS, default=list(SPLITS))
    parser.add_argument("--rounds", type=int, help=f"of which the median counts; {_ROUNDS}, and 1 with --quick")
    parser.add_argument("--output", type=Path, help="directory for everything that is written; else this source tree")
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (1 if arguments.quick else _ROUNDS)
    if arguments.output:
        arguments.output.mkdir(parents=True, exist_ok=True)
    return arguments


if __name__ == "__main__":
    main()
