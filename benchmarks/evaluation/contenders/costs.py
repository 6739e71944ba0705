"""What builds cost: time, processor time, memory; cold, and after changes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.evaluation.contenders.builder import Builder, TwoStepBuilder
from benchmarks.evaluation.measuring.bench import Bench
from benchmarks.evaluation.measuring.meter import Meter, tree_seconds
from benchmarks.models import Model
from tests.lab.images import busybox_base, push_image
from tests.lab.registry import Registry


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a build, or of a publication."""

    seconds: float
    cpu_seconds: float
    registry_cpu_seconds: float
    peak_bytes: float

    def __add__(self, after: Cost) -> Cost:
        """Return the cost of one, and the other after it."""
        return Cost(
            self.seconds + after.seconds,
            self.cpu_seconds + after.cpu_seconds,
            self.registry_cpu_seconds + after.registry_cpu_seconds,
            max(self.peak_bytes, after.peak_bytes),
        )


@dataclass(frozen=True, slots=True)
class Setting:
    """A registry that has a base, and a model that builds on it, with bytes that nothing has seen."""

    registry: Registry
    model: Model

    def repository(self, name: str) -> str:
        """Return a repository of the registry."""
        return f"{self.registry.address}/{name}"

    def cost(self, builder: Builder, work: Callable[[], None]) -> Cost:
        """Return what the work of a builder costs; no writes of others are pending when it begins."""
        os.sync()
        before = tree_seconds(self.registry.pid)
        with Meter(builder.servers) as used:
            work()
        of_registry = tree_seconds(self.registry.pid) - before
        return Cost(used.seconds, used.cpu_seconds, of_registry, used.peak_bytes)

    def cold(self, builder: Builder, repository: str) -> tuple[Cost, Cost]:
        """Return the costs of a build that finds nothing: until it is in the builder's store, until it can be pulled.

        Where a publication is a build and a push, it is not built twice; where both are one, it is.
        """
        builder.forget()
        built = self.built(builder, repository)
        if not isinstance(builder, TwoStepBuilder):
            builder.forget()
        return built, self.published(builder, repository, built)

    def built(self, builder: Builder, repository: str) -> Cost:
        """Return the cost of a build into the builder's store."""
        return self.cost(builder, lambda: builder.build(self.model, repository))

    def published(self, builder: Builder, repository: str, built: Cost | None = None) -> Cost:
        """Return the cost until it can be pulled; ``built`` is that of the build just before, where there was one."""
        if isinstance(builder, TwoStepBuilder):
            before, push = built or self.built(builder, repository), builder.push
            return before + self.cost(builder, lambda: push(self.model, repository))
        return self.cost(builder, lambda: builder.publish(self.model, repository))


@contextmanager
def fresh(bench: Bench, name: str, *, splits: int | None = None) -> Iterator[Setting]:
    """Yield a setting of its own for a round; nothing is left of it."""
    with bench.registry() as registry:
        push_image(registry.url, "base", "v1", base=busybox_base())
        model = bench.model(name, splits=splits, base=f"{registry.address}/base:v1")
        try:
            yield Setting(registry, model)
        finally:
            shutil.rmtree(model.directory.parent)
