from benchmarks.evaluation.parts.inference import FIELD, IMAGES, Inference
from benchmarks.evaluation.results.summary import Row, Summary


def summary(ours: float, theirs: float) -> Summary:
    def row(contender: str, devices: int, measure: str, value: float) -> Row:
        return Row("inference", "ResNet50", "", devices, contender, measure, value, value, value, 5)

    rows = [
        row(contender, devices, measure, value)
        for devices in (1, 10)
        for contender, value in ((FIELD, ours), (IMAGES, theirs * devices))
        for measure in ("seconds", "pull_seconds")
    ]
    return Summary(rows, {})


def test_the_least_ratio_is_compared_with_the_papers() -> None:
    (good,) = Inference().comparisons(summary(0.5, 17.5))
    assert good.is_met
    assert good.here == "0.50 to 0.50 s, Docker 17.50 to 175.00 s"
    (less,) = Inference().comparisons(summary(0.5, 16.5))
    assert not less.is_met
    assert list(Inference().comparisons(Summary([], {}))) == []


def test_where_docker_is_faster_the_page_says_so() -> None:
    (sentence,) = Inference().behind(summary(0.5, 0.4))
    assert sentence.startswith("1 devices: 0.50 s, Docker, an image for each device 0.40 s.")
    assert list(Inference().behind(summary(0.5, 0.6))) == []
