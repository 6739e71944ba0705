from pathlib import Path

from benchmarks.evaluation.results.conditions import Conditions, Machine
from benchmarks.evaluation.results.samples import Sample
from benchmarks.evaluation.results.summary import Row, Summary

MACHINE = Machine(2, "a processor", "6.1", 2**34, "ext4 on /dev/vda", {"Docker": "28.5"}, "cubic")


def conditions(rounds: int) -> Conditions:
    return Conditions(
        date="2026-11-28",
        command="python -m benchmarks.evaluation",
        models=["ResNet50"],
        rounds=rounds,
        quick=False,
        seconds=60.0,
        load_before=0.5,
        machine=MACHINE,
    )


def row(contender: str, median: float, *, part: str = "builds", at: float = 100) -> Row:
    return Row(part, "ResNet50", "", at, contender, "seconds", median, median / 2, median * 2, 5)


def test_rounds_become_median_least_and_most() -> None:
    samples = [
        Sample("builds", "ResNet50", "", 1, "2dfs", "seconds", at, 0, value) for at, value in enumerate((3, 1, 8))
    ]
    assert Summary.of(samples, {}).rows == (Row("builds", "ResNet50", "", 1, "2dfs", "seconds", 3, 1, 8, 3),)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    summary = Summary([row("2dfs", 0.5), row("docker", 2)], {"builds": conditions(5)})
    summary.write(tmp_path / "evaluation.json")
    again = Summary.read(tmp_path / "evaluation.json")
    assert (again.rows, again.conditions) == (summary.rows, summary.conditions)
    assert max(map(len, (tmp_path / "evaluation.json").read_text().splitlines())) < 250


def test_where_nothing_was_measured_the_summary_is_empty(tmp_path: Path) -> None:
    assert not Summary.read(tmp_path / "evaluation.json").rows


def test_parts_that_are_not_measured_again_stay_with_their_conditions() -> None:
    old = Summary([row("2dfs", 1), row("2dfs", 2, part="pulls")], {"builds": conditions(5), "pulls": conditions(5)})
    new = Summary([row("2dfs", 3)], {"builds": conditions(9)})
    both = old.updated(new)
    assert {(one.part, one.median) for one in both.rows} == {("pulls", 2), ("builds", 3)}
    assert {name: one.rounds for name, one in both.conditions.items()} == {"builds": 9, "pulls": 5}


def test_a_row_is_written_with_its_spread() -> None:
    assert row("2dfs", 0.5).written() == "0.50 (0.25-1.00)"
    assert row("2dfs", 5e6).scaled(1e-6).written(1) == "5.0 (2.5-10.0)"
    assert Row("", "", "", 0, "", "seconds", 1234.5, 1234.5, 1234.5, 1).written(0) == "1,234"


def test_docker_is_ahead_where_its_best_way_needs_less_than_our_best() -> None:
    rows = [
        *(row("2DFS", 1, at=at) for at in (1, 2)),
        row("2DFS, no push", 0.5, at=1),
        *(row("Docker, one image", 0.8, at=at) for at in (1, 2)),
        row("Docker, image each", 3, at=2),
    ]
    found = list(Summary(rows, {}).ahead("builds"))
    assert [(ours.at, ours.contender, theirs.contender) for ours, theirs in found] == [(2, "2DFS", "Docker, one image")]
