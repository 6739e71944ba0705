from benchmarks.evaluation.results.summary import Row
from benchmarks.evaluation.results.tables import medians


def row(at: float, contender: str, median: float) -> Row:
    return Row("builds", "", "", at, contender, "bytes", median, median, median, 1)


def test_a_line_for_each_place_and_a_column_for_each_contender() -> None:
    rows = [row(1000, "2dfs", 2e6), row(1000, "docker", 3e6), row(2000, "2dfs", 4e6)]
    assert medians(rows, "splits", scale=1e-6, digits=1).splitlines() == [
        "| splits | 2dfs | docker |",
        "| --- | ---: | ---: |",
        "| 1,000 | 2.0 | 3.0 |",
        "| 2,000 | 4.0 |  |",
    ]
