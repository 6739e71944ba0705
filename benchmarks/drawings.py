"""The plots of ``docs/performance.md``, drawn from ``results/*.json``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.models import SITUATIONS
from benchmarks.plots import Panel, Plot, Point, point, write_plot

Json = Any


def draw(name: str, content: Json, directory: Path) -> None:
    """Draw the results of a benchmark as ``NAME.svg``."""
    write_plot(drawing(name, content), directory, png=False)


def drawing(name: str, content: Json) -> Plot:
    """Return what is drawn of the results of a benchmark; raises KeyError for one that is not among ``DRAWN``."""
    return Plot(name, DRAWN[name](content))


def _manifests(content: Json) -> Sequence[Panel]:
    of = content["targets"]
    return (
        _bars("Requests a second", "", _column(of, "requests_per_second")),
        _bars("The proxy's processor time, µs a request", "", _column(of, "proxy_cpu_us_per_request")),
    )


def _fields(content: Json) -> Sequence[Panel]:
    lines = {
        "first partition": "first_ms",
        "another": "another_ms",
        "the same again": "same_ms",
        "registry, plain manifest": "registry_plain_ms",
    }
    return (
        Panel(
            title="One GET of a partition manifest",
            across="cells of the field",
            up="ms",
            lines=[(name, [point(one["cells"], one[key]) for one in content["fields"]]) for name, key in lines.items()],
            logarithmic=True,
            logarithmic_across=True,
        ),
    )


def _blobs(content: Json) -> Sequence[Panel]:
    return [
        Panel(
            title=f"Upstream: {title}",
            across="",
            up="processor seconds for each GiB",
            lines=[
                (name, [point(at, of[name]["cpu_s_per_gib"]) for at, of in enumerate(counts.values())])
                for name in next(iter(counts.values()))
            ],
            groups=[f"{count} stream{'s' * (count != '1')}" for count in counts],
        )
        for title, counts in content["upstreams"].items()
    ]


def _pulls(content: Json) -> Sequence[Panel]:
    return (
        Panel(
            title="docker pull",
            across="",
            up="ms",
            lines=[
                (name, [Point(0, of["median_ms"], of["fastest_ms"], of["slowest_ms"])])
                for name, of in content["pulls"].items()
            ],
        ),
    )


def _build(content: Json) -> Sequence[Panel]:
    seconds, sizes = content["seconds"], content["sizes"]
    panel = Panel(
        title=f"{content['model']}: {sum(sizes) / 1e6:.0f} MB, {len(sizes)} splits",
        across="",
        up="seconds until it can be pulled",
        lines=[
            (name, [Point(SITUATIONS.index(case), **of) for case, of in cases.items()])
            for name, cases in seconds.items()
        ],
        logarithmic=True,
        groups=SITUATIONS,
    )
    return (panel,)


def _edge(content: Json) -> Sequence[Panel]:
    ways = content["scenario"]["ways"]
    return (
        _bars("First pulls of a site", "MB over the line", _column(ways, "first_bytes", 1e-6)),
        _bars("All windows of a site", "MB over the line", _column(ways, "all_bytes", 1e-6)),
    )


def _bars(title: str, up: str, values: Mapping[str, float]) -> Panel:
    return Panel(title, "", up, [(name, [point(0, value)]) for name, value in values.items()])


def _column(rows: Mapping[str, Json], key: str, scale: float = 1) -> dict[str, float]:
    return {name: of[key] * scale for name, of in rows.items()}


DRAWN: Final[Mapping[str, Callable[[Json], Sequence[Panel]]]] = {
    "manifests": _manifests,
    "fields": _fields,
    "blobs": _blobs,
    "pulls": _pulls,
    "build": _build,
    "edge": _edge,
}
