from pathlib import Path

from benchmarks.evaluation.results.samples import Sample, Samples, read_samples


def sample(part: str, value: float) -> Sample:
    return Sample(part, "ResNet50", "top-down", 25.0, "2dfs, with a comma", "seconds", 1, 0, value)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    samples = Samples(tmp_path / "raw")
    written = [sample("builds", 1.5), sample("builds", 0.123456789)]
    for one in (*written, sample("pulls", 9)):
        samples.add(one)
    assert list(read_samples(tmp_path / "raw", "builds")) == written


def test_a_new_run_replaces_only_the_parts_that_it_measures(tmp_path: Path) -> None:
    for part, value in (("builds", 1), ("pulls", 2), ("builds", 3)):
        Samples(tmp_path).add(sample(part, value))
    assert [one.value for part in ("builds", "pulls") for one in read_samples(tmp_path, part)] == [3, 2]
