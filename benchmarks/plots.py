"""Plots with matplotlib, as SVG and PNG: the same bytes for the same values, without a display.

Contenders have colours that the colour-blind tell apart, and markers or hatches that differ without colour.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

# matplotlib makes directories in the user's home, for settings and a list of fonts that it needs while it is imported.
with tempfile.TemporaryDirectory(prefix="twodfs-matplotlib-") as _instead:
    os.environ["MPLCONFIGDIR"] = _instead
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
    from PIL import Image
del os.environ["MPLCONFIGDIR"]

_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's."""
_MARKERS: Final = "os^Dv*P"
_HATCHES: Final = ("", "//", "\\\\", "xx", "--", "||", "++")
_STYLE: Final[dict[Any, Any]] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "font.family": [
        "DejaVu Sans",
        "sans-serif",
    ],  # the first comes with matplotlib, the other is for who looks at an SVG
    "font.size": 9,
    "grid.color": "#dddddd",
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "twodfs",
}
_WIDTHS: Final = {1: 6.5}
"""Inches, by the number of panels side by side, of which a page shows some hundred pixels each."""
_WIDTH: Final = 9.0
_HEIGHT: Final = 3.2
_ACROSS: Final = {1: 1, 2: 2, 4: 2}
"""Panels side by side, by the number of all; else three."""
_DOTS: Final = 110
_SHADES: Final = 64
"""Colours of a PNG, the greys at the edges of lines and letters included."""
_APART: Final = 0.07
"""Of the axis: where measured places are as far from each other, each is written below it."""
_LEGEND_LETTERS: Final = 110
"""As many stand in one row of the legend."""
_LABELLED_BARS: Final = 24
"""Where more of them stand side by side, their values would overlap."""


