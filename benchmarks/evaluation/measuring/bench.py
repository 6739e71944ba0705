"""Where the parts measure: a scratch directory, peers, models with new bytes, and turns."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from benchmarks.evaluation.results.samples import Sample, Samples
from benchmarks.models import Model, Noise, make_model
from tests.lab.registry import Registry

_T = TypeVar("_T")

_QUICK_SCALE: Final = 0.02
"""Size of the models in a run that only shows that everything works."""


@dataclass(slots=True)
class Bench:
    """What a part measures with."""

    directory: Path
    samples: Samples
    models: Sequence[str]
    """Names, the smallest first."""
    rounds: int
    quick: bool
    """Whether the run is to show only that everything works: tiny models, the first and the last of many points."""
    versions: dict[str, str] = field(default_factory=dict)
    """Of the programs that parts use besides ours and the registry, by name; parts add theirs."""
    noise: Noise = field(default_factory=lambda: Noise(seed=1))
    _made: int = 0

    def points(self, all_of_them: Sequence[_T]) -> Sequence[_T]:
        """Return the points that are measured: all, or the first and the last in a quick run."""
        return all_of_them if not self.quick or len(all_of_them) < 3 else (all_of_them[0], all_of_them[-1])

    def scratch(self, name: str, *, below: Path | None = None) -> Path:
        """Return a new directory, in the bench's own or ``below`` another."""
        self._made += 1
        made = (below or self.directory) / f"{self._made:03}-{name}"
        made.mkdir()
        return made

    def model(
        self,
        name: str,
        *,
        splits: int | None = None,
        base: str = "scratch",
        below: Path | None = None,
        by_layers: bool = False,
    ) -> Model:
        """Return a model with bytes that nothing has seen before, in a new directory.

        Args:
            name: of the model.
            splits: number of files; None: as many as ``SPLITS`` says.
            base: the reference that images of it build on.
            below: where the directory is made; None: in the bench's own.
            by_layers: whether splits have as many layers each, in place of as many bytes.
        """
        scale = _QUICK_SCALE if self.quick else 1.0
        directory = self.scratch(name, below=below) / "model"
        return make_model(name, directory, self.noise, splits=splits, scale=scale, base=base, by_layers=by_layers)

    @contextlib.contextmanager
    def registry(self) -> Iterator[Registry]:
        """Run a stock registry, empty."""
        directory = self.scratch("registry")
        with Registry.start(directory) as registry:
            yield registry
        shutil.rmtree(directory)  # rounds would fill the disk

    def turns(self, contenders: Sequence[_T], number: int) -> Sequence[_T]:
        """Return the contenders in the order of a round: each is first in turn, and every other round is backwards."""
        first = number % len(contenders)
        turned = (*contenders[first:], *contenders[:first])
        return turned[::-1] if number % 2 else turned

    def add(
        self,
        part: str,
        contender: str,
        measure: str,
        value: float,
        *,
        round: int,  # noqa: A002 - the name of the column
        turn: int = 0,
        model: str = "",
        case: str = "",
        at: float = 0,
    ) -> None:
        """Add a sample, and tell it on standard error."""
        self.samples.add(Sample(part, model, case, at, contender, measure, round, turn, value))
        place = " ".join(filter(None, (part, model, case, f"{at:g}")))
        print(f"round {round}: {place}: {contender}: {value:.6g} {measure}", file=sys.stderr)

    def add_all(
        self,
        part: str,
        contender: str,
        measured: Mapping[str, float],
        *,
        round: int,  # noqa: A002 - the name of the column
        turn: int = 0,
        model: str = "",
        case: str = "",
        at: float = 0,
    ) -> None:
        """Add a sample for each measure."""
        for measure, value in measured.items():
            self.add(part, contender, measure, value, round=round, turn=turn, model=model, case=case, at=at)
