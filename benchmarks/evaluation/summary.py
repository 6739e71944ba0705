"""Medians and spread of the samples: what is committed, and what the page and the plots are made of."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from benchmarks.evaluation.samples import Sample


@dataclass(frozen=True, slots=True)
class Row:
    """The rounds of one contender in one situation."""

    part: str
    model: str
    case: str
    at: float
    contender: str
    measure: str
    median: float
    least: float
    most: float
    rounds: int


class Summary:
    """The rows of an evaluation, and the machine that it ran on."""

    def __init__(self, rows: Iterable[Row], about: Mapping[str, Any]) -> None:
        self.rows = tuple(rows)
        self.about = about

    @classmethod
    def of(cls, samples: Iterable[Sample], about: Mapping[str, Any]) -> Self:
        """Summarise the rounds of each situation, in the order of their first samples."""
        grouped: dict[tuple[str, str, str, float, str, str], list[float]] = {}
        for one in samples:
            key = (one.part, one.model, one.case, one.at, one.contender, one.measure)
            grouped.setdefault(key, []).append(one.value)
        rows = (
            Row(*key, statistics.median(values), min(values), max(values), len(values))
            for key, values in grouped.items()
        )
        return cls(rows, about)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        return cls((Row(**row) for row in content["rows"]), content["about"])

    def as_json(self) -> dict[str, Any]:
        return {"about": dict(self.about), "rows": [asdict(row) for row in self.rows]}

    def find(self, part: str, measure: str = "seconds", **wanted: str | float) -> tuple[Row, ...]:
        """Return the rows of a part that have the wanted ``model``, ``case``, ``at`` or ``contender``."""
        return tuple(
            row
            for row in self.rows
            if row.part == part
            and row.measure == measure
            and all(getattr(row, name) == value for name, value in wanted.items())
        )

    def values(self, part: str, name: str, measure: str = "seconds", **wanted: str | float) -> tuple[Any, ...]:
        """Return the different values of a field such as ``at`` or ``contender``, in order of appearance."""
        return tuple(dict.fromkeys(getattr(row, name) for row in self.find(part, measure, **wanted)))
