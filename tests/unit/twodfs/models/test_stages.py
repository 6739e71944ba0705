from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twodfs.errors import FormatError
from twodfs.models.stages import balance


@given(st.lists(st.sampled_from([0, 1, 5, 9, 30, 100]), min_size=1, max_size=8), st.integers(1, 8))
def test_no_other_way_has_a_smaller_biggest_stage(sizes: list[int], stages: int) -> None:
    if stages > len(sizes):
        with pytest.raises(FormatError, match=f"{stages} stages need at least as many columns"):
            balance(sizes, stages)
        return
    found = balance(sizes, stages)
    assert [col for one in found for col in one] == list(range(len(sizes)))
    assert len(found) == stages
    assert all(found)
    ways = combinations(range(1, len(sizes)), stages - 1)
    best = min(max(sum(sizes[a:b]) for a, b in pairwise((0, *way, len(sizes)))) for way in ways)
    assert max(sum(sizes[col] for col in one) for one in found) == best


def test_stages_are_about_alike() -> None:
    assert [len(one) for one in balance([1] * 10, 4)] == [3, 2, 3, 2]
    assert [len(one) for one in balance([131, *[42] * 24, 131], 4)] == [5, 8, 8, 5]


def test_the_work_is_nearly_linear() -> None:
    assert len(balance([7, 1, 9] * 30_000, 1000)) == 1000
