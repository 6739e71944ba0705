"""Waiting for what has no event of its own."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], bool], what: str = "what was waited for", seconds: float = 60) -> None:
    """Return once the condition holds; fail the test where it does not within the time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not after {seconds:g} s"
        time.sleep(0.05)
