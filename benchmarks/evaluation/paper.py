"""What the papers report, as far as they give figures for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Reported:
    """What a figure of a paper shows."""

    figure: str
    said: str
    value: float
    """That ours is compared with: seconds, or a ratio."""


# Distribution.
PULL_MORE: Final = Reported("3, 11", "+20 ms", 0.020)
PULL_RESNET: Final = Reported("11", "1.525 s, image 1.500 s, to 2.54 s, image 2.52 s", 0.020)
PULL_EFFICIENTNET: Final = Reported("11", "5.565 s, image 5.53 s", 0.035)
INFERENCE: Final = Reported("15", "0.5 s, Docker 17 to 29 s", 17 / 0.5)
