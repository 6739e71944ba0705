"""How much clients may use, one by one and together: requests beyond are refused at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from typing import Final, TypeAlias

from proxy.config import LimitsConfig

RETRY_AFTER: Final = 1
"""Seconds that a refused client is asked to wait."""
_LONGEST_WAIT: Final = 30.0


Waiter: TypeAlias = tuple[asyncio.Future[None], int]
"""A waiting turn, and the number of places it takes."""


class TooManyRequestsError(Exception):
    """A client, or all together, are at their limit; the message says which."""


class RequestLimits:
    """Counts the requests to one registry that are being answered."""

    def __init__(self, config: LimitsConfig, *, connections: int | None = None) -> None:
        """``connections``: as many of the clients' may wait for this registry; None: all there are."""
        self._most = config.requests if connections is None else min(config.requests, connections)
        self._most_of_one = config.requests_per_client
        self._running = 0
        self._by_client: Counter[str] = Counter()

    def admit(self, client: str) -> None:
        """Count a request of ``client``, until it is said to have ended.

        Raises:
            TooManyRequestsError: there are too many.
        """
        if self._running >= self._most:
            raise TooManyRequestsError(f"the proxy answers {self._most} requests already; try again")
        if self._by_client[client] >= self._most_of_one:
            raise TooManyRequestsError(
                f"this address has {self._most_of_one} requests running already; wait for one to end"
            )
        self._running += 1
        self._by_client[client] += 1

    def ended(self, client: str) -> None:
        """Count a request of ``client`` no more, which was admitted."""
        self._running -= 1
        self._by_client[client] -= 1
        if not self._by_client[client]:
            del self._by_client[client]


class Slots:
    """A number of places for expensive work, and a queue of bounded length before them.

    Clients take turns: a client with a thousand requests does not hold up the others.
    """

    def __init__(self, most: int, queue: int, refusal: str) -> None:
        """``most`` at work, ``queue`` waiting, a quarter of them for one client; the message for further ones."""
        self.most = most
        self._refusal = refusal
        self._queue = queue
        self._queue_of_one = -(-queue // 4)
        self._taken = 0
        self._waiting = 0
        self._turns: OrderedDict[str, deque[Waiter]] = OrderedDict()

    @contextlib.asynccontextmanager
    async def taken(self, client: str, weight: int = 1) -> AsyncIterator[None]:
        """Hold ``weight`` places for the time of the context.

        Args:
            client: on whose behalf, by its rate limit key; of shared work, the client that began it.
            weight: places to take; more than there are takes all of them.

        Raises:
            TooManyRequestsError: the queue is full, or did not move for half a minute.
        """
        weight = min(weight, self.most)
        if not self._waiting and self._taken + weight <= self.most:
            self._taken += weight
        else:
            await self._wait(client, weight)
        try:
            yield
        finally:
            self._release(weight)

    async def _wait(self, client: str, weight: int) -> None:
        line = self._turns.get(client)
        if self._waiting >= self._queue or (line is not None and len(line) >= self._queue_of_one):
            raise TooManyRequestsError(self._refusal)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (turn, weight)
        self._turns.setdefault(client, deque()).append(waiter)
        self._waiting += 1
        try:
            async with asyncio.timeout(_LONGEST_WAIT):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._release(weight)  # it was given the places just as it left
            else:
                self._leave(client, waiter)
            if isinstance(error, TimeoutError):
                raise TooManyRequestsError(self._refusal) from None
            raise

    def _leave(self, client: str, waiter: Waiter) -> None:
        line = self._turns.get(client, deque())
        with contextlib.suppress(ValueError):  # a turn that was taken is not in the line any more
            line.remove(waiter)
            self._waiting -= 1
        if not line:
            self._turns.pop(client, None)
        self._release(0)  # those behind may need fewer places

    def _release(self, weight: int) -> None:
        """Give places to the clients whose turn it is, each of whom then goes to the end.

        A client that waits for many places is not overtaken.
        """
        self._taken -= weight
        while self._turns:
            client, line = next(iter(self._turns.items()))
            turn, wanted = line[0]
            if not turn.done():
                if self._taken + wanted > self.most:
                    return
                self._taken += wanted
                turn.set_result(None)
            line.popleft()
            self._waiting -= 1
            del self._turns[client]
            if line:
                self._turns[client] = line
