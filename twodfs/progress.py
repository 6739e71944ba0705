"""Listeners to progress. The code that does the work knows no terminal; it tells a ``Progress``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Protocol, TypeAlias

Advance: TypeAlias = Callable[[int], None]
"""Called with the number of bytes as they pass; a negative one when a transfer begins again."""


class Progress(Protocol):
    """Listens to steps: several at a time, from any thread."""

    def step(self, label: str, total: int | None = None) -> AbstractContextManager[Advance]:
        """Begin a step of ``total`` bytes, None when that is not known; it ends with the block."""

    def note(self, text: str) -> None:
        """Say something once that the user should know."""


class Silent:
    """A ``Progress`` that says nothing."""

    def step(self, label: str, total: int | None = None) -> AbstractContextManager[Advance]:
        """Begin a step without a listener."""
        del label, total
        return nullcontext(silent)

    def note(self, text: str) -> None:
        """Say nothing."""


def silent(_size: int) -> None:
    """Ignore it."""


@contextmanager
def late_step(progress: Progress, label: str, total: int) -> Iterator[Advance]:
    """Yield a listener to a step of ``total`` bytes, which begins with the first of them: it may be that none pass."""
    with ExitStack() as stack:
        tell: list[Advance] = []

        def advance(size: int) -> None:
            if not tell:
                tell.append(stack.enter_context(progress.step(label, total)))
            tell[0](size)

        yield advance
