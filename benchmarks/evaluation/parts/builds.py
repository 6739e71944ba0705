"""Figures 2, 9 and 10: one image with a field, beside the images that Docker needs for the same splits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields, replace
from typing import Final

from benchmarks.evaluation import paper
from benchmarks.evaluation.contenders.builder import Builder
from benchmarks.evaluation.contenders.costs import Cost, fresh
from benchmarks.evaluation.contenders.docker import Daemon, Docker, DockerImages, OlderDocker
from benchmarks.evaluation.contenders.field import Twodfs
from benchmarks.evaluation.measuring.bench import Bench
from benchmarks.evaluation.paper import Reported
from benchmarks.evaluation.part import Comparison
from benchmarks.evaluation.results.summary import Row, Summary
from benchmarks.evaluation.results.tables import medians
from benchmarks.markdown import table
from benchmarks.models import SPLITS
from benchmarks.plots import Panel, Plot

OURS: Final = "2DFS, one image"
DOCKER: Final = "Docker"
CONTAINERD: Final = "Docker, containerd's store"
OLDER: Final = "Docker, older"
STORED: Final = "build"
"""The case in which an image is in the builder's own store."""
PULLABLE: Final = "build and push"

_IMAGES: Final = {"MobileNetV2": (1, 5, 10), "ResNet50": (1, 2, 5, 10), "EfficientNetV2L": (1, 41)}
"""How many Docker images the splits are divided over."""
_AGAIN: Final = "ResNet50"
"""The model that other Dockers build as well."""
_REPORTED: Final = {
    "MobileNetV2": paper.BUILD_MOBILENET,
    "ResNet50": paper.BUILD_RESNET,
    "EfficientNetV2L": paper.BUILD_EFFICIENTNET,
}
WORDS: Final = """\
All splits of a model in one 2DFS image, and in Docker images over which they are divided evenly, down to an image for
each split. Every build is cold: stores and build caches are empty, and the base, which the registry has, is fetched.
*Build* ends when all is in the builder's own store, *build and push* when it can be pulled. Docker's daemon is warm,
and keeps its classic store, as Debian sets it up; its images are built one after another, as the papers' scripts do it.
One model is built by two more: the same Docker with containerd's store, which those scripts turn on and in which
Docker compresses while it builds, in one image; and an older Docker of this machine's own Debian, whose gzip compresses
weights."""
LIMITS: Final = """\
**Why the ratio is what it is.** Each Docker build has costs of its own, whatever its size: a client, a session, a
question to the registry for the base, a snapshot, an export. So Docker's time grows with the number of images, and ours
does not: that is the papers' finding, and it holds. In one image, both are bound by bytes, and the ratio is smallest.
It is below the papers' because of Docker, too: their scripts tell how long Docker compresses, and Debian's newest gives
that up, since weights hardly shrink (see the bytes that it stores, below, and the older Docker beside it). Ours sends
weights uncompressed. What is left of our time is the start of an interpreter, one hash over every byte, and the
registry's own hashing and writing."""
RESOURCES: Final = """\
Counted is everything that a contender makes work: its own programs, and the daemon with all processes below it; the
registry stands apart. Memory is the most that they had resident together, of which an idle daemon has its share. The
papers' measure is the share of all processors: it is lower where a builder waits, and says little of a build that is
over sooner; processor seconds do."""
_WHY: Final = "the newest Docker gives up compressing weights, and the machine is another"
_NO_TIME_OF_OURS: Final = "the newest Docker gives up compressing weights; for ours the paper has figure 8's time"


@dataclass(frozen=True, slots=True)
class Entry:
    """A contender in a situation: how its rows are called, and where they stand."""

    name: str
    at: float
    builder: Builder


