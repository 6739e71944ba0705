"""Figure 8: one image, with the same bytes in a growing number of splits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from benchmarks.evaluation import paper
from benchmarks.evaluation.contenders.costs import fresh
from benchmarks.evaluation.contenders.docker import Docker, DockerImages
from benchmarks.evaluation.contenders.field import Twodfs
from benchmarks.evaluation.measuring.bench import Bench
from benchmarks.evaluation.part import Comparison
from benchmarks.evaluation.parts import builds
from benchmarks.evaluation.parts.builds import DOCKER, OURS, PULLABLE, STORED, Entry
from benchmarks.evaluation.results.summary import Row, Summary
from benchmarks.evaluation.results.tables import medians
from benchmarks.models import SPLITS
from benchmarks.plots import Panel, Plot

_MODEL: Final = "EfficientNetV2L"
_SPLITS: Final = (10, 20)
"""A quarter and a half of the model's, rounded down; all of them are a case of the part ``builds``."""
WORDS: Final = """\
All bytes of the largest model in one image, cut into more and more splits: cold builds, a layer for each split in
Docker's image. The last line, with all splits, was measured with the cold builds above."""
LIMITS: Final = """\
**Why.** The bytes stay the same, and with them most of the time of both. Docker's grows with each layer, which is a
step of its build and a snapshot of its store; ours with a cell of the field, a file in the store and an upload."""
_WHY: Final = "the newest Docker gives up compressing weights, and the machine is another"


class Splits:
    """Costs of one image of the largest model, by its number of splits."""

    name = "splits"
    title = "One image, a growing number of splits (figure 8)"

    def measure(self, bench: Bench) -> None:
        model = bench.models[0] if bench.quick else bench.models[-1]
        with Docker.start(bench.directory) as docker:
            bench.versions["Docker"] = docker.version
            entries = (
                Entry(OURS, 0, Twodfs(bench.scratch("store"))),
                Entry(DOCKER, 0, DockerImages(docker, 1)),
            )
            for number in range(bench.rounds):
                for splits in _SPLITS if not bench.quick else _SPLITS[:1]:
                    self._round(bench, model, number, splits, entries)

    def _round(self, bench: Bench, model: str, number: int, splits: int, entries: Sequence[Entry]) -> None:
        with fresh(bench, model, splits=splits) as setting:
            for turn, entry in enumerate(bench.turns(entries, number)):
                costs = setting.cold(entry.builder, setting.repository(f"turn-{turn}"))
                for case, cost in zip((STORED, PULLABLE), costs, strict=True):
                    builds.add_cost(
                        bench, self.name, entry.name, cost, round=number, turn=turn, model=model, case=case, at=splits
                    )
                entry.builder.forget()

    def section(self, summary: Summary) -> Iterator[str]:
        yield WORDS
        for case in (STORED, PULLABLE):
            yield f"{case.capitalize()}, seconds:"
            yield medians([row for _, rows in self._lines(summary, case) for row in rows], "splits")
        yield LIMITS

    def plots(self, summary: Summary) -> Iterator[Plot]:
        (model,) = summary.values(self.name, "model")
        yield Plot(
            "splits",
            [Panel(f"{model}: {case}", "splits", "seconds", self._lines(summary, case)) for case in (STORED, PULLABLE)],
        )

    def _lines(self, summary: Summary, case: str) -> Sequence[tuple[str, Sequence[Row]]]:
        (model,) = summary.values(self.name, "model")
        return [
            (
                one,
                (
                    *summary.find(self.name, model=model, case=case, contender=one),
                    *builds.with_all_splits(summary, model, case, one),
                ),
            )
            for one in (OURS, DOCKER)
        ]

    def comparisons(self, summary: Summary) -> Iterator[Comparison]:
        for case in (STORED, PULLABLE):
            ours, docker = (builds.with_all_splits(summary, _MODEL, case, one) for one in (OURS, DOCKER))
            if ours and docker:
                what = f"{_MODEL}, one image with {SPLITS[_MODEL]} splits, {case}"
                yield builds.beside(paper.SPLITS_EFFICIENTNET, what, ours[0], docker[0], _WHY)

    def behind(self, summary: Summary) -> Iterator[str]:
        yield from builds.slower(self.name, summary)
