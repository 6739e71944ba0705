import pytest

from benchmarks.evaluation.parts.pulls import BUILT, COLD, CONTENDERS, PARTITION, SAME, SHARES, Pulls, columns
from benchmarks.evaluation.results.summary import Row, Summary

ENGINE = "Docker Engine 1.2"
SECONDS = {PARTITION: 0.51, COLD: 0.53, SAME: 0.50, BUILT: 0.49}
MEASURES = ("bytes", "bytes_per_second", "registry_cpu_seconds", "engine_cpu_seconds")


def summary(*, more: float = 0.01, spread: float = 0.0, model: str = "ResNet50") -> Summary:
    def row(contender: str, share: int, measure: str, value: float) -> Row:
        return Row("pulls", model, ENGINE, share, contender, measure, value, value - spread, value + spread, 5)

    rows = []
    for share in SHARES:
        for contender in CONTENDERS:
            rows.append(row(contender, share, "seconds", SECONDS[contender]))
            rows += (row(contender, share, one, 1.0) for one in MEASURES)
            if contender != SAME:
                rows.append(row(contender, share, "more_seconds", more))
            if contender in {PARTITION, COLD}:
                rows.append(row(contender, share, "proxy_cpu_seconds", 0.02))
    return Summary(rows, {})


@pytest.mark.parametrize(
    ("share", "of", "expected"),
    [(25, 10, 3), (50, 10, 5), (75, 10, 8), (100, 10, 10), (25, 41, 11), (25, 1, 1)],
)
def test_a_share_of_the_columns_is_rounded_up(share: int, of: int, expected: int) -> None:
    assert columns(share, of) == expected


def test_pulls_that_take_no_longer_than_the_papers_are_as_good() -> None:
    assert [one.is_met for one in Pulls().comparisons(summary(more=0.019))] == [True, True]
    assert [one.is_met for one in Pulls().comparisons(summary(more=0.021))] == [False, False]


def test_the_model_whose_figures_the_paper_has_stands_beside_them() -> None:
    _, resnet = Pulls().comparisons(summary())
    assert resnet.what == f"ResNet50, 25 % and 100 %, {ENGINE}"
    assert resnet.here == "0.51 s, image 0.50 s, to 0.51 s, image 0.50 s"
    assert len(list(Pulls().comparisons(summary(model="MobileNetV2")))) == 1
    assert list(Pulls().comparisons(Summary([], {}))) == []


def test_it_is_the_spread_only_where_the_image_itself_has_more() -> None:
    (_, within), (_, beyond) = (Pulls().comparisons(summary(more=0.1, spread=one)) for one in (0.06, 0.04))
    assert "spread" in within.why
    assert "hop" in beyond.why


def test_the_page_says_how_often_and_by_how_much_an_image_is_faster() -> None:
    (sentence,) = Pulls().behind(summary())
    assert "in 4 of 4 situations, at most by 20 ms" in sentence
    assert f"{BUILT} 0.49 s" in sentence


def test_only_pulls_through_a_proxy_have_its_processor_time() -> None:
    paragraphs = list(Pulls().section(summary()))
    table = paragraphs[paragraphs.index("Processor milliseconds of the proxy for it:") + 1]
    assert PARTITION in table
    assert SAME not in table


def test_a_share_without_a_new_proxy_is_no_point_of_its_line() -> None:
    rows = [row for row in summary().rows if row.contender != COLD or row.at != 50]
    plots = {one.name: one for one in Pulls().plots(Summary(rows, {}))}
    (panel,) = plots["pulls"].panels
    assert {name: [row.at for row in found] for name, found in panel.lines}[COLD] == [25, 75, 100]
    assert [name for name, _ in plots["pulls-proxy"].panels[0].lines] == [PARTITION, COLD]
