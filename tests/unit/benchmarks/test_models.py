from pathlib import Path

import pytest

from benchmarks.models import SPLITS, Noise, make_model, split_sizes


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
