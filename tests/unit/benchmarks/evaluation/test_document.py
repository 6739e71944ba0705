import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from benchmarks.evaluation import document
from benchmarks.evaluation.__main__ import PAGES, RESULTS
from benchmarks.evaluation.document import page, write_page
from benchmarks.evaluation.measuring.bench import Bench
from benchmarks.evaluation.part import Comparison, Part
from benchmarks.evaluation.parts import PARTS
from benchmarks.evaluation.results.conditions import Conditions, Machine
from benchmarks.evaluation.results.summary import Row, Summary
from benchmarks.evaluation.results.tables import medians
from benchmarks.plots import Panel, Plot, fingerprint

MACHINE = Machine(2, "a processor", "6.1", 2**34, "ext4 on /dev/vda", {"Docker": "28.5"}, "cubic")
CONDITIONS = Conditions(
    date="2026-11-28",
    command="python -m benchmarks.evaluation",
    models=["ResNet50"],
    rounds=5,
    quick=False,
    seconds=90.0,
    load_before=0.5,
    machine=MACHINE,
)
ROWS = [
    Row("builds", "ResNet50", "", at, contender, "seconds", value, value, value, 5)
    for at in (50, 100)
    for contender, value in (("2DFS", 1.0), ("Docker", 250.0 / at))
]
SUMMARY = Summary(ROWS, {"builds": CONDITIONS})


@dataclass(frozen=True)
class Builds:
    """A part that needs no measuring."""

    name: str = "builds"
    title: str = "Builds of many images (figure 9)"

    def measure(self, bench: Bench) -> None:
        raise NotImplementedError

    def section(self, summary: Summary) -> Iterator[str]:
        yield "What was done."
        yield medians(summary.find(self.name), "percent")

    def plots(self, summary: Summary) -> Iterator[Plot]:
        lines = [(name, summary.find(self.name, contender=name)) for name in ("2DFS", "Docker")]
        yield Plot("builds", [Panel("ResNet50", "percent", "seconds", lines)])

    def comparisons(self, summary: Summary) -> Iterator[Comparison]:
        if not (of := summary.find(self.name, at=100)):
            return
        yield Comparison("9", "ResNet50", "28.5x", f"{of[1].median / of[0].median:.1f}x", is_met=False, why="disks")

    def behind(self, summary: Summary) -> Iterator[str]:
        yield f"{len(summary.rows)} rows"


def test_the_page_has_everything_of_a_part() -> None:
    written = page(SUMMARY, [Builds()])
    assert "| 9 | ResNet50 | 28.5x | 2.5x | **no**: disks |" in written
    assert "- [Builds of many images (figure 9)](#builds-of-many-images-figure-9): 4 rows" in written
    section = written.partition("## Builds of many images (figure 9)\n\n")[2]
    assert section.startswith("What was done.\n\n![seconds: ResNet50](evaluation/builds.svg)")
    assert section.index("evaluation/builds.png") < section.index("| 50 | 1.00 (1.00-1.00) | 5.00 (5.00-5.00) |")


def test_the_page_tells_the_machine_and_each_part_its_conditions() -> None:
    written = " ".join(page(SUMMARY, [Builds()]).split())
    machine = "2 processors (a processor), 16 GiB of memory, ext4 on /dev/vda, Linux 6.1 with TCP cubic"
    assert f"{machine}; Docker 28.5." in written
    command = "`python -m benchmarks.evaluation`"
    assert f"| Builds of many images (figure 9) | {command} | 2026-11-28 | ResNet50 | 5 | 0.50 | 1.5 |" in written


def test_parts_of_two_machines_are_told_apart() -> None:
    other = replace(CONDITIONS, machine=replace(MACHINE, processors=64))
    written = page(Summary(ROWS, {"builds": CONDITIONS, "pulls": other}), [Builds(), Builds("pulls", "Pulls")])
    machines = written.partition("## Machine")[2]
    assert (
        machines.index("2 processors") < machines.index("| Builds") < machines.index("64 p") < machines.index("| Pulls")
    )


def test_parts_on_one_machine_stand_together_with_the_programs_of_all() -> None:
    other = replace(CONDITIONS, machine=replace(MACHINE, versions={"containerd": "2.1"}))
    written = page(Summary(ROWS, {"builds": CONDITIONS, "pulls": other}), [Builds(), Builds("pulls", "Pulls")])
    assert written.count("2 processors") == 1
    assert "Docker 28.5, containerd 2.1." in " ".join(written.split())


