"""Counters, histograms and gauges of one process, and their snapshots.

A process counts on its event loop alone, so nothing is locked, and a series is an object that is looked up
once and kept: counting is an addition. ``snapshot`` is plain data that another process can add up
(``add_up``).
"""

from __future__ import annotations

import contextlib
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

Kind = Literal["counter", "gauge", "histogram"]
Series = list[list[Any]]
Snapshot = dict[str, Series]
"""Metric name -> ``[label values, value]`` of each series; a histogram's is ``[counts, sum, exemplars]``."""
Exemplar = tuple[str, float, float]
"""Trace id, observed value, seconds since the epoch."""

SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Tally:
    """One series of a counter."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def add(self, amount: float = 1) -> None:
        """Count ``amount`` more."""
        self.value += amount


class Distribution:
    """One series of a histogram."""

    __slots__ = ("_bounds", "counts", "exemplars", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.exemplars: dict[int, Exemplar] = {}

    def observe(self, value: float, trace_id: str | None = None) -> None:
        """Count ``value``; the latest of each bucket that has a trace is its exemplar."""
        at = bisect_left(self._bounds, value)
        self.counts[at] += 1
        self.total += value
        if trace_id is not None:
            self.exemplars[at] = (trace_id, value, time.time())


class Metric:
    """A name, its meaning, and its labels.

    Attributes:
        name: as Prometheus shows it; a counter's ends in ``_total``.
        meaning: one sentence, with the values of the labels.
        labels: names of the labels, in the order of their values. Those at the end that have no value, as that of
            the default registry, are left out of a series.
    """

    kind: Kind

    def __init__(self, name: str, meaning: str, *labels: str) -> None:
        self.name = name
        self.meaning = meaning
        self.labels = labels
        CATALOGUE[name] = self

    def series(self) -> Series:
        """Return every series as plain data."""
        raise NotImplementedError


CATALOGUE: Final[dict[str, Metric]] = {}
"""Every metric of the process, in the order they were declared."""


def _given(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return the values without empty ones at the end."""
    while values and not values[-1]:
        values = values[:-1]
    return values


class Counter(Metric):
    """Only ever grows."""

    kind: Kind = "counter"

    def __init__(self, name: str, meaning: str, *labels: str) -> None:
        super().__init__(name, meaning, *labels)
        self._series: dict[tuple[str, ...], Tally] = {}

    def of(self, *values: str) -> Tally:
        """Return the series with these label values; keep it where counting is frequent."""
        values = _given(values)
        found = self._series.get(values)
        if found is None:
            found = self._series[values] = Tally()
        return found

    def series(self) -> Series:
        """Return every series as plain data."""
        return [[list(values), one.value] for values, one in self._series.items()]


class Histogram(Metric):
    """How values are spread."""

    kind: Kind = "histogram"

    def __init__(self, name: str, meaning: str, *labels: str, bounds: Sequence[float] = SECONDS) -> None:
        super().__init__(name, meaning, *labels)
        self.bounds = tuple(bounds)
        self._series: dict[tuple[str, ...], Distribution] = {}

    def of(self, *values: str) -> Distribution:
        """Return the series with these label values; keep it where observing is frequent."""
        values = _given(values)
        found = self._series.get(values)
        if found is None:
            found = self._series[values] = Distribution(self.bounds)
        return found

    def series(self) -> Series:
        """Return every series as plain data."""
        return [
            [list(values), [list(one.counts), one.total, {str(at): e for at, e in one.exemplars.items()}]]
            for values, one in self._series.items()
        ]


class Gauge(Metric):
    """A current value, read from its owner at each scrape."""

    kind: Kind = "gauge"

    def __init__(
        self, name: str, meaning: str, *labels: str, joined: Callable[[float, float], float] = float.__add__
    ) -> None:
        """``joined``: combines the values of two processes."""
        super().__init__(name, meaning, *labels)
        self.joined = joined
        self._read: dict[tuple[str, ...], list[Callable[[], float]]] = {}

    @contextlib.contextmanager
    def read_from(self, read: Callable[[], float], *values: str) -> Iterator[None]:
        """Ask ``read`` for the value, for the time of the context."""
        readers = self._read.setdefault(_given(values), [])
        readers.append(read)
        try:
            yield
        finally:
            readers.remove(read)

    def series(self) -> Series:
        """Return every series that has a reader, as plain data."""
        found: Series = []
        for values, readers in self._read.items():
            if readers:
                value = float(readers[0]())
                for read in readers[1:]:
                    value = self.joined(value, float(read()))
                found.append([list(values), value])
        return found


class Meter(Gauge):
    """A counter that another object keeps; read like a gauge, added up like a counter."""

    kind: Kind = "counter"


def snapshot() -> Snapshot:
    """Return the state of every metric of this process; to be called on its loop."""
    return {name: metric.series() for name, metric in CATALOGUE.items()}


def add_up(snapshots: Sequence[Snapshot], ended: Sequence[Snapshot] = ()) -> Snapshot:
    """Return the sum of the snapshots of processes.

    Args:
        snapshots: of processes that run.
        ended: the last ones of processes that have ended: their counters stay, their gauges do not.
    """
    total: Snapshot = {}
    for name, metric in CATALOGUE.items():
        parts = snapshots if metric.kind == "gauge" else (*ended, *snapshots)
        joined: dict[tuple[str, ...], Any] = {}
        for part in parts:
            for labels, value in part.get(name, ()):
                values = tuple(labels)
                joined[values] = _join(metric, joined[values], value) if values in joined else value
        total[name] = [[list(values), value] for values, value in joined.items()]
    return total


def _join(metric: Metric, first: Any, second: Any) -> Any:
    if isinstance(metric, Histogram):
        counts = [one + other for one, other in zip(first[0], second[0], strict=True)]
        return [counts, first[1] + second[1], _latest(first[2], second[2])]
    return metric.joined(first, second) if isinstance(metric, Gauge) else first + second


def _latest(first: Mapping[str, Exemplar], second: Mapping[str, Exemplar]) -> dict[str, Exemplar]:
    joined = dict(first)
    for at, exemplar in second.items():
        if at not in joined or joined[at][2] < exemplar[2]:
            joined[at] = exemplar
    return joined