class Builds:
    """Costs of cold builds, by the number of Docker images."""

    name = "builds"
    title = "Cold builds: one 2DFS image, many Docker images (figures 2, 9 and 10)"

    def measure(self, bench: Bench) -> None:
        with (
            Docker.start_several(bench.directory, "classic", "containerd") as (classic, containerd),
            OlderDocker.start(bench.scratch("older")) as older,
        ):
            bench.versions |= {"Docker": classic.version, "older Docker": older.version}
            for name in (_AGAIN,) if bench.quick else bench.models:
                entries = self._entries(bench, name, classic, containerd, older)
                for number in range(bench.rounds):
                    self._round(bench, name, number, entries)

    def _entries(self, bench: Bench, model: str, classic: Daemon, containerd: Daemon, older: Daemon) -> Sequence[Entry]:
        numbers = _IMAGES[model] if not bench.quick else _IMAGES[model][:2]
        again = () if model != _AGAIN else numbers[:1] if bench.quick else (numbers[0], numbers[-1])
        return [
            Entry(OURS, 1, Twodfs(bench.scratch("store"))),
            *(Entry(DOCKER, images, DockerImages(classic, images)) for images in numbers),
            *(Entry(CONTAINERD, images, DockerImages(containerd, images)) for images in again[:1]),
            *(Entry(OLDER, images, DockerImages(older, images)) for images in again),
        ]

    def _round(self, bench: Bench, model: str, number: int, entries: Sequence[Entry]) -> None:
        with fresh(bench, model) as setting:
            for turn, entry in enumerate(bench.turns(entries, number)):
                repository = setting.repository(f"turn-{turn}")
                for case, cost in zip((STORED, PULLABLE), setting.cold(entry.builder, repository), strict=True):
                    add_cost(
                        bench, self.name, entry.name, cost, round=number, turn=turn, model=model, case=case, at=entry.at
                    )
                entry.builder.forget()

    def section(self, summary: Summary) -> Iterator[str]:
        yield WORDS
        for case in (STORED, PULLABLE):
            for model in summary.values(self.name, "model"):
                yield f"{model}, {SPLITS[model]} splits, {case}, seconds:"
                yield medians(summary.find(self.name, model=model, case=case), "images")
                yield self._ratios(summary, model, case)
        yield LIMITS
        yield "### Processor and memory of the builders (figure 10)"
        yield RESOURCES
        yield self._resources(summary)

    def _ratios(self, summary: Summary, model: str, case: str) -> str:
        ours = summary.find(self.name, model=model, case=case, contender=OURS)[0]
        docker = summary.find(self.name, model=model, case=case, contender=DOCKER)
        told = ", ".join(f"{row.at:.0f}: {row.median / ours.median:.1f}x" for row in docker)
        return f"Docker takes so many times as long as one 2DFS image, by its number of images: {told}."

    def _resources(self, summary: Summary) -> str:
        processors = summary.conditions[self.name].machine.processors
        lines = []
        for row in _ends(summary.find(self.name, case=PULLABLE)):
            used, registry, peak = (
                summary.find(self.name, measure, model=row.model, case=row.case, at=row.at, contender=row.contender)[0]
                for measure in ("cpu_seconds", "registry_cpu_seconds", "peak_bytes")
            )
            lines.append(
                (
                    row.model,
                    f"{row.contender}, {row.at:.0f}" if row.contender != OURS else OURS,
                    used.written(),
                    f"{100 * used.median / row.median / processors:.0f} %",
                    peak.scaled(1e-6).written(0),
                    registry.written(),
                )
            )
        return table(
            ("model", "builder, images", "processor s", "of all processors", "peak MB", "registry's processor s"),
            lines,
            words=2,
        )

    def plots(self, summary: Summary) -> Iterator[Plot]:
        models = summary.values(self.name, "model")
        yield Plot(
            "builds",
            [
                Panel(f"{model}: {case}", "Docker images", "seconds", _lines(summary, model, case), logarithmic=True)
                for case in (STORED, PULLABLE)
                for model in models
            ],
        )
        yield Plot(
            "builders",
            [
                Panel("Processor time", "", "seconds", self._bars(summary, "cpu_seconds", 1), groups=models),
                Panel("Peak memory", "", "MB", self._bars(summary, "peak_bytes", 1e-6), groups=models),
            ],
        )

    def _bars(self, summary: Summary, measure: str, scale: float) -> Sequence[tuple[str, Sequence[Row]]]:
        models = summary.values(self.name, "model")
        lines: dict[str, list[Row]] = {}
        for row in _ends(summary.find(self.name, measure, case=PULLABLE)):
            if row.contender in {OURS, DOCKER}:
                images = "one image" if row.at == 1 else "image each"
                name = OURS if row.contender == OURS else f"{row.contender}, {images}"
                lines.setdefault(name, []).append(replace(row.scaled(scale), at=models.index(row.model)))
        return list(lines.items())

    def comparisons(self, summary: Summary) -> Iterator[Comparison]:
        for model, reported in _REPORTED.items():
            for case in (STORED, PULLABLE):
                ours = summary.find(self.name, model=model, case=case, contender=OURS)
                docker = summary.find(self.name, model=model, case=case, contender=DOCKER, at=SPLITS[model])
                if ours and docker:
                    what = f"{model}, an image for each split, {case}"
                    why = _NO_TIME_OF_OURS if reported is paper.BUILD_EFFICIENTNET else _WHY
                    yield beside(reported, what, ours[0], docker[0], why)
        ours, docker = (
            summary.find(self.name, "cpu_seconds", case=PULLABLE, contender=one, at=1) for one in (OURS, DOCKER)
        )
        if ours and docker:
            ratios = [other.median / own.median for own, other in zip(ours, docker, strict=True)]
            said = f"Docker's one image takes {min(ratios):.1f} to {max(ratios):.1f} times the processor time"
            yield Comparison(
                paper.PROCESSOR.figure,
                "processor and memory of builders",
                paper.PROCESSOR.said,
                said,
                min(ratios) >= paper.PROCESSOR.value,
                "see the table",
            )

    def behind(self, summary: Summary) -> Iterator[str]:
        yield from slower(self.name, summary)


