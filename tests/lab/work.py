"""How work grows with its input, told from processor time without a clock on the wall."""

import time
from collections.abc import Callable

_TRIES = 5
NOISE = 0.004
"""Seconds below which a difference says nothing."""


def processor_seconds(run: Callable[[], object]) -> float:
    began = time.thread_time()
    run()
    return time.thread_time() - began


def grows_with_its_input(run: Callable[[int], Callable[[], object]], size: int) -> bool:
    """Say whether four times the input takes some four times the work, and not sixteen times.

    `run` makes the input of a size and returns what is measured. A busy machine makes single measurements
    longer, never shorter, so one good try is enough.
    """
    small, large = run(size), run(4 * size)
    return any(processor_seconds(large) <= NOISE + 8 * processor_seconds(small) for _ in range(_TRIES))
