"""Figures 3 and 11 to 13: engines download a partition, and the image made beforehand that has the same files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from benchmarks.evaluation.bench import Bench
from benchmarks.evaluation.contenders.docker import Docker, dockerfile_of
from benchmarks.evaluation.contenders.field import Twodfs
from benchmarks.evaluation.engines import PullingContainerd, PullingDocker, PullingEngine
from benchmarks.evaluation.meter import tree_seconds
from benchmarks.evaluation.serving import Serving
from benchmarks.models import Model
from benchmarks.prebuilt import prebuild
from tests.lab.images import busybox_base, push_image
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry

SHARES: Final = (25, 50, 75, 100)
"""Percent of the columns."""
_ENDS: Final = (SHARES[0], SHARES[-1])
_LARGEST: Final = "EfficientNetV2L"
"""Takes longer than all others together, so it is measured at the ends alone."""

PARTITION: Final = "2dfs partition"
COLD: Final = "2dfs partition, new proxy"
SAME: Final = "Docker image, same layers"
BUILT: Final = "Docker image, gzip"
CONTENDERS: Final = (PARTITION, COLD, SAME, BUILT)


@dataclass(frozen=True, slots=True)
class _Servers:
    registry: Registry
    proxy: Proxy
    """Has cut every partition before."""
    new_proxy: Proxy
    """Is started anew for each pull."""

    def used_by(self, contender: str) -> Sequence[Proxy]:
        return {PARTITION: (self.proxy,), COLD: (self.new_proxy,)}.get(contender, ())


class Pulls:
    """Every pull is of an image of which the engine has nothing."""

    name = "pulls"
    title = "Download of a partition"

    def measure(self, bench: Bench) -> None:
        with ExitStack() as stack:
            servers = _servers(bench, stack)
            docker = stack.enter_context(Docker.start(bench.directory))
            containerd = stack.enter_context(PullingContainerd.start(bench.scratch("containerd")))
            engines = (PullingDocker(docker), containerd)
            for name in bench.models[:1] if bench.quick else bench.models:
                repository = name.lower()
                model = bench.model(name, base=f"{servers.registry.address}/base:v1")
                _publish(bench, model, repository, servers, docker)
                for engine in engines:  # nothing is warm at first
                    _pull(engine, servers, repository, BUILT, SHARES[-1], len(model.files))
                for number in range(bench.rounds):
                    for share in _ENDS if name == _LARGEST else bench.points(SHARES):
                        for engine in engines:
                            self._round(bench, number, model, engine, servers, share)

    def _round(
        self, bench: Bench, number: int, model: Model, engine: PullingEngine, servers: _Servers, share: int
    ) -> None:
        found = {}
        # A proxy takes longer to start than most pulls take.
        contenders = CONTENDERS if share in _ENDS else tuple(one for one in CONTENDERS if one != COLD)
        for turn, contender in enumerate(bench.turns(contenders, number)):
            if contender == COLD:
                servers.new_proxy.restart()
            measured = _pull(engine, servers, model.name.lower(), contender, share, len(model.files))
            found[contender] = turn, measured
        for contender, (turn, measured) in found.items():
            measured["more_seconds"] = measured["seconds"] - found[SAME][1]["seconds"]
            for measure, value in measured.items():
                bench.add(
                    self.name,
                    contender,
                    measure,
                    value,
                    round=number,
                    turn=turn,
                    model=model.name,
                    case=engine.name,
                    at=share,
                )


def _servers(bench: Bench, stack: ExitStack) -> _Servers:
    registry = stack.enter_context(bench.registry())
    push_image(registry.url, "base", "v1", base=busybox_base())
    warm, new = (
        stack.enter_context(Proxy.start(bench.scratch(name), registry.url)) for name in ("proxy", "new-proxy")
    )
    return _Servers(registry, warm, new)


def _publish(bench: Bench, model: Model, repository: str, servers: _Servers, docker: Docker) -> None:
    """Push the field, and for each share an image with the same layers and one as Docker builds it."""
    Twodfs(bench.scratch("store")).publish(model, f"{servers.registry.address}/{repository}")
    for share in bench.points(SHARES):
        count = columns(share, len(model.files))
        tag = _partition(count)
        prebuild(
            servers.proxy.url, servers.registry.url, f"{repository}/field", tag, to=f"{repository}/same", under=tag
        )
        dockerfile = f"share-{share}.Dockerfile"
        (model.directory / dockerfile).write_text(dockerfile_of(model.base, model.files[:count]))
        reference = f"{servers.registry.address}/{repository}/built:{tag}"
        docker.build(model.directory, dockerfile, reference)
        docker.push(reference)
    docker.forget()


def columns(share: int, of: int) -> int:
    """Return how many of the columns are a share in percent: rounded up."""
    return math.ceil(share * of / 100)


def _partition(count: int) -> str:
    return f"v1--0.0.0.{count - 1}"


def _pull(
    engine: PullingEngine, servers: _Servers, repository: str, contender: str, share: int, of: int
) -> dict[str, float]:
    """Pull and remove; return what it took."""
    address, name = {
        PARTITION: (servers.proxy.address, "field"),
        COLD: (servers.new_proxy.address, "field"),
        SAME: (servers.registry.address, "same"),
        BUILT: (servers.registry.address, "built"),
    }[contender]
    reference = f"{address}/{repository}/{name}:{_partition(columns(share, of))}"
    of_engine = -sum(map(tree_seconds, engine.servers))
    with Serving(servers.registry, servers.used_by(contender)) as served:
        engine.pull(reference)
    of_engine += sum(map(tree_seconds, engine.servers))
    engine.remove(reference)
    return served.measures() | {"engine_cpu_seconds": of_engine}
