"""Beyond the papers: bytes of partitions that are made beforehand, and of one image with a field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks.evaluation.contenders.builder import Builder
from benchmarks.evaluation.contenders.costs import fresh
from benchmarks.evaluation.contenders.docker import Daemon, Docker, DockerImages, DockerWindows, OlderDocker
from benchmarks.evaluation.contenders.field import Twodfs
from benchmarks.evaluation.measuring.bench import Bench
from benchmarks.evaluation.measuring.relay import CountingRelay
from benchmarks.evaluation.part import Comparison
from benchmarks.evaluation.results.summary import Row, Summary
from benchmarks.evaluation.results.tables import medians
from benchmarks.models import Model
from benchmarks.plots import Panel, Plot
from tests.lab.registry import Registry

_MODEL: Final = "ResNet50"
_SPLITS: Final = 10
_QUICK_SPLITS: Final = 2
_OURS: Final = "2DFS"
_DOCKER: Final = "Docker"
_OLDER: Final = "Docker, older"
COLD: Final = "at first"
CHANGED: Final = "first split changed"
_STORED: Final = "stored_bytes"
_SENT: Final = "sent_bytes"
_MODEL_BYTES: Final = "model_bytes"
WORDS: Final = """\
What a registry must hold, and be sent, until partitions can be pulled. Of one 2DFS image every partition can be. Docker
images are made beforehand: one with everything, one for each split, or one for every run of consecutive splits, which
are all partitions of a row. Then the first split gets new bytes, and all is built and pushed again. Bytes do not vary
as times do, so they are counted once."""
LIMITS: Final = """\
**Why.** Runs that begin with the same split share layers in Docker's cache and in the registry; runs that begin
elsewhere do not, since a layer carries the time at which its directory was made, and is another one in each chain. So
the bytes grow with the square of the number of splits, and a new first split is sent with every layer above it. The
newest Docker keeps weights as large as they are, the older one compresses them: that is what its time buys."""
FEWER: Final = "its gzip makes weights a little smaller, which ours sends as they are."


@dataclass(frozen=True, slots=True)
class _Set:
    """Images that partitions are pulled from."""

    name: str
    images: int
    builder: Builder


@dataclass(frozen=True, slots=True)
class _Place:
    model: Model
    registry: Registry
    relay: CountingRelay


class Stored:
    """Bytes in the registry and on the way there, by the number of images."""

    name = "stored"
    title = "Bytes of prebuilt partitions"

    def measure(self, bench: Bench) -> None:
        with Docker.start(bench.directory) as docker, OlderDocker.start(bench.scratch("older")) as older:
            bench.versions |= {"Docker": docker.version, "older Docker": older.version}
            splits = _QUICK_SPLITS if bench.quick else _SPLITS
            for turn, images in enumerate(self._sets(bench, splits, docker, older)):
                # A registry for each: none is spared what another has sent.
                with (
                    fresh(bench, _MODEL, splits=splits) as setting,
                    CountingRelay(setting.registry.address) as relay,
                ):
                    images.builder.forget()
                    # From the same address as the target, or Docker could not tell the registry that it has the base.
                    model = replace(setting.model, base=f"{relay.address}/base:v1")
                    for case in (COLD, CHANGED):
                        if case == CHANGED:
                            model.change(1, bench.noise, top_down=True)
                        self._publish(bench, _Place(model, setting.registry, relay), images, case, turn)
                    images.builder.forget()

    def _sets(self, bench: Bench, splits: int, docker: Daemon, older: Daemon) -> Sequence[_Set]:
        return (
            _Set(_OURS, 1, Twodfs(bench.scratch("store"))),
            _Set(_OLDER, 1, DockerImages(older, 1)),
            _Set(_DOCKER, 1, DockerImages(docker, 1)),
            _Set(_DOCKER, splits, DockerImages(docker, None)),
            _Set(_DOCKER, splits * (splits + 1) // 2, DockerWindows(docker)),
        )

    def _publish(self, bench: Bench, place: _Place, images: _Set, case: str, turn: int) -> None:
        directory = place.registry.config.parent / "storage"
        stored, sent = -_size(directory), -place.relay.received
        images.builder.publish(place.model, f"{place.relay.address}/model")
        stored += _size(directory)
        sent += place.relay.received
        for measure, value in ((_STORED, stored), (_SENT, sent), (_MODEL_BYTES, place.model.size)):
            bench.add(
                self.name, images.name, measure, value, round=0, turn=turn, model=_MODEL, case=case, at=images.images
            )

    def section(self, summary: Summary) -> Iterator[str]:
        yield WORDS
        size = summary.find(self.name, _MODEL_BYTES)[0]
        yield f"{_MODEL}, which has {size.median / 1e6:.1f} MB."
        for heading, measure in (("MB more in the registry", _STORED), ("MB sent to it", _SENT)):
            yield f"{heading}:"
            rows = summary.find(self.name, measure)
            yield medians(rows, "images", label=_label, column=lambda row: row.case, scale=1e-6, digits=1)
        yield LIMITS

    def plots(self, summary: Summary) -> Iterator[Plot]:
        cases = summary.values(self.name, "case", _STORED)
        yield Plot(
            "stored",
            [
                Panel(title, "", "MB", self._bars(summary, measure), logarithmic=True, groups=cases)
                for title, measure in (("Stored", _STORED), ("Sent", _SENT))
            ],
        )

    def _bars(self, summary: Summary, measure: str) -> Sequence[tuple[str, Sequence[Row]]]:
        lines: dict[str, list[Row]] = {}
        for row in summary.find(self.name, measure):
            lines.setdefault(_label(row), []).append(row)
        cases = summary.values(self.name, "case", measure)
        return [
            (name, [replace(row.scaled(1e-6), at=cases.index(row.case)) for row in rows])
            for name, rows in lines.items()
        ]

    def comparisons(self, summary: Summary) -> Iterator[Comparison]:  # noqa: ARG002 - the papers have none of it
        return iter(())

    def behind(self, summary: Summary) -> Iterator[str]:
        for ours, docker in summary.ahead(self.name, _STORED):
            yield (
                f"{ours.case}, {docker.contender}: {docker.median / 1e6:.1f} MB stored, ours {ours.median / 1e6:.1f} "
                f"MB: {FEWER}"
            )


def _label(row: Row) -> str:
    images = "one image" if row.at == 1 else f"{row.at:.0f} images"
    return f"{row.contender}, {images}"


def _size(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
