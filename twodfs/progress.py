"""Listeners to how far things are. The code that does the work knows no terminal; it tells a ``Progress``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeAlias

Advance: TypeAlias = Callable[[int], None]
"""Hears of bytes as they pass; of a negative number when a transfer begins again."""


class Progress(Protocol):
    """Hears of steps: several at a time, from any thread."""

    def step(self, label: str, total: int | None = None) -> AbstractContextManager[Advance]:
        """Begin a step of ``total`` bytes, None when that is not known; it ends with the block."""

    def note(self, text: str) -> None:
        """Say something once that the user should know."""


class Silent:
    """A ``Progress`` that says nothing."""

    def step(self, label: str, total: int | None = None) -> AbstractContextManager[Advance]:
        """Begin a step that nobody hears of."""
        del label, total
        return nullcontext(silent)

    def note(self, text: str) -> None:
        """Say nothing."""


def silent(_size: int) -> None:
    """Hear of nothing."""
