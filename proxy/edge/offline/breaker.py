"""Whether asking the registry hangs, and the probe that finds out.

A question that is not answered in time opens the breaker; from then on nobody waits for the registry where the disk
has an answer. A probe in the background closes it as soon as asking costs no time: the registry answers, or fails at
once. It goes on until the registry answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, Literal

from proxy.logs import bind_upstream, get_logger
from proxy.metrics.catalogue import BREAKER_OPEN, EDGE_OFFLINE
from proxy.repository import DEFAULT_UPSTREAM

_ASKED_PAUSE: Final = 0.3
"""Seconds between two probes while someone asks."""
_SHORTEST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 5.0
_FLAPPING: Final = 10.0
"""Seconds: a registry that hangs again so soon is probed as seldom as before."""

Verdict = Literal["answers", "fails", "hangs"]


class Breaker:
    """One for the registry, in this process."""

    def __init__(
        self, probe: Callable[[], Awaitable[Verdict]], *, patience: float, upstream: str = DEFAULT_UPSTREAM
    ) -> None:
        """Begin closed.

        Args:
            probe: asks the registry; bounded in time.
            patience: seconds for a question to which there is another answer.
            upstream: the registry's name, as ``Repository.upstream`` has it.
        """
        self._probe = probe
        self._upstream = upstream
        self._patience = patience
        self._failing = asyncio.Event()
        self._kicked = asyncio.Event()
        self._probed = asyncio.Event()
        self._waiting: set[asyncio.Timeout] = set()
        self._pause = _SHORTEST_PAUSE
        self._failing_since = 0.0
        self._answered_at = -_FLAPPING
        self.is_open = False
        """Whether asking is known to hang."""
        self.reason = ""
        """Why the last question had no answer."""

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Probe a registry that fails, for the time of the context."""
        with (
            BREAKER_OPEN.read_from(lambda: self.is_open, "edge", self._upstream),
            EDGE_OFFLINE.read_from(self.failing_for, self._upstream),
        ):
            async with asyncio.TaskGroup() as group:
                watcher = group.create_task(self._watch())
                try:
                    yield
                finally:
                    watcher.cancel()

    @contextlib.asynccontextmanager
    async def patience(self) -> AsyncIterator[None]:
        """Bound a question by the patience, and end it at once when another finds out that asking hangs.

        Raises:
            TimeoutError: it was not answered in time.
        """
        async with asyncio.timeout(self._patience) as waiting:
            self._waiting.add(waiting)
            try:
                yield
            finally:
                self._waiting.discard(waiting)

    def failing_for(self) -> float:
        """Return the seconds for which the registry has not answered; 0 while it does."""
        return time.monotonic() - self._failing_since if self._failing.is_set() else 0.0

    def open(self, reason: str) -> None:
        """Have nobody wait from now on, nor those who do."""
        self.failed(reason)
        if self.is_open:
            return
        self.is_open = True
        get_logger().warning("registry hangs", reason=reason)
        now = asyncio.get_running_loop().time()
        for waiting in self._waiting:
            if not waiting.expired():
                waiting.reschedule(now)

    def failed(self, reason: str) -> None:
        """Take down that a question was not answered, for whatever reason."""
        self.reason = reason
        if self._failing.is_set():
            return
        get_logger().warning("registry unavailable, the disk answers", reason=reason)
        now = time.monotonic()
        self._failing_since = now
        if now - self._answered_at >= _FLAPPING:
            self._pause = _SHORTEST_PAUSE
        self._failing.set()

    def answered(self) -> None:
        """Take down that a question was answered."""
        self.is_open = False
        if self._failing.is_set():
            get_logger().info("registry answers again", seconds=round(self.failing_for(), 3))
            self._answered_at = time.monotonic()
            self._failing.clear()

    async def is_worth_asking(self) -> bool:
        """Say whether asking does not hang; while it is open the next probe is waited for."""
        if not self.is_open:
            return True
        self.kick()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SHORTEST_PAUSE + self._patience):
                await self._probed.wait()
        return not self.is_open

    def kick(self) -> None:
        """Have the next probe made soon: someone asks."""
        self._kicked.set()

    async def _watch(self) -> None:
        bind_upstream(self._upstream)
        while True:
            await self._failing.wait()
            await asyncio.sleep(_ASKED_PAUSE)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause - _ASKED_PAUSE):
                    await self._kicked.wait()
            self._kicked.clear()
            verdict = await self._verdict()
            if verdict == "answers":
                self.answered()
            else:
                self.is_open = verdict == "hangs"
                self._pause = min(self._pause * 2, _LONGEST_PAUSE)
            told, self._probed = self._probed, asyncio.Event()
            told.set()

    async def _verdict(self) -> Verdict:
        try:
            return await self._probe()
        except Exception:  # noqa: BLE001 - a defect costs a probe, and not the node
            get_logger().error("registry probe failed", exc_info=True)
            return "fails"
