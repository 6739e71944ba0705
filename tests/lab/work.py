"""How work grows with its input, told from processor time without a clock on the wall."""

import gc
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

_TRIES = 5
NOISE = 0.004
"""Seconds below which a difference says nothing."""


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep the collector away: in a process that has run a thousand tests, one look at all objects takes 0.2 s."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def processor_seconds(run: Callable[[], object]) -> float:
    began = time.thread_time()
    run()
    return time.thread_time() - began


def steps_of(work: Generator[None, None, object]) -> tuple[int, float]:
    """Return how many steps `work` has, and this thread's processor time for the longest."""
    count, longest = 0, 0.0
    with uncollected():
        while True:
            began = time.thread_time()
            ended = next(work, work) is work
            longest = max(longest, time.thread_time() - began)
            if ended:
                return count, longest
            count += 1


def grows_with_its_input(run: Callable[[int], Callable[[], object]], size: int) -> bool:
    """Say whether four times the input takes some four times the work, and not sixteen times.

    `run` makes the input of a size and returns what is measured. A busy machine makes single measurements
    longer, never shorter, so one good try is enough.
    """
    small, large = run(size), run(4 * size)
    return any(processor_seconds(large) <= NOISE + 8 * processor_seconds(small) for _ in range(_TRIES))
