"""Figures 4 and 14: builds after a part of the splits changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.evaluation import paper
from benchmarks.evaluation.contenders.builder import Builder
from benchmarks.evaluation.contenders.costs import Cost, Setting, fresh
from benchmarks.evaluation.contenders.docker import Docker, DockerImages
from benchmarks.evaluation.contenders.field import Twodfs
from benchmarks.evaluation.measuring.bench import Bench
from benchmarks.evaluation.part import Comparison
from benchmarks.evaluation.parts.builds import OURS, PULLABLE, STORED, add_cost, beside, slower
from benchmarks.evaluation.results.summary import Row, Summary
from benchmarks.evaluation.results.tables import medians
from benchmarks.models import SPLITS
from benchmarks.plots import Panel, Plot

_ONE: Final = "Docker, one image"
_EACH: Final = "Docker, image each"
_SHARES: Final = {"ResNet50": (1, 25, 50, 100), "EfficientNetV2L": (1, 25, 100)}
"""Percent of the splits that change: at least one split; the papers' models."""
_QUICK_SPLITS: Final = 2
_EACH_OF: Final = "ResNet50"
"""The model that is also built as an image for each split; forty-one images of another would take most of the time."""
_QUARTER_OF: Final = "EfficientNetV2L"
_QUARTER: Final = 100 * round(SPLITS[_QUARTER_OF] / 4) / SPLITS[_QUARTER_OF]
FIRST: Final = "first splits"
LAST: Final = "last splits"
WORDS: Final = """\
Splits get new bytes of the same size, and everything is built again by builders that know all the rest: the first
splits in one row of measurements, the last ones in the other. Zero percent is a build in which nothing changed. In
Docker's image the first splits are the lowest layers, so the papers' *bottom* is the first splits here, and their *top*
the last: the authors' scripts count the same way. An image for each split is the same either way, and stands with the
first."""
LIMITS: Final = """\
**Why.** A layer of Docker's stands on those below it: with a new lowest one, all are made again, compressed and sent.
With a new highest one, only that. That is where Docker comes closest to ours in one image; an image for each split has
no such order, but pays for each image, also for those in which nothing changed. Ours makes and sends the changed splits
alone, wherever they are. The ratio is below the papers' since the newest Docker gives up compressing weights; and their
scripts put large files in the place of changed splits, however small these were."""
_WHY: Final = "the newest Docker gives up compressing weights, and the papers' changed splits were larger"
_AVERAGE: Final = "the newest Docker gives up compressing weights; where all of it changes there is nothing to keep"


@dataclass(frozen=True, slots=True)
class _Pair:
    """A contender with a store that is built into, and one that is published from."""

    name: str
    builder: Builder
    publisher: Builder

    def costs(self, setting: Setting) -> Mapping[str, Cost]:
        repository = setting.repository(self.name.lower().replace(", ", "-").replace(" ", "-"))
        built = setting.built(self.builder, repository)
        is_same = self.builder is self.publisher
        published = setting.published(self.publisher, repository, built if is_same else None)
        return {STORED: built, PULLABLE: published}

    def forget(self) -> None:
        self.builder.forget()
        self.publisher.forget()


