"""What a process that reads foreign documents does first; small, as each such process loads it."""

from __future__ import annotations

import os
import resource
from typing import Final

OUT_OF_MEMORY: Final = 4
"""The status of a process that reached the limit it set itself."""
_NICENESS: Final = 19


def confine(memory: int) -> None:
    """Give this process the lowest priority, and at most ``memory`` bytes."""
    os.nice(_NICENESS)  # who waits for a large document waits a little longer, and nobody else does
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