def test_a_part_with_another_version_is_told_apart() -> None:
    other = replace(CONDITIONS, machine=replace(MACHINE, versions={"Docker": "20.10"}))
    written = page(Summary(ROWS, {"builds": CONDITIONS, "pulls": other}), [Builds(), Builds("pulls", "Pulls")])
    assert written.count("2 processors") == 2


def test_a_part_that_was_not_measured_is_left_out() -> None:
    assert "Pulls" not in page(SUMMARY, [Builds(), Builds("pulls", "Pulls")])


def test_figures_of_a_quick_run_are_not_taken_for_measurements() -> None:
    quick = Summary(ROWS, {"builds": replace(CONDITIONS, quick=True)})
    assert "nothing about speed" in " ".join(page(quick, [Builds()]).split())
    assert "nothing about speed" not in " ".join(page(SUMMARY, [Builds()]).split())


def test_lines_are_at_most_120_characters_long_but_for_tables_and_pictures() -> None:
    lines = page(SUMMARY, [Builds()]).splitlines()
    assert not [line for line in lines if len(line) > 120 and not line.startswith(("|", "!"))]


def test_plots_lie_beside_the_page(tmp_path: Path) -> None:
    write_page(SUMMARY, [Builds()], tmp_path)
    targets = re.findall(r"\]\((evaluation/[^)]+)\)", (tmp_path / "evaluation.md").read_text())
    assert targets == ["evaluation/builds.svg", "evaluation/builds.png"]
    assert all((tmp_path / one).stat().st_size for one in targets)


def test_plots_of_an_earlier_run_are_removed(tmp_path: Path) -> None:
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "gone.svg").write_text("")
    write_page(SUMMARY, [Builds()], tmp_path)
    assert not (tmp_path / "evaluation" / "gone.svg").exists()


def test_the_committed_page_is_what_the_committed_summary_says() -> None:
    summary = Summary.read(RESULTS)
    assert (PAGES / "evaluation.md").read_text() == page(summary, PARTS), "run `make evaluate EVALUATE_FLAGS=--page`"


def test_the_committed_plots_show_the_committed_summary() -> None:
    summary = Summary.read(RESULTS)
    plots = {one.name: one for part in PARTS if part.name in summary.conditions for one in part.plots(summary)}
    drawn = {file.name for file in (PAGES / document.PLOTS).glob("*")}
    assert drawn == {f"{name}.{kind}" for name in plots for kind in ("svg", "png")}
    for name, one in plots.items():
        assert fingerprint(one) in (PAGES / document.PLOTS / f"{name}.svg").read_text(), name


FIGURE = re.compile(r"\d[\d.,]* ?(?:x|s|ms|µs|seconds|minutes|times|[kMG]i?B/s|[kMG]i?B)\b")


def test_no_sentence_has_a_measured_figure_of_its_own() -> None:
    """With other values all figures of sentences are others; what stays was written by hand."""
    summary = Summary.read(RESULTS)
    scales = random.Random(1)
    # One other summary may have the same figure by chance, at another place of the sentence.
    others = [
        Summary((row.scaled(scales.uniform(1.5, 9)) for row in summary.rows), summary.conditions) for _ in range(4)
    ]
    for part in (one for one in PARTS if one.name in summary.conditions):
        for one, *changed in zip(*(sentences(part, each) for each in (summary, *others)), strict=False):
            stays = set(FIGURE.findall(one)).intersection(*map(FIGURE.findall, changed))
            assert not stays, f"{part.name}: {one}"
    assert not FIGURE.search(document.ABOUT)


def sentences(part: Part, summary: Summary) -> list[str]:
    """Return what is no table: of the section, of what is behind and why."""
    section = [one for one in part.section(summary) if not one.startswith("|")]
    return [*section, *part.behind(summary), *(one.why for one in part.comparisons(summary))]


def test_a_figure_in_a_sentence_is_seen() -> None:
    assert FIGURE.findall("0.5 s, 25x, 1,024 MiB/s and 3 times 20 Mbit/s of 10 devices, ResNet50") == [
        "0.5 s",
        "25x",
        "1,024 MiB/s",
        "3 times",
    ]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_parts_have_names_that_files_can_have(part: Part) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", part.name)