class Measured(Protocol):
    """Rounds of one contender in one place."""

    @property
    def at(self) -> float: ...
    @property
    def median(self) -> float: ...
    @property
    def least(self) -> float: ...
    @property
    def most(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Point:
    """One place of a line that is no row of a summary."""

    at: float
    median: float
    least: float
    most: float


def point(at: float, value: float) -> Point:
    """Return a value that has no spread."""
    return Point(at, value, value, value)


@dataclass(frozen=True, slots=True)
class Panel:
    """One diagram: a name for each line, and its places, of which ``at`` goes across and the median up."""

    title: str
    across: str
    up: str
    lines: Sequence[tuple[str, Sequence[Measured]]]
    logarithmic: bool = False
    logarithmic_across: bool = False
    groups: Sequence[str] = ()
    """Names for 0, 1, 2 and so on across: bars, in groups. Lines of one place each are bars as well."""

    @property
    def has_bars(self) -> bool:
        return bool(self.groups) or all(len(places) == 1 for _, places in self.lines)


@dataclass(frozen=True, slots=True)
class Plot:
    """Panels side by side, in files of this name."""

    name: str
    panels: Sequence[Panel]


def fingerprint(plot: Plot) -> str:
    """Return what a drawing has written in it: another one for other values."""
    return f"sha256:{hashlib.sha256(repr(plot).encode()).hexdigest()}"


def write_plot(plot: Plot, directory: Path, *, png: bool = True) -> None:
    """Draw ``NAME.svg``, and ``NAME.png``, in a directory, which is made."""
    directory.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(_STYLE):
        figure = _figure(plot)
        # With the date or a version in it, the file would differ from run to run.
        about = {"Date": None, "Creator": None, "Description": fingerprint(plot)}
        figure.savefig(directory / f"{plot.name}.svg", metadata=about, bbox_inches="tight")
        if png:
            drawn = io.BytesIO()
            figure.savefig(drawn, format="png", metadata={"Software": None}, bbox_inches="tight", dpi=_DOTS)
            Image.open(drawn).convert("RGB").quantize(_SHADES).save(directory / f"{plot.name}.png", optimize=True)


def _figure(plot: Plot) -> Figure:
    names = tuple(dict.fromkeys(name for panel in plot.panels for name, _ in panel.lines))
    across = _ACROSS.get(len(plot.panels), 3)
    down = math.ceil(len(plot.panels) / across)
    figure = Figure(figsize=(_WIDTHS.get(across, _WIDTH), _HEIGHT * down), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(down, across, squeeze=False).flatten()
    for panel, one in zip(plot.panels, axes, strict=False):
        _draw(panel, one, names)
    for unused in axes[len(plot.panels) :]:
        unused.set_axis_off()
    # A panel need not have all contenders, so the legend is of those of all panels.
    handles = {
        label: handle
        for one in axes
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True)
        if label in names
    }
    columns = max(1, min(len(names), _LEGEND_LETTERS // (6 + max(map(len, names)))))
    figure.legend([handles[name] for name in names], names, loc="outside lower center", ncols=columns)
    return figure


def _draw(panel: Panel, axes: Axes, names: Sequence[str]) -> None:
    axes.set_title(panel.title)
    axes.set_xlabel(panel.across)
    axes.set_ylabel(panel.up)
    if panel.logarithmic:
        axes.set_yscale("log")
    if panel.has_bars:
        _bars(panel, axes, names)
    else:
        _lines(panel, axes, names)
    plain = FuncFormatter(lambda value, _: f"{value:,.10g}")  # "0.1" and "1,000", never "10^3"
    axes.yaxis.set_major_formatter(plain)
    if panel.logarithmic:
        low, high = axes.get_ylim()
        if high < 200 * low:  # powers of ten alone would be one or two
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(bottom=0)


def _lines(panel: Panel, axes: Axes, names: Sequence[str]) -> None:
    if panel.logarithmic_across:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    at = sorted({one.at for _, places in panel.lines for one in places})
    if _are_apart([math.log(one) for one in at] if panel.logarithmic_across else at):
        axes.set_xticks(at)
        axes.set_xticks([], minor=True)
    for name, places in panel.lines:
        number = names.index(name)
        axes.errorbar(
            [one.at for one in places],
            [one.median for one in places],
            yerr=_spread(places),
            color=_COLOURS[number % len(_COLOURS)],
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=5,
            linewidth=1.5,
            elinewidth=1,
            capsize=2.5,
            label=name,
        )


def _are_apart(places: Sequence[float]) -> bool:
    return all(later - one >= _APART * (places[-1] - places[0]) for one, later in itertools.pairwise(places))


def _bars(panel: Panel, axes: Axes, names: Sequence[str]) -> None:
    width = 0.85 / len(panel.lines)
    grid = axes.get_gridspec()
    bars = sum(len(places) for _, places in panel.lines) * (grid.ncols if grid else 1)
    for turn, (name, places) in enumerate(panel.lines):
        number = names.index(name)
        drawn = axes.bar(
            [_group(panel, one) + (turn - (len(panel.lines) - 1) / 2) * width for one in places],
            [one.median for one in places],
            width * 0.94,
            yerr=_spread(places),
            color=_COLOURS[number % len(_COLOURS)],
            hatch=_HATCHES[number % len(_HATCHES)],
            edgecolor="white",
            error_kw={"elinewidth": 1, "capsize": 2.5, "ecolor": "#333333"},
            label=name,
        )
        if bars <= _LABELLED_BARS:
            axes.bar_label(drawn, [_short(one.median) for one in places], fontsize=7, padding=2)
    axes.margins(y=0.1)
    axes.grid(visible=False, axis="x")
    axes.set_xticks(range(len(panel.groups)), panel.groups)


def _group(panel: Panel, one: Measured) -> float:
    return one.at if panel.groups else 0


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _spread(places: Sequence[Measured]) -> Any:
    """Return how far it is down to the least and up to the most, for matplotlib; None where all have no spread."""
    if all(one.least == one.most for one in places):
        return None
    return [[one.median - one.least for one in places], [one.most - one.median for one in places]]
