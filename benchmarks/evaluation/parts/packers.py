"""Other packers: the same files, on the same base, into the same registry."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.evaluation.contenders.abilities import Contender, Examination
from benchmarks.evaluation.contenders.docker import Docker, DockerImages
from benchmarks.evaluation.contenders.field import Twodfs
from benchmarks.evaluation.contenders.packers import Buildah, Crane, Oras, Umoci, packer_versions
from benchmarks.evaluation.measuring.bench import Bench
from benchmarks.evaluation.measuring.meter import Meter
from benchmarks.evaluation.measuring.relay import CountingRelay
from benchmarks.evaluation.part import Comparison
from benchmarks.evaluation.results.summary import Row, Summary
from benchmarks.evaluation.results.tables import medians
from benchmarks.markdown import table
from benchmarks.models import SITUATIONS, Model, prepare
from benchmarks.peers import cpu_seconds
from benchmarks.plots import Panel, Plot
from tests.lab.images import busybox_base, push_image
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry
from tests.lab.todays_docker import TodaysDocker
from tests.lab.todays_root import TodaysRoot

_NAME: Final = "packers"
_MODELS: Final = ("MobileNetV2", "ResNet50")
_SPLITS: Final = 10
_QUICK_SPLITS: Final = 2

WORDS: Final = """\
The same files on the same base of one layer, from a registry and back into it: a model in splits of as many of its
layers each, so that the first split is small and the last is large. *Cold*: all content is new, each packer has
forgotten everything, and so has the registry's repository. `oras push` makes each file a layer of an artifact as it is,
without a base. `crane append` and `umoci raw add-layer` take a tar for each split; making the tars counts, and
those of unchanged splits are kept, as make would. `skopeo copy` pushes the layout of umoci. Buildah builds the same
Dockerfile as Docker, with its cache."""
ABILITIES: Final = """\
What can be done with the result, each tried on what was measured: Docker pulls it and a container reads the last split;
a partition with the first split alone can be pulled through the proxy; and layers that are the same blobs in an image
of the same files in the opposite order, built from nothing, so that registry, engines and devices have them once."""
LIMITS: Final = """\
ORAS does the least that can be done: it hashes files as they are, and uploads several at a time from where they are;
nothing can run the outcome. Crane and umoci compress and hash every layer each time: they keep no notes, so of an
unchanged image only the upload is saved. Docker and Buildah chain layers: a layer's place in their caches depends on
all layers below it, so a change of the first split builds all of them anew, and each has the time of the build in the
entry of its directory, so all are sent again, and no other image shares them. Buildah's time depends on the number of
splits, and hardly on their bytes. A cold build of 2DFS starts an interpreter, hashes each split and writes it into
its store, and shares the processors with the registry, which hashes and writes the same bytes. ORAS and crane read
the files where they are, and keep nothing. Where splits are known already, 2DFS looks at nothing but their files'
times: most of that time is the start of the interpreter, which programs of one compiled file do not have."""
BEHIND: Final = {
    "oras push": "It keeps nothing and makes no image: what it pushes cannot be run, nor pulled in parts.",
    "crane append": "It keeps nothing, and its program is one compiled file, where ours starts an interpreter.",
}


class Packers:
    """ORAS, crane, umoci and Buildah beside 2DFS and Docker."""

    name = _NAME
    title = "Other packers"

    def comparisons(self, summary: Summary) -> Iterator[Comparison]:  # noqa: ARG002 - the papers have none of it
        return iter(())

    def behind(self, summary: Summary) -> Iterator[str]:
        for other in summary.values(_NAME, "contender")[1:]:
            ahead = list(summary.ahead(_NAME, theirs=other.lower()))
            if ahead:
                times = "; ".join(
                    f"{ours.model}, {ours.case}: {theirs.written()} s, ours {ours.written()} s"
                    for ours, theirs in ahead
                )
                yield f"{other}: {times}. {BEHIND.get(other, '')}".strip()

    def section(self, summary: Summary) -> Iterator[str]:
        yield WORDS
        for model in summary.values(_NAME, "model"):
            yield f"{model}: seconds until it can be pulled."
            yield medians(summary.find(_NAME, model=model), "", label=_situation)
        for heading, measure, scale, digits in (
            ("Processor seconds of all programs and daemons of a packer", "cpu_seconds", 1.0, 2),
            ("Processor seconds of the registry meanwhile", "registry_cpu_seconds", 1.0, 2),
            ("Megabytes that the registry was sent", "bytes", 1e-6, 2),
        ):
            model = summary.values(_NAME, "model", measure)[-1]
            yield f"{heading}, {model}:"
            yield medians(summary.find(_NAME, measure, model=model), "", label=_situation, scale=scale, digits=digits)
        yield ABILITIES
        yield _abilities(summary)
        yield from _where_time_goes(summary)
        yield LIMITS

    def plots(self, summary: Summary) -> Iterator[Plot]:
        panels = [
            Panel(
                title=model,
                across="",
                up="seconds until it can be pulled",
                lines=[
                    (name, summary.find(_NAME, model=model, contender=name))
                    for name in summary.values(_NAME, "contender", model=model)
                ],
                logarithmic=True,
                groups=[case.replace(" changed", "\nchanged") for case in SITUATIONS],
            )
            for model in summary.values(_NAME, "model")
        ]
        yield Plot(_NAME, panels)

    def measure(self, bench: Bench) -> None:
        models = [name for name in _MODELS if name in bench.models] or bench.models
        if bench.quick:
            models = models[:1]
        with ExitStack() as stack:
            registry = stack.enter_context(bench.registry())
            root = stack.enter_context(TodaysRoot.enter(bench.scratch(_NAME)))
            docker = Docker(root, TodaysDocker.start(root, "classic"))
            bench.versions |= {"Docker": docker.version, **packer_versions(root)}
            push_image(registry.url, "base", "v1", base=busybox_base())
            contenders = _contenders(bench.scratch("kept"), root, docker)
            for name in models:
                model = _model(bench, name, registry.address, root.directory)
                # Buildah needs as long for a small model: of these only the ends.
                all_of_them = tuple(enumerate(SITUATIONS))
                situations = bench.points(all_of_them if name == models[-1] else (all_of_them[0], all_of_them[-1]))
                for number in range(bench.rounds):
                    _timed_round(_Round(bench, registry, number), contenders, model, situations)
            _count_bytes(bench, contenders, models[-1], registry, root.directory)
            proxy = stack.enter_context(Proxy.start(bench.scratch("proxy"), registry.url))
            _examine(bench, contenders, Examination(registry, proxy, docker), models[0], root.directory)


def _contenders(kept: Path, root: TodaysRoot, docker: Docker) -> tuple[Contender, ...]:
    return (
        Contender(Twodfs(kept), "field", has_field=True),
        Contender(Oras(), "oras", is_artifact=True),
        Contender(Crane(kept), "crane"),
        Contender(Umoci(root, kept), "umoci"),
        Contender(Buildah(root), "buildah"),
        Contender(DockerImages(docker, 1), "image-000"),
    )


def _model(bench: Bench, name: str, address: str, directory: Path) -> Model:
    splits = _QUICK_SPLITS if bench.quick else _SPLITS
    return bench.model(name, splits=splits, base=f"{address}/base:v1", below=directory, by_layers=True)


@dataclass(frozen=True, slots=True)
class _Round:
    bench: Bench
    registry: Registry
    number: int


def _timed_round(
    this: _Round, contenders: Sequence[Contender], model: Model, situations: Sequence[tuple[int, str]]
) -> None:
    """Publish the model in each situation with each contender, to a repository that the registry does not know."""
    bench, registry, number = this.bench, this.registry, this.number
    for at, case in situations:
        prepare(model, case, bench.noise)
        for turn, one in enumerate(bench.turns(contenders, number)):
            if at == 0:
                one.publisher.forget()
            os.sync()
            of_registry = -cpu_seconds(registry)
            with Meter(one.publisher.servers) as used:
                one.publisher.publish(model, f"{registry.address}/{model.name.lower()}-{number}")
            of_registry += cpu_seconds(registry)
            values = {
                "seconds": used.seconds,
                "cpu_seconds": used.cpu_seconds,
                "registry_cpu_seconds": of_registry,
            }
            for measure, value in values.items():
                bench.add(_NAME, one.name, measure, value, round=number, turn=turn, model=model.name, case=case, at=at)


def _count_bytes(bench: Bench, contenders: Sequence[Contender], name: str, registry: Registry, directory: Path) -> None:
    """Count the bytes that each contender sends, in a round of its own: counting costs time."""
    with CountingRelay(registry.address) as relay:
        model = _model(bench, name, relay.address, directory)
        for at, case in bench.points(tuple(enumerate(SITUATIONS))):
            prepare(model, case, bench.noise)
            for turn, one in enumerate(contenders):
                if at == 0:
                    one.publisher.forget()
                before = relay.received
                one.publisher.publish(model, f"{relay.address}/counted")
                sent = relay.received - before
                bench.add(_NAME, one.name, "bytes", sent, round=0, turn=turn, model=model.name, case=case, at=at)


def _examine(
    bench: Bench, contenders: Sequence[Contender], examination: Examination, name: str, directory: Path
) -> None:
    """Check what each contender publishes, and try what can be done with it."""
    for turn, one in enumerate(contenders):
        model = _model(bench, name, examination.registry.address, directory)
        one.publisher.forget()
        one.publisher.publish(model, f"{examination.registry.address}/examined")
        examination.check(one, model, "examined")
        facts = {
            "runs": examination.runs(one, model, "examined"),
            "partitions": examination.gives_partitions(one, "examined"),
            "shared_layers": examination.shared_layers(one, model, "examined", "opposite"),
        }
        for measure in (measure for measure, value in facts.items() if value):  # what it cannot do is no sample
            bench.add(
                *(_NAME, one.name, measure, float(facts[measure])),
                round=0,
                turn=turn,
                model=model.name,
                case="abilities",
                at=len(model.files),
            )


def _situation(row: Row) -> str:
    return row.case


def _abilities(summary: Summary) -> str:
    def said(measure: str, name: str) -> str:
        return "yes" if summary.find(_NAME, measure, contender=name) else "no"

    def shared(name: str) -> str:
        found = summary.find(_NAME, "shared_layers", contender=name)
        return f"{found[0].median:g} of {found[0].at:g}" if found else "none"

    names = summary.values(_NAME, "contender")
    rows = [(name, said("runs", name), said("partitions", name), shared(name)) for name in names]
    return table(("", "Docker runs it", "partitions", "layers shared"), rows)


def _where_time_goes(summary: Summary) -> Iterator[str]:
    """Say how the largest model's cold build compares with each packer's, in time and in processor time."""
    model, case = summary.values(_NAME, "model")[-1], SITUATIONS[0]

    def median(measure: str, name: str) -> float:
        (row,) = summary.find(_NAME, measure, model=model, case=case, contender=name)
        return row.median

    ours = Twodfs.name
    yield f"{model}, {case}, beside {ours}:"
    yield table(
        ("", "times its time", "times its processor time"),
        [
            (
                name,
                f"{median('seconds', name) / median('seconds', ours):.2f}",
                f"{median('cpu_seconds', name) / median('cpu_seconds', ours):.2f}",
            )
            for name in summary.values(_NAME, "contender", model=model, case=case)
            if name != ours
        ],
    )