def add_cost(
    bench: Bench,
    part: str,
    contender: str,
    cost: Cost,
    *,
    round: int,  # noqa: A002 - the name of the column
    turn: int,
    model: str,
    case: str,
    at: float,
) -> None:
    """Add a sample for each measure of a cost."""
    for one, value in zip(fields(cost), astuple(cost), strict=True):
        bench.add(part, contender, one.name, value, round=round, turn=turn, model=model, case=case, at=at)


def beside(reported: Reported, what: str, ours: Row, docker: Row, why: str) -> Comparison:
    """Return how many times as long Docker takes, beside the paper."""
    ratio = docker.median / ours.median
    here = f"{ours.median:.2f} s, Docker {docker.median:.2f} s: {ratio:.1f}x"
    return Comparison(reported.figure, what, reported.said, here, ratio >= reported.value, why)


def with_all_splits(summary: Summary, model: str, case: str, contender: str) -> Sequence[Row]:
    """Return the row, if there is one, of one image with all splits of a model; ``at`` is the number of splits."""
    found = summary.find(Builds.name, model=model, case=case, contender=contender, at=1)
    return [replace(row, at=SPLITS[model]) for row in found]


def slower(part: str, summary: Summary) -> Iterator[str]:
    """Yield a sentence for each situation in which Docker is sooner ready."""
    for ours, docker in summary.ahead(part):
        place = ", ".join(filter(None, (ours.model, ours.case, f"{ours.at:g}")))
        yield f"{place}: {docker.contender} {docker.median:.2f} s, {ours.contender} {ours.median:.2f} s."


def _ends(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield the rows of one image, and of an image for each split."""
    for row in rows:
        if row.at in {1, SPLITS[row.model]}:
            yield row


def _lines(summary: Summary, model: str, case: str) -> Sequence[tuple[str, Sequence[Row]]]:
    docker = summary.find(Builds.name, model=model, case=case, contender=DOCKER)
    (ours,) = summary.find(Builds.name, model=model, case=case, contender=OURS)
    others = [(one, summary.find(Builds.name, model=model, case=case, contender=one)) for one in (CONTAINERD, OLDER)]
    level = [replace(ours, at=row.at) for row in docker]  # one image, whatever Docker does
    return [(OURS, level), (DOCKER, docker), *((one, rows) for one, rows in others if rows)]
