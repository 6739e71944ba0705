"""A run: parts are measured one after another, and what is measured stays, whatever becomes of those that follow."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.evaluation.measuring.bench import Bench
from benchmarks.evaluation.part import Part
from benchmarks.evaluation.results.conditions import Conditions, Machine, today
from benchmarks.evaluation.results.samples import Samples, read_samples
from benchmarks.evaluation.results.summary import Summary


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What is measured how, and where it is written."""

    parts: Sequence[Part]
    models: Sequence[str]
    rounds: int
    quick: bool
    congestion_control: str
    raw: Path
    """The directory of the CSV files."""
    results: Path
    """The summary. Parts in it that are not measured stay as they are."""

    def measure(self) -> None:
        """Measure all parts; the exception of one that fails has its name in a note."""
        for number, part in enumerate(self.parts):
            print(
                f"== {number + 1} of {len(self.parts)}: {part.title}{self._left(number)}", file=sys.stderr, flush=True
            )
            try:
                new = self._measured(part)
            except Exception as error:
                error.add_note(f"in the part {part.name} of the evaluation")
                raise
            Summary.read(self.results).updated(new).write(self.results)

    def _measured(self, part: Part) -> Summary:
        load, began = os.getloadavg()[0], time.monotonic()
        with tempfile.TemporaryDirectory(prefix="twodfs-evaluation-") as directory:
            bench = Bench(Path(directory), Samples(self.raw), self.models, self.rounds, self.quick)
            part.measure(bench)
            machine = Machine.this(Path(directory), bench.versions, self.congestion_control)
        conditions = Conditions(
            date=today(),
            command=shlex.join(("python", "-m", "benchmarks.evaluation", *sys.argv[1:])),
            models=self.models,
            rounds=self.rounds,
            quick=self.quick,
            seconds=round(time.monotonic() - began, 1),
            load_before=round(load, 2),
            machine=machine,
        )
        return Summary.of(read_samples(self.raw, part.name), {part.name: conditions})

    def _left(self, number: int) -> str:
        """Return how long the parts from a number on will take; nothing where one was never measured like this."""
        seconds = 0.0
        known = Summary.read(self.results).conditions
        for part in self.parts[number:]:
            before = known.get(part.name)
            if before is None or before.quick != self.quick:
                return ""
            seconds += before.seconds * self.rounds / before.rounds
        return f"; some {max(1, round(seconds / 60))} minutes left"
