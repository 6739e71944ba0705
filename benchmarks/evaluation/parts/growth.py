"""Beyond the papers: from ten splits to a thousand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from benchmarks.evaluation.contenders.costs import Setting, fresh
from benchmarks.evaluation.contenders.docker import Docker, DockerImages, dockerfile_of
from benchmarks.evaluation.contenders.field import Twodfs
from benchmarks.evaluation.measuring.bench import Bench
from benchmarks.evaluation.part import Comparison
from benchmarks.evaluation.parts.builds import DOCKER, OURS, Entry, add_cost, slower
from benchmarks.evaluation.results.summary import Row, Summary
from benchmarks.evaluation.results.tables import medians
from benchmarks.plots import Panel, Plot
from tests.lab.command import CommandError
from tests.lab.images import busybox_base, push_image

_MODEL: Final = "ResNet50"
_SPLITS: Final = (10, 100, 1000)
_COLD: Final = "cold"
_UNCHANGED: Final = "unchanged"
_ONE_CHANGED: Final = "one split changed"
_SITUATIONS: Final = (_COLD, _UNCHANGED, _ONE_CHANGED)
_TRIED: Final = (126, 130)
"""Splits that Docker can build and cannot, near each other, in a run that shows only that it is found out."""
_TOO_MANY: Final = "max depth exceeded"
_LIMIT: Final = "layers"
"""The measure of how many splits an image of Docker's can have."""
WORDS: Final = """\
The same bytes in ten splits, in a hundred and in a thousand: built and pushed cold, again unchanged, and after the
middle split changed. Docker has one image with a layer for each split, as long as it builds that."""
LIMITS: Final = """\
**Why.** Ours has a file in its store for each split, and requests to the registry, whose processor time grows with them
more than ours. Docker's store stacks file systems, which has an end; then images must have several splits in a layer,
and no split can change alone."""


class Growth:
    """Costs of one image, by its number of splits."""

    name = "growth"
    title = "From ten splits to a thousand"

    def measure(self, bench: Bench) -> None:
        with Docker.start(bench.directory) as docker:
            bench.versions["Docker"] = docker.version
            most = _most_layers(bench, docker)
            bench.add(self.name, DOCKER, _LIMIT, most, round=0)
            entries = (
                Entry(OURS, 0, Twodfs(bench.scratch("store"))),
                Entry(DOCKER, 0, DockerImages(docker, 1)),
            )
            for number in range(bench.rounds):
                for splits in _SPLITS[:1] if bench.quick else _SPLITS:
                    with fresh(bench, _MODEL, splits=splits) as setting:
                        able = entries if splits <= most else entries[:1]
                        self._round(bench, number, setting, able)

    def _round(self, bench: Bench, number: int, setting: Setting, entries: Sequence[Entry]) -> None:
        files = setting.model.files
        turns = bench.turns(entries, number)
        for situation in _SITUATIONS:
            if situation == _ONE_CHANGED:
                changed = setting.model.directory / files[len(files) // 2]
                changed.write_bytes(bench.noise.bytes(changed.stat().st_size))
            for turn, entry in enumerate(turns):
                if situation == _COLD:
                    entry.builder.forget()
                cost = setting.published(entry.builder, setting.repository(f"turn-{turn}"))
                add_cost(
                    bench,
                    self.name,
                    entry.name,
                    cost,
                    round=number,
                    turn=turn,
                    model=_MODEL,
                    case=situation,
                    at=len(files),
                )
        for entry in turns:
            entry.builder.forget()

    def section(self, summary: Summary) -> Iterator[str]:
        yield WORDS
        for situation in _SITUATIONS:
            yield f"{_MODEL}, {situation}, seconds:"
            yield medians(summary.find(self.name, case=situation), "splits")
        (most,) = summary.find(self.name, _LIMIT)
        yield f"Docker's image can have {most.median:.0f} splits; the build of one more ends with an error."
        yield LIMITS

    def plots(self, summary: Summary) -> Iterator[Plot]:
        yield Plot(
            "growth",
            [
                Panel(
                    f"{_MODEL}: {situation}",
                    "splits",
                    "seconds",
                    [(one, self._rows(summary, situation, one)) for one in (OURS, DOCKER)],
                    logarithmic=True,
                    logarithmic_across=True,
                )
                for situation in _SITUATIONS
            ],
        )

    def _rows(self, summary: Summary, situation: str, contender: str) -> Sequence[Row]:
        return summary.find(self.name, case=situation, contender=contender)

    def comparisons(self, summary: Summary) -> Iterator[Comparison]:  # noqa: ARG002 - of a Part
        yield from ()

    def behind(self, summary: Summary) -> Iterator[str]:
        yield from slower(self.name, summary)


def _most_layers(bench: Bench, docker: Docker) -> int:
    """Return how many splits an image of Docker's can have: tried with tiny ones, on the base of the benchmarks."""
    least, most = _TRIED if bench.quick else (_SPLITS[1], _SPLITS[-1])
    context = bench.scratch("layers")
    files = [f"{at}" for at in range(most)]
    for file in files:
        (context / file).write_text(file)
    with bench.registry() as registry:
        push_image(registry.url, "base", "v1", base=busybox_base())

        def is_built(splits: int) -> bool:
            (context / "Dockerfile").write_text(dockerfile_of(f"{registry.address}/base:v1", files[:splits]))
            try:
                docker.build(context, "Dockerfile", f"{registry.address}/layers:v1")
            except CommandError as error:
                if _TOO_MANY not in str(error):
                    raise
                return False
            return True

        if is_built(most):
            return most
        while most - least > 1:
            middle = (least + most) // 2
            least, most = (middle, most) if is_built(middle) else (least, middle)
    docker.forget()
    return least
