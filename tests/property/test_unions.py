"""Unions of rectangles: the fast way gives what the plain definition says."""

import time
from collections.abc import Callable, Sequence
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from twodfs.field.partition import Rectangle, Selection
from twodfs.field.rectangle import bands, joined, outermost

NUMBERS = st.integers(0, 5) | st.integers(0, 10**25)
ANY = st.builds(Rectangle, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
SMALL = st.integers(0, 7)
UPRIGHT = st.builds(
    lambda a, b, c, d: Rectangle(min(a, b), min(c, d), max(a, b), max(c, d)), SMALL, SMALL, SMALL, SMALL
)


def covers(one: Rectangle, other: Rectangle) -> bool:
    return one.x1 <= other.x1 <= other.x2 <= one.x2 and one.y1 <= other.y1 <= other.y2 <= one.y2


def by_definition(rectangles: Sequence[Rectangle]) -> tuple[Rectangle, ...]:
    """Return the canonical form, every pair compared: sorted, none within another."""
    unique = set(rectangles)
    return tuple(sorted(one for one in unique if not any(o != one and covers(o, one) for o in unique)))


@given(st.lists(ANY | UPRIGHT, max_size=40))
def test_the_canonical_form_is_what_comparing_every_pair_gives(rectangles: list[Rectangle]) -> None:
    assert Selection.of(*rectangles).rectangles == by_definition(rectangles)


@given(st.lists(UPRIGHT, max_size=12))
def test_bands_cover_what_the_rectangles_cover(rectangles: list[Rectangle]) -> None:
    found = []
    for first, last, columns in bands(rectangles):
        starts, ends = joined(columns)
        assert all(end + 1 < start for end, start in zip(ends, starts[1:], strict=False))
        found += [
            (row, col)
            for row in range(first, last + 1)
            for start, end in zip(starts, ends, strict=True)
            for col in range(start, end + 1)
        ]
    expected = {
        (row, col) for one in rectangles for row in range(one.x1, one.x2 + 1) for col in range(one.y1, one.y2 + 1)
    }
    assert found == sorted(expected)


def stairs(count: int) -> list[Rectangle]:
    """None within another, all over each other."""
    return [Rectangle(n, n, count + n, count + n) for n in range(count)]


def crossing(count: int) -> list[Rectangle]:
    """None within another: the more rows, the fewer columns."""
    return [Rectangle(n, count - n, 2 * count - n, count + n) for n in range(count)]


def nested(count: int) -> list[Rectangle]:
    return [Rectangle(n, n, 3 * count - n, 3 * count - n) for n in range(count)]


def scattered(count: int) -> list[Rectangle]:
    return [
        Rectangle(n * 7919 % 4099, n * 104_729 % 5003, 5000 + n * 31 % 997, 6000 + n * 37 % 991) for n in range(count)
    ]


def seconds(work: Callable[[], object]) -> float:
    """Return the processor time that `work` takes, the least of three times."""
    taken = []
    for _ in range(3):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return min(taken)


def test_a_union_takes_time_in_proportion_to_its_rectangles() -> None:
    """Comparing every pair takes sixteen times as long for four times as many."""
    for shape in (stairs, crossing, nested, scattered):
        few, many = shape(1000), shape(4000)
        ratio = seconds(partial(outermost, many)) / seconds(partial(outermost, few))
        assert ratio < 10, shape.__name__
