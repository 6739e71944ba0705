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


# Builds: how many times as long Docker takes.
BUILD_MOBILENET: Final = Reported("2, 9", "55.9x on average", 55.9)
BUILD_RESNET: Final = Reported("9", "2 s, Docker 57 s", 57 / 2)
BUILD_EFFICIENTNET: Final = Reported("9", "Docker 242 s; 2DFS 18 s in figure 8", 242 / 18)
SPLITS_EFFICIENTNET: Final = Reported("8", "2 to 18 s, Docker 50 to 100 s", 100 / 18)
REBUILD_AVERAGE: Final = Reported("4, 14", "25x on average", 25)
REBUILD_PEAK: Final = Reported("4, 14", "75x at most", 75)
REBUILD_BOTTOM: Final = Reported("14", "1.6 s, Docker 119 s", 119 / 1.6)
REBUILD_TOP: Final = Reported("14", "1.85 s, Docker 27 s", 27 / 1.85)
PROCESSOR: Final = Reported("10", "8 to 22 % of the processors, memory lower", 1)
# Distribution.
PULL_MORE: Final = Reported("3, 11", "+20 ms", 0.020)
PULL_RESNET: Final = Reported("11", "1.525 s, image 1.500 s, to 2.54 s, image 2.52 s", 0.020)
PULL_EFFICIENTNET: Final = Reported("11", "5.565 s, image 5.53 s", 0.035)
INFERENCE: Final = Reported("15", "0.5 s, Docker 17 to 29 s", 17 / 0.5)
