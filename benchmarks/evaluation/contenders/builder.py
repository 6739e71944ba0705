"""What every way to build does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, runtime_checkable

from benchmarks.models import Model

PATIENCE: Final = 900.0
"""Seconds that a build may take, on a busy machine too."""


class Publisher(Protocol):
    """A way from files to images that can be pulled."""

    @property
    def name(self) -> str:
        """As the page calls it."""

    @property
    def servers(self) -> Sequence[int]:
        """Processes that work for it beside the programs that it starts, for a ``Meter``."""

    def publish(self, model: Model, repository: str) -> None:
        """Build, and push to ``repository``: afterwards it can be pulled."""

    def forget(self) -> None:
        """Make the next build a cold one."""


class Builder(Publisher, Protocol):
    """A way to build that has a store of its own."""

    def build(self, model: Model, repository: str) -> None:
        """Build into its own store; ``repository``, with the registry's address, is part of what it is called."""


@runtime_checkable
class TwoStepBuilder(Builder, Protocol):
    """A way to build whose publication is a build, and after it a push."""

    def push(self, model: Model, repository: str) -> None:
        """Push what was built."""
