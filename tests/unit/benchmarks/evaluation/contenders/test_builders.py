import pytest

from benchmarks.evaluation.contenders.docker import divided, dockerfile_of, windows


@pytest.mark.parametrize(
    ("parts", "expected"),
    [(1, ["abcde"]), (2, ["ab", "cde"]), (3, ["a", "bc", "de"]), (5, ["a", "b", "c", "d", "e"])],
)
def test_splits_are_divided_evenly_in_their_order(parts: int, expected: list[str]) -> None:
    assert ["".join(files) for files in divided("abcde", parts)] == expected


def test_each_split_is_a_layer_of_its_own() -> None:
    assert dockerfile_of("base:v1", ["a", "b"]) == "FROM base:v1\nCOPY a /model/a\nCOPY b /model/b\n"


def test_windows_are_all_runs_of_splits_and_those_that_begin_alike_follow_each_other() -> None:
    assert ["".join(files) for files in windows("abc")] == ["a", "ab", "abc", "b", "bc", "c"]
