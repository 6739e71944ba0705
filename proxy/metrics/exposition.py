"""Snapshots -> the text that Prometheus reads, plain or OpenMetrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import cast

from prometheus_client import Metric as Family
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.samples import Exemplar as PrometheusExemplar

from proxy.metrics.instruments import CATALOGUE, Exemplar, Histogram, Metric, Series, Snapshot


def render(state: Snapshot, accept: str) -> tuple[bytes, str]:
    """Return ``state`` in the format that an ``Accept`` header asks for, and the content type of it.

    Takes milliseconds, and touches nothing but its arguments: to be called in a thread.
    """
    registry = CollectorRegistry()
    registry.register(_Collector(state))
    encoder, content_type = choose_encoder(accept)
    return encoder(registry), content_type


class _Collector(Collector):
    def __init__(self, state: Snapshot) -> None:
        self._state = state

    def collect(self) -> Iterator[Family]:
        for name, metric in CATALOGUE.items():
            yield _family(metric, self._state.get(name, []))


def _family(metric: Metric, series: Series) -> Family:
    if isinstance(metric, Histogram):
        spread = HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
        for labels, (counts, total, exemplars) in series:
            # A label's values come as a plain list of counts below each bound and above the last.
            bounds = [*map(_number, metric.bounds), "+Inf"]
            running = accumulate(cast("list[int]", counts))
            buckets = [
                (bound, float(count), _exemplar(exemplars, at))
                for at, (bound, count) in enumerate(zip(bounds, running, strict=True))
            ]
            spread.add_metric(labels, [b if b[2] else b[:2] for b in buckets], total)  # type: ignore[misc]
        return spread
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.meaning, labels=metric.labels)
    for labels, value in series:
        family.add_metric(labels, value)
    return family


def _number(bound: float) -> str:
    return repr(float(bound))


def _exemplar(exemplars: Mapping[str, Exemplar], at: int) -> PrometheusExemplar | None:
    known = exemplars.get(str(at))
    return None if known is None else PrometheusExemplar({"trace_id": known[0]}, known[1], known[2])
