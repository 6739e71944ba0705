"""Single measurements, written to CSV files as they are made."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement: a line of a CSV file."""

    part: str
    model: str
    case: str
    """A situation such as ``top-down``; empty where the part has one only."""
    at: float
    """The place on the horizontal axis: percent, number of images, splits, devices."""
    contender: str
    measure: str
    """With its unit: ``seconds``, ``cpu_seconds``, ``peak_bytes``, ``bytes``."""
    round: int
    turn: int
    """Which contender's turn it was in its round, from 0."""
    value: float


class Samples:
    """The measurements of a run, in a directory with one CSV file for each part."""

    def __init__(self, directory: Path) -> None:
        """Write below ``directory``, which is made; files of an earlier run are replaced."""
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._begun: set[str] = set()

    def add(self, sample: Sample) -> None:
        """Append a measurement to the file of its part."""
        is_first = sample.part not in self._begun
        self._begun.add(sample.part)
        with (self._directory / f"{sample.part}.csv").open("w" if is_first else "a", newline="") as file:
            writer = csv.DictWriter(file, [one.name for one in fields(Sample)])
            if is_first:
                writer.writeheader()
            writer.writerow(asdict(sample))


def read_samples(directory: Path, part: str) -> Iterator[Sample]:
    """Yield the measurements of a part, from its CSV file."""
    with (directory / f"{part}.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            numbers: dict[str, Any] = {"at": float(row["at"]), "round": int(row["round"]), "turn": int(row["turn"])}
            yield Sample(**{**row, **numbers, "value": float(row["value"])})
