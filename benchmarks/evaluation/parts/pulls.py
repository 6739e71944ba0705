"""Figures 3 and 11 to 13: engines download a partition, and the image made beforehand that has the same files."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final

from benchmarks.evaluation.contenders.docker import Docker, dockerfile_of
from benchmarks.evaluation.contenders.engines import PullingContainerd, PullingDocker, PullingEngine
from benchmarks.evaluation.contenders.field import Twodfs
from benchmarks.evaluation.measuring.bench import Bench
from benchmarks.evaluation.measuring.meter import tree_seconds
from benchmarks.evaluation.measuring.serving import Serving
from benchmarks.evaluation.paper import PULL_EFFICIENTNET, PULL_MORE, PULL_RESNET, Reported
from benchmarks.evaluation.part import Comparison
from benchmarks.evaluation.results.summary import Row, Summary
from benchmarks.evaluation.results.tables import medians
from benchmarks.models import Model
from benchmarks.plots import Panel, Plot
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


WORDS: Final = """\
An engine that has nothing of an image pulls it: a partition through the proxy, or the image with the same files that
was made beforehand, from the registry itself. The image is there twice: with the very layers of the partition, plain
tars, so that nothing but the proxy differs; and as `docker build` and `docker push` make it, with a gzip layer for each
split, as in the papers. A new proxy has nothing in memory: it reads the index, the manifest and the field, and cuts.
Shares of the columns are rounded up. After each pull the image is removed, with its content and its unpacked layers."""
LIMITS: Final = """\
Most of a pull is the engine's own: it hashes, decompresses and writes files, for which it takes more processor time
than registry and proxy together. The proxy adds one hop for each document, and for layers the kernel's copies between
two sockets, which its processor time shows. The gzip of Docker's newest release gives up on weights, which hardly
compress: such layers are as large as plain ones, and cost their reader next to nothing."""
SPREAD: Final = "the difference is less than the spread of the image's own pulls"
HOP: Final = "the proxy is one hop more, and shares the processors with engine and registry"
BEHIND: Final = "The proxy is one hop more; what is left of the difference is the spread of the engine's own work."


@dataclass(frozen=True, slots=True)
class _Servers:
    registry: Registry
    proxy: Proxy
    """Has cut every partition before."""
    new_proxy: Proxy
    """Is started anew for each pull."""

    def used_by(self, contender: str) -> Sequence[Proxy]:
        return {PARTITION: (self.proxy,), COLD: (self.new_proxy,)}.get(contender, ())


@dataclass(frozen=True, slots=True)
class _Situation:
    """What an engine pulls."""

    servers: _Servers
    engine: PullingEngine
    model: Model
    share: int

    @property
    def contenders(self) -> Sequence[str]:
        """All, but a new proxy where its start takes long for what it tells: its work is not that with bytes."""
        has_new = self.share in _ENDS and self.model.name != _LARGEST
        return CONTENDERS if has_new else tuple(one for one in CONTENDERS if one != COLD)

    def pull(self, contender: str) -> dict[str, float]:
        """Pull and remove; return what it took."""
        if contender == COLD:
            self.servers.new_proxy.restart()
        reference = self._reference(contender)
        os.sync()  # what the pull before has written is not this one's
        of_engine = -sum(map(tree_seconds, self.engine.servers))
        with Serving(self.servers.registry, self.servers.used_by(contender)) as served:
            self.engine.pull(reference)
        of_engine += sum(map(tree_seconds, self.engine.servers))
        self.engine.remove(reference)
        return served.measures() | {"engine_cpu_seconds": of_engine}

    def _reference(self, contender: str) -> str:
        registry, proxy, new = self.servers.registry, self.servers.proxy, self.servers.new_proxy
        address, name = {
            PARTITION: (proxy.address, "field"),
            COLD: (new.address, "field"),
            SAME: (registry.address, "same"),
            BUILT: (registry.address, "built"),
        }[contender]
        tag = _partition(columns(self.share, len(self.model.files)))
        return f"{address}/{_repository(self.model)}/{name}:{tag}"


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
            bench.versions |= dict(engine.name.rsplit(" ", 1) for engine in engines)
            for name in bench.models[:1] if bench.quick else bench.models:
                model = bench.model(name, base=f"{servers.registry.address}/base:v1")
                _publish(bench, model, servers, docker)
                whole = _Situation(servers, engines[0], model, SHARES[-1])
                for engine in engines:  # nothing is warm at first
                    replace(whole, engine=engine).pull(BUILT)
                for number in range(bench.rounds):
                    for share in _shares(bench, name):
                        for engine in engines:
                            self._round(bench, number, replace(whole, engine=engine, share=share))

    def section(self, summary: Summary) -> Iterator[str]:
        yield WORDS
        yield "Seconds of a pull:"
        yield medians(summary.find(self.name), "", label=_place)
        yield f"Milliseconds that it took longer than *{SAME}* in the same round:"
        yield medians(summary.find(self.name, "more_seconds"), "", label=_place, scale=1000, digits=0)
        for heading, measure, scale, digits in (
            ("Megabytes that the registry sent for all columns:", "bytes", 1e-6, 1),
            ("Megabytes a second that the registry sent during that pull:", "bytes_per_second", 1e-6, 0),
            ("Processor milliseconds of the registry for it:", "registry_cpu_seconds", 1000, 0),
            ("Processor milliseconds of the proxy for it:", "proxy_cpu_seconds", 1000, 0),
            ("Processor milliseconds of the engine for it:", "engine_cpu_seconds", 1000, 0),
        ):
            yield heading
            rows = summary.find(self.name, measure, at=SHARES[-1])
            yield medians(rows, "", label=_place, scale=scale, digits=digits)
        yield LIMITS

    def plots(self, summary: Summary) -> Iterator[Plot]:
        def panels(up: str, measure: str, scale: float) -> Iterator[Panel]:
            for case in summary.values(self.name, "case", measure):
                for model in summary.values(self.name, "model", measure, case=case):
                    found = [
                        (one, summary.find(self.name, measure, model=model, case=case, contender=one))
                        for one in CONTENDERS
                    ]
                    lines = [(one, [row.scaled(scale) for row in rows]) for one, rows in found if rows]
                    yield Panel(f"{model}, {case}", "percent of the columns", up, lines)

        yield Plot("pulls", [*panels("seconds", "seconds", 1)])
        yield Plot("pulls-bandwidth", [*panels("MB/s from the registry", "bytes_per_second", 1e-6)])
        yield Plot("pulls-registry", [*panels("processor ms of the registry", "registry_cpu_seconds", 1000)])
        yield Plot("pulls-proxy", [*panels("processor ms of the proxy", "proxy_cpu_seconds", 1000)])

    def comparisons(self, summary: Summary) -> Iterator[Comparison]:
        more = [row.median for row in summary.find(self.name, "more_seconds", contender=PARTITION)]
        if not more:
            return
        cold = [row.median for row in summary.find(self.name, "more_seconds", contender=COLD)]
        middle = statistics.median(more)
        yield Comparison(
            PULL_MORE.figure,
            "a partition takes longer than its image, middle of all",
            PULL_MORE.said,
            f"{1000 * middle:+.0f} ms, of a new proxy {1000 * statistics.median(cold):+.0f} ms",
            middle <= PULL_MORE.value,
            HOP,
        )
        for model, shares, reported in (
            ("ResNet50", _ENDS, PULL_RESNET),
            ("EfficientNetV2L", _ENDS[1:], PULL_EFFICIENTNET),
        ):
            for case in summary.values(self.name, "case", model=model):
                yield self._compared(summary, model, case, shares, reported)

    def _compared(
        self, summary: Summary, model: str, case: str, shares: Sequence[int], reported: Reported
    ) -> Comparison:
        def of(contender: str, share: int, measure: str = "seconds") -> Row:
            (row,) = summary.find(self.name, measure, model=model, case=case, contender=contender, at=share)
            return row

        here = (f"{of(PARTITION, share).median:.2f} s, image {of(SAME, share).median:.2f} s" for share in shares)
        more = {share: of(PARTITION, share, "more_seconds").median for share in shares}
        spread = all(more[share] <= of(SAME, share).most - of(SAME, share).least for share in shares)
        return Comparison(
            reported.figure,
            f"{model}, {' and '.join(f'{share} %' for share in shares)}, {case}",
            reported.said,
            ", to ".join(here),
            all(one <= reported.value for one in more.values()),
            SPREAD if spread else HOP,
        )

    def behind(self, summary: Summary) -> Iterator[str]:
        behind = list(summary.ahead(self.name))
        if behind:
            ours, theirs = max(behind, key=lambda pair: pair[0].median - pair[1].median)
            everywhere = len({(row.model, row.case, row.at) for row in summary.find(self.name)})
            yield (
                f"an image made beforehand is pulled faster than the partition in {len(behind)} of {everywhere} "
                f"situations, at most by {1000 * (ours.median - theirs.median):.0f} ms ({_place(ours)}: "
                f"{ours.median:.2f} s, {theirs.contender} {theirs.median:.2f} s). {BEHIND}"
            )

    def _round(self, bench: Bench, number: int, of: _Situation) -> None:
        contenders = bench.turns(of.contenders, number)
        found = {one: (turn, of.pull(one)) for turn, one in enumerate(contenders)}
        for contender, (turn, measured) in found.items():
            if contender != SAME:
                measured["more_seconds"] = measured["seconds"] - found[SAME][1]["seconds"]
            bench.add_all(
                self.name,
                contender,
                measured,
                round=number,
                turn=turn,
                model=of.model.name,
                case=of.engine.name,
                at=of.share,
            )


def _servers(bench: Bench, stack: ExitStack) -> _Servers:
    registry = stack.enter_context(bench.registry())
    push_image(registry.url, "base", "v1", base=busybox_base())
    warm, new = (stack.enter_context(Proxy.start(bench.scratch(name), registry.url)) for name in ("proxy", "new-proxy"))
    return _Servers(registry, warm, new)


def _publish(bench: Bench, model: Model, servers: _Servers, docker: Docker) -> None:
    """Push the field, and for each share an image with the same layers and one as Docker builds it."""
    repository = _repository(model)
    Twodfs(bench.scratch("store")).publish(model, f"{servers.registry.address}/{repository}")
    for share in _shares(bench, model.name):
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


def _place(row: Row) -> str:
    return f"{row.model}, {row.case}, {row.at:g} %"


def _shares(bench: Bench, model: str) -> Sequence[int]:
    """Return the shares that are measured; the last alone in a quick run."""
    if bench.quick:
        return SHARES[-1:]
    return _ENDS if model == _LARGEST else SHARES


def columns(share: int, of: int) -> int:
    """Return how many of the columns are a share in percent: rounded up."""
    return math.ceil(share * of / 100)


def _repository(model: Model) -> str:
    return model.name.lower()


def _partition(count: int) -> str:
    return f"v1--0.0.0.{count - 1}"
