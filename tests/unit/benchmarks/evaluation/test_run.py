from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from benchmarks.evaluation.measuring.bench import Bench
from benchmarks.evaluation.part import Comparison
from benchmarks.evaluation.results import conditions
from benchmarks.evaluation.results.samples import read_samples
from benchmarks.evaluation.results.summary import Summary
from benchmarks.evaluation.run import Run
from benchmarks.plots import Plot


def nothing() -> None:
    """Do as a part does that goes well."""


@dataclass(frozen=True)
class Part:
    """A part that writes one sample, and then does something."""

    name: str
    then: Callable[[], None] = nothing
    value: float = 1.0

    @property
    def title(self) -> str:
        return f"Part {self.name}"

    def measure(self, bench: Bench) -> None:
        bench.versions["Docker"] = "28.5"
        bench.add(self.name, "2dfs", "seconds", self.value, round=0)
        self.then()

    def section(self, summary: Summary) -> Iterator[str]:
        raise NotImplementedError

    def plots(self, summary: Summary) -> Iterator[Plot]:
        raise NotImplementedError

    def comparisons(self, summary: Summary) -> Iterator[Comparison]:
        raise NotImplementedError

    def behind(self, summary: Summary) -> Iterator[str]:
        raise NotImplementedError


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(conditions, "versions", dict)  # it would ask a registry, which is a peer
    return Run(
        parts=(Part("one"), Part("two")),
        models=("ResNet50",),
        rounds=1,
        quick=True,
        congestion_control="cubic",
        raw=tmp_path / "raw",
        results=tmp_path / "evaluation.json",
    )


def values(run: Run) -> dict[str, float]:
    return {row.part: row.median for row in Summary.read(run.results).rows}


def test_every_part_is_in_the_summary_with_its_conditions(run: Run) -> None:
    run.measure()
    assert values(run) == {"one": 1, "two": 1}
    of = Summary.read(run.results).conditions["two"]
    assert (of.rounds, of.quick, of.machine.versions["Docker"]) == (1, True, "28.5")


def test_parts_that_are_not_measured_again_stay(run: Run) -> None:
    run.measure()
    replace(run, parts=(Part("one", value=9),), quick=False, rounds=3).measure()
    assert values(run) == {"one": 9, "two": 1}
    assert {name: of.rounds for name, of in Summary.read(run.results).conditions.items()} == {"one": 3, "two": 1}


def fail() -> None:
    raise OSError("the disk is full")


def interrupt() -> None:
    raise KeyboardInterrupt


def test_a_part_that_fails_names_itself_and_leaves_those_before(run: Run) -> None:
    with pytest.raises(OSError, match="the disk is full") as caught:
        replace(run, parts=(Part("one"), Part("two", fail), Part("three"))).measure()
    assert caught.value.__notes__ == ["in the part two of the evaluation"]
    assert values(run) == {"one": 1}


def test_an_interrupted_part_leaves_what_was_known_of_it(run: Run) -> None:
    run.measure()
    with pytest.raises(KeyboardInterrupt):
        replace(run, parts=(Part("one", value=5), Part("two", interrupt, 7))).measure()
    assert values(run) == {"one": 5, "two": 1}
    assert [one.value for one in read_samples(run.raw, "two")] == [7]


def test_what_is_left_is_estimated_where_all_of_it_was_measured_before(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run.measure()
    assert "left" not in capsys.readouterr().err
    run.measure()
    assert "== 1 of 2: Part one; some 1 minutes left" in capsys.readouterr().err
    replace(run, quick=False).measure()
    assert "left" not in capsys.readouterr().err
