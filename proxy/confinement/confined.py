"""The first steps of a process that reads foreign documents; small, as each such process loads it."""

from __future__ import annotations

import os
import resource
from typing import Final

OUT_OF_MEMORY: Final = 4
"""The status of a process that reached the limit it set itself."""
_NICENESS: Final = 19


def confine(memory: int) -> None:
    """Give this process the lowest priority, and at most ``memory`` bytes."""
    os.nice(_NICENESS)  # only clients that wait for a large document wait a little longer
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
