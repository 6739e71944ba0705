"""The parts of the evaluation, one module for each; ``PARTS`` has them in the order of the page."""

from typing import Final

from benchmarks.evaluation.part import Part
from benchmarks.evaluation.parts.pulls import Pulls

PARTS: Final[tuple[Part, ...]] = (Pulls(),)
