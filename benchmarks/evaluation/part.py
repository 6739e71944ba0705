"""A part of the evaluation: it measures, and says how its samples are shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from benchmarks.evaluation.measuring.bench import Bench
from benchmarks.evaluation.results.summary import Summary
from benchmarks.plots import Plot


@dataclass(frozen=True, slots=True)
class Comparison:
    """A figure of the papers beside ours: a row of the first table of the page."""

    figure: str
    what: str
    paper: str
    here: str
    """From the summary."""
    is_met: bool
    why: str = ""
    """Where ours is less, in words without figures."""


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
        """Yield what is drawn; the page shows it after the first paragraph."""

    def comparisons(self, summary: Summary) -> Iterator[Comparison]:
        """Yield the figures that a paper reports, beside ours."""

    def behind(self, summary: Summary) -> Iterator[str]:
        """Yield a sentence, with figures from the summary, for each situation in which Docker is better, and why."""