class Rebuild:
    """Costs of builds by the share of splits that changed."""

    name = "rebuild"
    title = "Rebuild after changes (figures 4 and 14)"

    def measure(self, bench: Bench) -> None:
        # A daemon for each, or one would find layers in its cache that the other has just built.
        with Docker.start_several(bench.directory, "classic", "classic") as (one, each):
            bench.versions["Docker"] = one.version
            ours = _Pair(OURS, Twodfs(bench.scratch("store")), Twodfs(bench.scratch("store")))
            whole, apart = DockerImages(one, 1), DockerImages(each, None)
            pairs = (ours, _Pair(_ONE, whole, whole))
            models = [name for name in bench.models if name in _SHARES] or list(_SHARES)
            for name in models[:1] if bench.quick else models:
                with_each = (*pairs, _Pair(_EACH, apart, apart)) if name == _EACH_OF else pairs
                for number in range(bench.rounds):
                    self._round(bench, name, number, with_each)

    def _round(self, bench: Bench, name: str, number: int, pairs: Sequence[_Pair]) -> None:
        with fresh(bench, name, splits=_QUICK_SPLITS if bench.quick else None) as setting:
            model = setting.model
            for pair in pairs:
                pair.forget()
                pair.costs(setting)
            self._build(bench, number, pairs, setting, changed=(FIRST, LAST), percent=0)
            shares = bench.points(_SHARES[name])
            for case in (FIRST, LAST):
                taking_part = [pair for pair in pairs if case == FIRST or pair.name != _EACH]
                for share in shares if case == FIRST else shares[:-1]:
                    count = max(1, round(share * len(model.files) / 100))
                    model.change(count, bench.noise, top_down=case == FIRST)
                    cases = (FIRST, LAST) if count == len(model.files) else (case,)
                    percent = 100 * count / len(model.files)
                    self._build(bench, number, taking_part, setting, changed=cases, percent=percent)
            for pair in pairs:
                pair.forget()

    def _build(
        self,
        bench: Bench,
        number: int,
        pairs: Sequence[_Pair],
        setting: Setting,
        *,
        changed: Sequence[str],
        percent: float,
    ) -> None:
        for turn, pair in enumerate(bench.turns(pairs, number)):
            for case, cost in pair.costs(setting).items():
                for one in changed:
                    add_cost(
                        bench,
                        self.name,
                        pair.name,
                        cost,
                        round=number,
                        turn=turn,
                        model=setting.model.name,
                        case=f"{one}, {case}",
                        at=percent,
                    )

    def section(self, summary: Summary) -> Iterator[str]:
        yield WORDS
        for model in summary.values(self.name, "model"):
            for case in (STORED, PULLABLE):
                for changed in (FIRST, LAST):
                    yield f"{model}, {changed} changed, {case}, seconds:"
                    yield medians(self._rows(summary, model, changed, case), "percent", label=_percent)
        yield LIMITS

    def plots(self, summary: Summary) -> Iterator[Plot]:
        models = summary.values(self.name, "model")
        yield Plot(
            "rebuild",
            [
                Panel(
                    f"{model}: {changed}, {PULLABLE}",
                    "% of the splits changed",
                    "seconds",
                    self._lines(summary, model, changed),
                    logarithmic=True,
                )
                for model in models
                for changed in (FIRST, LAST)
            ],
        )

    def _lines(self, summary: Summary, model: str, changed: str) -> Sequence[tuple[str, Sequence[Row]]]:
        rows = self._rows(summary, model, changed, PULLABLE)
        return [(name, [row for row in rows if row.contender == name]) for name in dict.fromkeys(_contenders(rows))]

    def _rows(self, summary: Summary, model: str, changed: str, case: str) -> Sequence[Row]:
        """Return the rows by percent; where the last splits change, without those of an image for each."""
        rows = summary.find(self.name, model=model, case=f"{changed}, {case}")
        return sorted((row for row in rows if changed == FIRST or row.contender != _EACH), key=lambda row: row.at)

    def comparisons(self, summary: Summary) -> Iterator[Comparison]:
        pairs = [
            (ours, docker)
            for ours in summary.find(self.name, contender=OURS)
            for docker in summary.find(self.name, contender=_ONE, model=ours.model, case=ours.case, at=ours.at)
            if ours.case.endswith(STORED) and ours.at
        ]
        if pairs:
            ratios = [docker.median / ours.median for ours, docker in pairs]
            average, most = sum(ratios) / len(ratios), max(ratios)
            for reported, what, ratio in (
                (paper.REBUILD_AVERAGE, "all changes in all models", average),
                (paper.REBUILD_PEAK, "the best of them", most),
            ):
                yield Comparison(
                    reported.figure,
                    f"{what}, {STORED}",
                    reported.said,
                    f"{ratio:.1f}x",
                    ratio >= reported.value,
                    _AVERAGE,
                )
        for reported, changed in ((paper.REBUILD_BOTTOM, FIRST), (paper.REBUILD_TOP, LAST)):
            for ours, docker in pairs:
                if ours.model == _QUARTER_OF and ours.at == _QUARTER and ours.case.startswith(changed):
                    yield beside(reported, f"{ours.model}, a quarter changed, {ours.case}", ours, docker, _WHY)

    def behind(self, summary: Summary) -> Iterator[str]:
        yield from slower(self.name, summary)


def _contenders(rows: Iterable[Row]) -> Iterator[str]:
    return (row.contender for row in rows)


def _percent(row: Row) -> str:
    return f"{row.at:.0f}"
