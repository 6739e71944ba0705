"""One blob fetched to its end, resumed where it breaks off, verified, and put among the content.

Every byte is hashed in the order in which it is written, and nothing is written twice: what the file has at any time
is the beginning of what is judged at its end. A part that comes a second time is compared by its hash.
"""

from __future__ import annotations

import asyncio
import enum
from dataclasses import dataclass, replace
from typing import Final

import aiohttp

from proxy.bodies.receive import Receiver
from proxy.edge.disk.blobs import Blobs
from proxy.edge.disk.space import Space
from proxy.edge.filling.flight import Flight
from proxy.edge.filling.growth import Growth
from proxy.edge.filling.partial import Partial
from proxy.edge.filling.source import ChangedError, GivenUpError, PausedError, pause_of
from proxy.edge.filling.written import DiskError, Patience, Repeated, UnlikeError, Written
from proxy.logs import get_logger
from proxy.metrics.catalogue import EDGE_FILLED, EDGE_FILLS, UPSTREAM_ERRORS
from proxy.upstream.errors import describe
from proxy.upstream.replies import RefusedError, UpstreamError


class Outcome(enum.Enum):
    """How a fill ended."""

    COMPLETE = "complete"
    RESUMED = "resumed"
    BROKEN = "broken"
    REFUSED = "refused"
    DIGEST = "digest"
    CHANGED = "changed"
    ABANDONED = "abandoned"
    FULL = "full"


_LIES: Final = frozenset({Outcome.DIGEST, Outcome.CHANGED})
"""After these nothing of the file is kept."""


class UnfillableError(Exception):
    """Nobody says how long the blob is, or the disk has no room for it: it can only be passed on."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What fills share."""

    blobs: Blobs
    space: Space
    receiver: Receiver


