"""The page ``evaluation.md`` and its plots, from a summary alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from benchmarks.evaluation.part import Part
from benchmarks.evaluation.results.conditions import Machine
from benchmarks.evaluation.results.summary import Summary
from benchmarks.markdown import anchor, joined, table
from benchmarks.plots import write_plot

PLOTS: Final = "evaluation"
"""The directory of the plots, beside the page."""
_TITLE: Final = "# Evaluation"
_ORIGIN: Final = "<!-- Written by `make evaluate` from benchmarks/results/evaluation.json; do not edit. -->"
ABOUT: Final = """\
The evaluations of the papers about 2DFS ("Beyond Layers", and "On-Demand Container Partitioning for Distributed ML",
USENIX ATC '25), redone on one machine with this builder and proxy beside a real Docker, and extended by questions that
the papers leave out. Models have the sizes of real layers and new bytes in every round, and contenders take turns, in
another order each round; [the design of the evaluation](design/evaluation.md) says what makes it fair. Cells show the
median of the rounds, and in brackets the least and the most."""
_QUICK: Final = """\
**Some of it was measured with `--quick`: tiny models, one round, few points. It says that everything works, and nothing
about speed.**"""
_AGAIN: Final = """\
```bash
make evaluate                                    # all of it
make evaluate EVALUATE_FLAGS='--parts builds'    # one part; the others stay as they were
make evaluate EVALUATE_FLAGS=--quick             # does all of it work?
make evaluate EVALUATE_FLAGS=--page              # this page and its plots again, without measuring
```"""
_RAW: Final = """\
On a fresh Debian, as root, it installs what it needs. Every single measurement is a line of a CSV file in
`build/evaluation/`, which is not in git; their summary, of which this page and its plots are made, is
[evaluation.json](../benchmarks/results/evaluation.json)."""


def write_page(summary: Summary, parts: Sequence[Part], directory: Path) -> None:
    """Write ``evaluation.md`` into ``directory``, and the plots, as SVG and PNG, into ``evaluation/`` beside it."""
    plots = [plot for part in _measured(summary, parts) for plot in part.plots(summary)]
    for plot in plots:
        write_plot(plot, directory / PLOTS)
    for file in (directory / PLOTS).glob("*"):
        if file.stem not in {plot.name for plot in plots}:
            file.unlink()  # of a part that draws something else now
    (directory / "evaluation.md").write_text(page(summary, parts), encoding="utf-8")


def page(summary: Summary, parts: Sequence[Part]) -> str:
    """Return the page: what the papers report beside ours, and a section for each part that was measured."""
    measured = _measured(summary, parts)
    content = [_TITLE, _ORIGIN, ABOUT]
    if any(one.quick for one in summary.conditions.values()):
        content.append(_QUICK)
    content += _comparisons(summary, measured)
    content += _behind(summary, measured)
    for part in measured:
        content += [f"## {part.title}", *_section(part, summary)]
    return joined([*content, *_conditions(summary, measured), "## Measure it again", _AGAIN, _RAW])


def _measured(summary: Summary, parts: Sequence[Part]) -> Sequence[Part]:
    return [part for part in parts if part.name in summary.conditions]


def _comparisons(summary: Summary, parts: Sequence[Part]) -> Iterator[str]:
    rows = [
        (one.figure, one.what, one.paper, one.here, "yes" if one.is_met else f"**no**: {one.why}")
        for part in parts
        for one in part.comparisons(summary)
    ]
    if rows:
        yield "## The papers' figures and ours"
        yield table(("figure", "what", "paper", "here", "as good"), rows, words=5)


def _behind(summary: Summary, parts: Sequence[Part]) -> Iterator[str]:
    sentences = [f"- [{part.title}](#{anchor(part.title)}): {one}" for part in parts for one in part.behind(summary)]
    if sentences:
        yield "## Where others win"
        yield "\n".join(sentences)


def _section(part: Part, summary: Summary) -> Iterator[str]:
    """Yield the first paragraph, the plots, and the rest."""
    paragraphs = part.section(summary)
    yield next(paragraphs)
    for plot in part.plots(summary):
        units = ", ".join(dict.fromkeys(panel.up for panel in plot.panels))
        titles = ", ".join(dict.fromkeys(panel.title for panel in plot.panels))
        yield f"![{units}: {titles}]({PLOTS}/{plot.name}.svg)\n[PNG]({PLOTS}/{plot.name}.png)"
    yield from paragraphs


def _conditions(summary: Summary, parts: Sequence[Part]) -> Iterator[str]:
    """Yield the machines, and when and how each part was measured on them."""
    machines: list[tuple[Machine, list[Part]]] = []
    for part in parts:
        machine = summary.conditions[part.name].machine
        for at, (other, others) in enumerate(machines):
            if joined := other.joined(machine):
                machines[at] = (joined, [*others, part])
                break
        else:
            machines.append((machine, [part]))
    if not machines:
        return
    yield "## Machine"
    for machine, own in machines:
        seconds = sum(summary.conditions[part.name].seconds for part in own)
        yield f"{machine}. In all {seconds / 60:.0f} minutes, without installation:"
        yield table(
            ("part", "command", "date", "models", "rounds", "load before", "minutes"),
            [
                (
                    part.title,
                    f"`{of.command}`",
                    of.date,
                    ", ".join(of.models),
                    f"{of.rounds}",
                    f"{of.load_before:.2f}",
                    f"{of.seconds / 60:.1f}",
                )
                for part in own
                for of in (summary.conditions[part.name],)
            ],
            words=4,
        )
