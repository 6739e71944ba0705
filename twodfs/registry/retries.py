"""How often a request is made again, and after how long. No I/O but the wait."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from twodfs.concurrency import scope
from twodfs.errors import RegistryError

RETRY_SECONDS: Final = 180.0
"""Seconds after which a request that has failed so far is not made again."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a request is made, and the seconds between.

    The delays grow, and a part of each is left to chance, so that clients that failed together do not come back
    together. The registry's Retry-After is added, so that its 0 is no delay of 0.
    With the defaults they are 40 s at most in all, as long as the registry asks for no others.

    Attributes:
        attempts: of a registry that has answered before.
        first_attempts: of a request that has not: the address may be wrong.
        first_delay: seconds.
        longest_delay: seconds, also of a Retry-After.
        in_all: seconds after which nothing is tried again: since a request was first made, or, where it
            carries a blob, of all that was waited.
    """

    attempts: int = 8
    first_attempts: int = 4
    first_delay: float = 0.3
    longest_delay: float = 20.0
    in_all: float = RETRY_SECONDS

    def delay(self, attempt: int, asked: float | None, chance: Callable[[], float] = random.random) -> float:
        """Return the seconds to wait after the failed ``attempt``, counted from 0.

        Args:
            attempt: which one.
            asked: the registry's Retry-After; None without one.
            chance: returns a number from 0 to 1.
        """
        longest = min(self.first_delay * 2.0**attempt, self.longest_delay)
        return min(asked or 0.0, self.longest_delay) + longest * (0.5 + chance() / 2)


class Attempts:
    """The attempts left for one request."""

    def __init__(
        self,
        retries: Retries,
        has_answered: Callable[[], bool],
        *,
        is_transfer: bool = False,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        """Begin with all attempts; ``is_transfer`` says that one may take long, and be well all the same."""
        self._retries = retries
        self._has_answered = has_answered
        self._chance = chance
        self._sleep = sleep
        self._clock = clock
        self._begun = None if is_transfer else clock()
        self._waited = 0.0
        self._failed = 0

    def waits_after(self, error: RegistryError) -> bool:
        """Wait until it may be tried again; say at once when it may not."""
        delay = self._retries.delay(self._failed, error.retry_after, self._chance)
        self._failed += 1
        attempts = self._retries.attempts
        if not self._has_answered():
            attempts = min(attempts, self._retries.first_attempts)
        taken = self._waited if self._begun is None else self._clock() - self._begun
        if not error.temporary or self._failed >= attempts or taken + delay > self._retries.in_all:
            return False
        (self._sleep or scope().sleep)(delay)
        self._waited += delay
        return True
