"""Medians and spread of the samples: what is committed, and what the page and the plots are made of."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from benchmarks.evaluation.results.conditions import Conditions
from benchmarks.evaluation.results.samples import Sample


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

    def scaled(self, scale: float) -> Row:
        """Return the row in another unit."""
        return replace(self, median=self.median * scale, least=self.least * scale, most=self.most * scale)

    def written(self, digits: int = 2) -> str:
        """Return the median, and the least and the most where there were several rounds."""
        median, least, most = (f"{value:,.{digits}f}" for value in (self.median, self.least, self.most))
        return median if self.rounds == 1 else f"{median} ({least}-{most})"


class Summary:
    """The rows of an evaluation, and the conditions of each part."""

    def __init__(self, rows: Iterable[Row], conditions: Mapping[str, Conditions]) -> None:
        self.rows = tuple(rows)
        self.conditions = conditions

    @classmethod
    def of(cls, samples: Iterable[Sample], conditions: Mapping[str, Conditions]) -> Self:
        """Summarise the rounds of each situation, in the order of their first samples."""
        grouped: dict[tuple[str, str, str, float, str, str], list[float]] = {}
        for one in samples:
            key = (one.part, one.model, one.case, one.at, one.contender, one.measure)
            grouped.setdefault(key, []).append(float(f"{one.value:.9g}"))
        rows = (
            Row(*key, statistics.median(values), min(values), max(values), len(values))
            for key, values in grouped.items()
        )
        return cls(rows, conditions)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return what ``write`` wrote; an empty summary where there is no such file."""
        if not path.exists():
            return cls((), {})
        content = json.loads(path.read_text(encoding="utf-8"))
        conditions = {name: Conditions.from_json(one) for name, one in content["conditions"].items()}
        return cls((Row(**row) for row in content["rows"]), conditions)

    def write(self, path: Path) -> None:
        """Write a JSON document with a line for each row, so that a difference can be read."""
        conditions = {name: asdict(one) for name, one in self.conditions.items()}
        rows = ",\n".join(json.dumps(asdict(row)) for row in self.rows)
        path.write_text(
            f'{{"conditions": {json.dumps(conditions, indent=1)},\n"rows": [\n{rows}\n]}}\n', encoding="utf-8"
        )

    def updated(self, newer: Summary) -> Summary:
        """Return the summary with the parts of a newer one in the place of the same parts."""
        kept = (row for row in self.rows if row.part not in newer.conditions)
        return Summary((*kept, *newer.rows), {**self.conditions, **newer.conditions})

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

    def ahead(
        self, part: str, measure: str = "seconds", *, ours: str = "2dfs", theirs: str = "docker"
    ) -> Iterator[tuple[Row, Row]]:
        """Yield our row and theirs for each situation in which the best of theirs needs less than the best of ours.

        Args:
            part: whose rows are looked at.
            measure: of which less is better.
            ours: what the names of our contenders begin with, in small letters.
            theirs: the same of the others.
        """
        situations: dict[tuple[str, str, float], list[Row]] = {}
        for row in self.find(part, measure):
            situations.setdefault((row.model, row.case, row.at), []).append(row)
        for rows in situations.values():
            best = [
                min((row for row in rows if row.contender.lower().startswith(one)), key=_median, default=None)
                for one in (ours, theirs)
            ]
            if best[0] is not None and best[1] is not None and best[1].median < best[0].median:
                yield best[0], best[1]


def _median(row: Row) -> float:
    return row.median
