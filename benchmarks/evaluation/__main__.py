"""``python -m benchmarks.evaluation``: measure all parts, and write the page with its plots."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks import network
from benchmarks.evaluation.bench import Bench
from benchmarks.evaluation.conditions import Conditions, Machine, today
from benchmarks.evaluation.document import write_page
from benchmarks.evaluation.part import Part
from benchmarks.evaluation.parts import PARTS
from benchmarks.evaluation.samples import Samples, read_samples
from benchmarks.evaluation.summary import Summary
from benchmarks.models import SPLITS

_SOURCE: Final = Path(__file__).parents[2]
RESULTS: Final = _SOURCE / "benchmarks" / "results" / "evaluation.json"
RAW: Final = _SOURCE / "build" / "evaluation"
PAGES: Final = _SOURCE / "docs"
_ROUNDS: Final = 5


def main() -> int:
    """Return the exit status: 130 after Ctrl-C."""
    arguments = _arguments()
    control = "" if arguments.page else network.enter("benchmarks.evaluation")
    parts = [part for part in PARTS if not arguments.parts or part.name in arguments.parts]
    output: Path | None = arguments.output
    raw, results, pages = (output / "raw", output / "evaluation.json", output) if output else (RAW, RESULTS, PAGES)
    summary = Summary.read(results)
    status = 0
    if not arguments.page:
        left = _Left(parts, summary, arguments)
        try:
            for part in parts:
                left.tell(part)
                summary = summary.updated(_measured(part, raw, arguments, control))
                summary.write(results)  # what is measured stays, whatever becomes of the parts that follow
        except KeyboardInterrupt:
            print(f"interrupted; {results} has the parts that were finished", file=sys.stderr)
            status = 130
    write_page(summary, PARTS, pages)
    return status


def _measured(part: Part, raw: Path, arguments: argparse.Namespace, control: str) -> Summary:
    """Measure one part, and return its summary."""
    load, began = os.getloadavg()[0], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="twodfs-evaluation-") as directory:
        bench = Bench(Path(directory), Samples(raw), arguments.models, arguments.rounds, arguments.quick)
        try:
            part.measure(bench)
        except Exception as error:
            error.add_note(f"in the part {part.name} of the evaluation")
            raise
        machine = Machine.this(Path(directory), bench.versions, control)
    seconds = round(time.monotonic() - began, 1)
    conditions = Conditions(
        today(),
        shlex.join(("python", "-m", "benchmarks.evaluation", *sys.argv[1:])),
        arguments.models,
        arguments.rounds,
        arguments.quick,
        seconds,
        round(load, 2),
        machine,
    )
    return Summary.of(read_samples(raw, part.name), {part.name: conditions})


class _Left:
    """What is still to be measured, and how long that took the last time."""

    def __init__(self, parts: Sequence[Part], before: Summary, arguments: argparse.Namespace) -> None:
        self._parts = parts
        # Other rounds take as many times as long; a quick run says nothing about another.
        self._seconds = {
            name: of.seconds * arguments.rounds / of.rounds
            for name, of in before.conditions.items()
            if of.quick == arguments.quick
        }

    def tell(self, part: Part) -> None:
        at = self._parts.index(part)
        seconds = [self._seconds.get(one.name) for one in self._parts[at:]]
        known = sum(filter(None, seconds))
        left = f"; some {known / 60:.0f} minutes left" if None not in seconds else ""
        print(f"== {at + 1} of {len(self._parts)}: {part.title}{left}", file=sys.stderr, flush=True)


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
