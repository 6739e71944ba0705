"""Work grows with what comes in, and no faster: one event loop serves everybody."""

import time
from collections.abc import Callable
from itertools import product

import pytest

from tests.property.expressions import ENDS, Expression, expressions

SHORT, LONG, LONGEST = 500, 2_000, 8_000
FLOOR = 0.004
"""Seconds of this thread's processor that nobody would notice, and that noise does not reach."""
MOST = 8
"""Times the work that four times the text may take: 4 is linear, 16 is quadratic."""


def seconds(work: Callable[[], object], repeats: int = 1) -> float:
    least = float("inf")
    for _ in range(repeats):
        began = time.thread_time()
        work()
        least = min(least, time.thread_time() - began)
    return least


def grows_too_fast(work: Callable[[str], object], text: Callable[[int], str]) -> bool:
    """Say whether ``work`` on a text of four times the length takes much more than four times as long.

    A text whose work is not worth a second look is not measured twice.
    """
    taken = 0.0
    for size in (SHORT, LONG, LONGEST):
        before, taken = taken, seconds(lambda made=text(size): work(made))  # type: ignore[misc]
        if taken > FLOOR and taken > MOST * before:
            again = seconds(lambda made=text(size): work(made), 3)  # type: ignore[misc]
            if again > max(FLOOR, MOST * seconds(lambda made=text(size // 4): work(made), 3)):  # type: ignore[misc]
                return True
    return False


@pytest.mark.parametrize("expression", expressions("twodfs", "proxy"), ids=str)
def test_every_expression_takes_time_that_is_linear_in_its_text(expression: Expression) -> None:
    for (lead, pump), end, method in product(expression.pumps(), ENDS, expression.uses):
        assert not grows_too_fast(
            lambda text, method=method: expression.apply(method, text),  # type: ignore[misc]
            lambda size, lead=lead, pump=pump, end=end: lead + pump * (size // len(pump)) + end,  # type: ignore[misc]
        ), f"{method} of {lead!r} + many {pump!r} + {end!r}"