class Fill:
    """The work of the one process that has the file's lock."""

    def __init__(self, partial: Partial, flight: Flight, tools: Tools) -> None:
        """Prepare to go on with ``partial``, locked by the caller, for the readers of ``flight``."""
        self._partial = partial
        self._flight = flight
        self._tools = tools
        self._growth = flight.growth
        self._prefix = partial.size
        self._written = Written(partial.descriptor)
        self._breaks = int(self._prefix > 0)
        self._has_asked_for_room = False

    async def run(self) -> Outcome:
        """Fetch the blob; when this returns, the file is adopted, removed, or left for the next one to resume it.

        Raises:
            RefusedError, UpstreamError, PausedError: of the first attempt, so that no reader was given the file.
            UnfillableError: the same; it can only be passed on.
        """
        outcome = Outcome.ABANDONED
        try:
            outcome = await self._fetched()
        except (UnfillableError, RefusedError, UpstreamError, PausedError):
            outcome = Outcome.REFUSED
            raise
        finally:
            self._tools.space.release(self._partial.digest)
            if self._growth is not None:
                EDGE_FILLS.of(outcome.value).add()
        return outcome

    async def _fetched(self) -> Outcome:
        announced = self._partial.announced()
        if self._growth is not None:  # another process has died; its readers here have begun
            size = self._written.size = self._growth.size
            if not await self._tools.space.reserve(self._partial.digest, size):
                return self._end(Outcome.FULL, "there is no room for it")
        elif announced is not None:
            self._flight.size = announced  # of what is there
            if announced == self._prefix:
                await self._begin(announced)
        patience = Patience()
        while self._growth is None or self._offset < self._growth.size:
            outcome = await self._went_on(patience)
            if outcome is not None:
                return outcome
        return await self._judged()

    async def _went_on(self, patience: Patience) -> Outcome | None:
        """Make one attempt, and wait where another one is to follow; return how the fill ended, None: not yet."""
        before = self._written.position
        try:
            async with self._flight.source.unless_it_hangs(lambda: self._written.position):
                await self._attempt()
        except GivenUpError as error:
            get_logger().info("edge fill asks another registry", digest=self._partial.digest, reason=str(error))
            self._breaks += 1
        except (ChangedError, UnlikeError) as error:
            if self._growth is None and not self._prefix:
                raise UpstreamError(str(error)) from None
            return self._end(Outcome.CHANGED, str(error))
        except DiskError as error:
            return None if await self._has_room(error) else self._end(Outcome.FULL, str(error))
        except _BREAKS as error:
            if self._growth is None:
                raise
            return await self._broken(error, patience, has_moved=self._written.position > before)
        return None

    @property
    def _offset(self) -> int:
        """Where the file ends, as far as it was made by those before and by us."""
        return max(self._prefix, self._written.position)

    async def _attempt(self) -> None:
        """Take bytes of one answer, as far as it goes."""
        size = self._flight.size if self._growth is None else self._growth.size
        async with self._flight.source.open(self._offset, size) as arrival:
            if self._growth is None:
                if arrival.size is None or not arrival.is_plain:
                    raise UnfillableError
                await self._begin(arrival.size)
            await self._catch_up()
            take = self._written.write if arrival.first else Repeated(self._written).take
            receiver = replace(self._tools.receiver, silence=self._flight.source.silence)
            await receiver.receive(arrival.answer, take, self._passed)
            if self._written.position < self._written.size:
                raise PausedError("the registry's answer ended early")

    async def _begin(self, size: int) -> None:
        """Give the file to the readers that wait for it, where there is room for ``size`` bytes.

        Raises:
            UnfillableError: there is none.
        """
        if not await self._tools.space.reserve(self._partial.digest, size):
            raise UnfillableError
        repository = self._flight.source.repository
        if repository is None:
            raise UnfillableError
        try:
            await self._tools.receiver.threads.run(lambda: self._partial.announce(size, repository))
        except OSError as error:
            get_logger().warning("edge disk cannot be written", reason=error.strerror or str(error))
            raise UnfillableError from None
        self._written.size = size
        self._growth = Growth(self._partial.descriptor, size, self._partial.close)
        self._growth.advance(self._prefix)
        self._flight.start(self._growth)

    async def _catch_up(self) -> None:
        """Hash what was left by those before us."""
        threads = self._tools.receiver.threads
        while self._written.position < self._prefix:
            await threads.run(lambda: self._written.read(self._prefix, threads.buffer()))

    async def _passed(self, size: int) -> None:
        EDGE_FILLED.add(size)
        if self._growth is not None:
            self._growth.advance(self._written.position)
        await self._flight.paced(size)

    async def _broken(self, error: Exception, patience: Patience, *, has_moved: bool) -> Outcome | None:
        """Wait after an answer that broke off; return how the fill ends, None where it goes on."""
        self._breaks += 1
        reason = describe(error) if isinstance(error, OSError | aiohttp.ClientError) else str(error)
        get_logger().info("edge fill broke off", digest=self._partial.digest, at=self._offset, reason=reason)
        seconds = pause_of(error)
        if seconds is None:
            return self._end(Outcome.REFUSED, f"the registry refuses the rest: {reason}")
        pause = patience.after(self._written.size, has_moved=has_moved)
        if pause is None:
            return self._end(Outcome.BROKEN, f"the registry does not give the rest: {reason}")
        if self._growth is not None:
            self._growth.strive()
        await asyncio.sleep(max(seconds, pause))
        return None

    async def _has_room(self, error: DiskError) -> bool:
        """Make room once; say whether it is worth going on."""
        if not error.is_full or self._has_asked_for_room:
            return False
        self._has_asked_for_room = True
        return await self._tools.space.make_room(self._written.size - self._written.position)

    async def _judged(self) -> Outcome:
        try:
            await self._catch_up()
        except DiskError as error:
            return self._end(Outcome.FULL, str(error))
        digest, growth = self._partial.digest, self._growth
        if f"sha256:{self._written.hash.hexdigest()}" != digest or growth is None:
            repository = self._flight.source.repository
            UPSTREAM_ERRORS.of("digest", "" if repository is None else repository.upstream).add()
            return self._end(Outcome.DIGEST, "what the registry gave has another digest")
        growth.finish()
        try:
            await self._tools.blobs.adopt(digest, self._partial.path, self._partial.descriptor)
        except OSError as error:
            return self._end(Outcome.FULL, error.strerror or str(error))
        self._partial.clear()
        return Outcome.RESUMED if self._breaks else Outcome.COMPLETE

    def _end(self, outcome: Outcome, reason: str) -> Outcome:
        """End short of the whole blob."""
        get_logger().warning(
            "edge fill ended", digest=self._partial.digest, outcome=outcome.value, at=self._offset, reason=reason
        )
        if outcome in _LIES or outcome is Outcome.FULL:
            self._partial.remove()
        if self._growth is None:
            return outcome
        if outcome is Outcome.FULL:
            is_hashed = self._written.position == self._growth.available
            self._growth.abandon(self._written.hash.copy() if is_hashed else None)
        else:
            self._growth.cut(reason)
        return outcome


_BREAKS: Final = (RefusedError, UpstreamError, PausedError, aiohttp.ClientError, OSError)
