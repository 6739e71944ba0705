"""``python -m benchmarks.evaluation``: measure all parts, and write the page with its plots."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from benchmarks import network
from benchmarks.evaluation.document import write_page
from benchmarks.evaluation.parts import PARTS
from benchmarks.evaluation.results.summary import Summary
from benchmarks.evaluation.run import Run
from benchmarks.models import SPLITS

_SOURCE: Final = Path(__file__).parents[2]
RESULTS: Final = _SOURCE / "benchmarks" / "results" / "evaluation.json"
RAW: Final = _SOURCE / "build" / "evaluation"
PAGES: Final = _SOURCE / "docs"
_ROUNDS: Final = 5


def main() -> int:
    """Return the exit status: 130 after Ctrl-C."""
    arguments = _arguments()
    output: Path | None = arguments.output
    results = output / "evaluation.json" if output else RESULTS
    status = 0
    if not arguments.page:
        run = Run(
            parts=[part for part in PARTS if not arguments.parts or part.name in arguments.parts],
            models=arguments.models,
            rounds=arguments.rounds,
            quick=arguments.quick,
            congestion_control=network.enter("benchmarks.evaluation"),
            raw=output / "raw" if output else RAW,
            results=results,
        )
        try:
            run.measure()
        except KeyboardInterrupt:
            print(f"interrupted; {results} has the parts that were finished", file=sys.stderr)
            status = 130
    write_page(Summary.read(results), PARTS, output or PAGES)
    return status


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.evaluation",
        description="Redo the papers' evaluations and more, and write docs/evaluation.md with its plots.",
    )
    parser.add_argument("--quick", action="store_true", help="tiny models, one round, few points: does all of it work?")
    parser.add_argument(
        "--parts",
        nargs="+",
        metavar="PART",
        choices=[part.name for part in PARTS],
        default=[],
        help=f"that are measured; the others stay as they were: {', '.join(part.name for part in PARTS)}",
    )
    parser.add_argument(
        "--models", nargs="+", metavar="MODEL", choices=SPLITS, default=list(SPLITS), help=", ".join(SPLITS)
    )
    parser.add_argument("--rounds", type=int, help=f"of which the median counts; {_ROUNDS}, and 1 with --quick")
    parser.add_argument(
        "--output", type=Path, help="directory for page, plots, summary and CSV files; else they go into this source"
    )
    parser.add_argument("--page", action="store_true", help="measure nothing: page and plots again, from the summary")
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (1 if arguments.quick else _ROUNDS)
    if arguments.quick and not arguments.output:
        arguments.output = _SOURCE / "build" / "evaluation-quick"  # what is committed are measurements
    if arguments.output:
        arguments.output.mkdir(parents=True, exist_ok=True)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
