"""Other packers: the same files, on the same base, into the same registry."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benchmarks.evaluation.abilities import Contender, Examination
from benchmarks.evaluation.bench import Bench
from benchmarks.evaluation.contenders.docker import Docker, DockerImages
from benchmarks.evaluation.contenders.field import Twodfs
from benchmarks.evaluation.contenders.packers import Buildah, Crane, Oras, Umoci
from benchmarks.evaluation.meter import Meter
from benchmarks.evaluation.relay import CountingRelay
from benchmarks.models import SITUATIONS, Model, prepare
from tests.lab.images import busybox_base, push_image
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry
from tests.lab.todays_docker import TodaysDocker
from tests.lab.todays_root import TodaysRoot

_NAME: Final = "packers"
_MODELS: Final = ("MobileNetV2", "ResNet50")
_SPLITS: Final = 10
_QUICK_SPLITS: Final = 2

class Packers:
    """ORAS, crane, umoci and Buildah beside twodfs and Docker."""

    name = _NAME
    title = "Other packers"

    def measure(self, bench: Bench) -> None:
        models = [name for name in _MODELS if name in bench.models] or bench.models
        if bench.quick:
            models = models[:1]
        with ExitStack() as stack:
            registry = stack.enter_context(bench.registry())
            root = stack.enter_context(TodaysRoot.enter(bench.scratch(_NAME)))
            docker = Docker(root, TodaysDocker.start(root, "classic"))
            push_image(registry.url, "base", "v1", base=busybox_base())
            contenders = _contenders(bench.scratch("kept"), root, docker)
            for name in models:
                model = _model(bench, name, registry.address, root.directory)
                for number in range(bench.rounds):
                    _timed_round(bench, contenders, model, f"{registry.address}/{name.lower()}-{number}", number)
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


def _timed_round(bench: Bench, contenders: Sequence[Contender], model: Model, repository: str, number: int) -> None:
    """Publish the model in each situation with each contender, to a repository that the registry does not know."""
    for at, case in enumerate(SITUATIONS):
        prepare(model, case, bench.noise)
        for turn, one in enumerate(bench.turns(contenders, number)):
            if at == 0:
                one.publisher.forget()
            os.sync()
            with Meter(one.publisher.servers) as used:
                one.publisher.publish(model, repository)
            for measure, value in (("seconds", used.seconds), ("cpu_seconds", used.cpu_seconds)):
                bench.add(
                    _NAME,
                    one.name,
                    measure,
                    value,
                    round=number,
                    turn=turn,
                    model=model.name,
                    case=case,
                    at=at,
                )


def _count_bytes(bench: Bench, contenders: Sequence[Contender], name: str, registry: Registry, directory: Path) -> None:
    """Count the bytes that each contender sends, in a round of its own: counting costs time."""
    with CountingRelay(registry.address) as relay:
        model = _model(bench, name, relay.address, directory)
        for at, case in enumerate(SITUATIONS):
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
        for measure, value in facts.items():
            bench.add(_NAME, one.name, measure, value, round=0, turn=turn, model=model.name, case="abilities")
