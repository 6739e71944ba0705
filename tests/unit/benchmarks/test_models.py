from pathlib import Path

import pytest

from benchmarks.models import SITUATIONS, SPLITS, Noise, layered_sizes, make_model, prepare, split_sizes


@pytest.mark.parametrize("name", SPLITS)
@pytest.mark.parametrize("splits", [1, 7, 10, 41, 1000])
def test_splits_have_all_bytes_of_a_model(name: str, splits: int) -> None:
    sizes = split_sizes(name, splits)
    assert len(sizes) == splits
    assert sum(sizes) == split_sizes(name, 1)[0]
    assert min(sizes) > 0


def test_more_splits_than_layers_are_even() -> None:
    sizes = split_sizes("ResNet50", 1000)
    assert max(sizes) - min(sizes) <= 1


def test_a_change_concerns_as_many_splits_as_said(tmp_path: Path) -> None:
    model = make_model("MobileNetV2", tmp_path / "model", Noise(seed=1), splits=4, scale=0.001)

    def content() -> list[bytes]:
        return [(model.directory / file).read_bytes() for file in model.files]

    made = content()
    model.change(1, Noise(seed=2), top_down=True)
    assert [now == then for now, then in zip(content(), made, strict=True)] == [False, True, True, True]
    model.change(2, Noise(seed=3), top_down=False)
    assert [now == then for now, then in zip(content(), made, strict=True)] == [False, True, False, False]
    assert model.size == sum(map(len, made))


def test_splits_of_as_many_layers_each_have_all_bytes_and_a_small_first_and_a_large_last() -> None:
    sizes = layered_sizes("ResNet50", 10)
    assert len(sizes) == 10
    assert sum(sizes) == split_sizes("ResNet50", 1)[0]
    assert sizes[0] < 500_000
    assert sizes[-1] > 25_000_000


def test_a_situation_changes_what_it_says(tmp_path: Path) -> None:
    model = make_model("MobileNetV2", tmp_path / "model", Noise(seed=1), splits=3, scale=0.001)
    changed: list[list[bool]] = []
    for situation in SITUATIONS:
        before = [(model.directory / file).read_bytes() for file in model.files]
        prepare(model, situation, Noise(seed=2 + len(changed)))
        changed.append(
            [(model.directory / file).read_bytes() != old for file, old in zip(model.files, before, strict=True)]
        )
    assert changed == [[True, True, True], [False, False, False], [True, False, False], [False, False, True]]
