"""The parts of the evaluation, one module for each; ``PARTS`` has them in the order of the page."""

from typing import Final

from benchmarks.evaluation.part import Part
from benchmarks.evaluation.parts.builds import Builds
from benchmarks.evaluation.parts.edge import Edge
from benchmarks.evaluation.parts.growth import Growth
from benchmarks.evaluation.parts.inference import Inference
from benchmarks.evaluation.parts.packers import Packers
from benchmarks.evaluation.parts.pulls import Pulls
from benchmarks.evaluation.parts.rebuild import Rebuild
from benchmarks.evaluation.parts.splits import Splits
from benchmarks.evaluation.parts.stored import Stored
from benchmarks.evaluation.parts.windows import Windows

PARTS: Final[tuple[Part, ...]] = (
    Builds(),
    Splits(),
    Rebuild(),
    Growth(),
    Stored(),
    Packers(),
    Pulls(),
    Inference(),
    Windows(),
    Edge(),
)
