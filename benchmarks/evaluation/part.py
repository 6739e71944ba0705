"""A part of the evaluation: it measures, and says how its samples are shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from benchmarks.evaluation.bench import Bench
from benchmarks.evaluation.summary import Row, Summary


@dataclass(frozen=True, slots=True)
class Panel:
    """One diagram: a name for each line, and its rows, of which ``at`` goes across and the median up."""

    title: str
    across: str
    up: str
    lines: Sequence[tuple[str, Sequence[Row]]]
    logarithmic: bool = False


@dataclass(frozen=True, slots=True)
class Plot:
    """Panels side by side, in files of this name."""

    name: str
    panels: Sequence[Panel]


class Part(Protocol):
    """A part of the evaluation."""

    @property
    def name(self) -> str:
        """Its name in samples, file names and on the command line."""

    @property
    def title(self) -> str:
        """Its heading on the page."""

    def measure(self, bench: Bench) -> None:
        """Measure, and add the samples to ``bench.samples``."""

    def section(self, summary: Summary) -> Iterator[str]:
        """Yield the paragraphs and tables (Markdown) below its heading; figures come from the summary alone."""

    def plots(self, summary: Summary) -> Iterator[Plot]:
        """Yield what is drawn."""
