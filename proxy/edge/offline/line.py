"""One question to the registry: how long it is waited for, how often it is put, and whether it is put at all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from typing import Final

from multidict import CIMultiDict

from proxy.auth.identity import Identity
from proxy.edge.offline.breaker import Breaker, Verdict
from proxy.edge.offline.outage import GONE, UnavailableError, is_failing, is_page, pause_before_retry
from proxy.edge.offline.questions import ROOT
from proxy.metrics.catalogue import UPSTREAM_ERRORS
from proxy.repository import DEFAULT_UPSTREAM
from proxy.upstream.registry import UpstreamRegistry
from proxy.upstream.replies import Reply, TooLongError, UpstreamError

_NOBODY: Final = Identity.of(CIMultiDict())
_MOST_RETRIES: Final = 2
_PAGE: Final = "text/html"


class Line:
    """The way to the registry."""

    def __init__(self, upstream: UpstreamRegistry, *, patience: float, name: str = DEFAULT_UPSTREAM) -> None:
        """Take a registry.

        Args:
            upstream: the way to it.
            patience: seconds for a question to which the disk has an answer.
            name: as ``Repository.upstream`` has it.
        """
        self._upstream = upstream
        self._patience = patience
        self.name = name
        """Of the registry, as ``Repository.upstream`` has it."""
        self.breaker = Breaker(self._probe, patience=patience, upstream=name)

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Probe a registry that fails, for the time of the context."""
        async with self.breaker.watched():
            yield

    async def ask(self, send: Callable[[], Awaitable[Reply]], *, has_answer: bool) -> Reply:
        """Return the registry's answer.

        Args:
            send: puts the question; it may be put again.
            has_answer: whether the disk has an answer, so that nobody waits for long.

        Raises:
            UnavailableError: there is none, or it says that the registry fails.
            UpstreamError: the proxy itself may not ask this.
        """
        if self.breaker.is_open and (has_answer or not await self.breaker.is_worth_asking()):
            self.breaker.kick()
            raise UnavailableError(self.breaker.reason)
        try:
            if has_answer:
                async with self.breaker.patience():
                    reply = await _answer(send, retries=1)
            else:
                reply = await _answer(send, retries=_MOST_RETRIES, past_faults=True)
        except TimeoutError:
            UPSTREAM_ERRORS.of("timeout", self.name).add()
            self.breaker.open(f"the registry at {self._upstream.url} does not answer within {self._patience:g} s")
            raise UnavailableError(self.breaker.reason) from None
        except UpstreamError as error:
            if error.status < HTTPStatus.INTERNAL_SERVER_ERROR or isinstance(error, TooLongError):
                raise
            if error.status == HTTPStatus.GATEWAY_TIMEOUT:
                self.breaker.open(str(error))
            raise self.unavailable(str(error)) from None
        if is_failing(reply):
            raise self.unavailable(f"the registry answers {reply.status}")
        if reply.media_type != _PAGE:  # which may be of something else in its place: the probe finds out
            self.breaker.answered()
        return reply

    def unavailable(self, reason: str) -> UnavailableError:
        """Return the error of a question without an answer, and count it."""
        self.breaker.failed(reason)
        return UnavailableError(reason)

    async def is_answering(self) -> bool:
        """Ask whether the registry answers, within the patience."""
        if self.breaker.is_open or await self._probe() != "answers":
            return False
        self.breaker.answered()
        return True

    async def _probe(self) -> Verdict:
        try:
            async with asyncio.timeout(self._patience):
                reply = await self._upstream.head(ROOT, _NOBODY, "*/*")
        except TimeoutError:
            return "hangs"
        except UpstreamError as error:
            return "hangs" if error.status == HTTPStatus.GATEWAY_TIMEOUT else "fails"
        is_none = (
            is_failing(reply)
            or reply.status in GONE
            or (reply.status == HTTPStatus.OK and is_page(reply, is_root=True))
        )
        return "fails" if is_none else "answers"


async def _answer(send: Callable[[], Awaitable[Reply]], *, retries: int, past_faults: bool = False) -> Reply:
    """Return an answer; a registry that has no time right now is asked again.

    ``past_faults``: one that fails, too. A stock registry that is a cache says 500 of a blob for as long as it writes
    down that it has it.
    """
    reply = await send()
    for _ in range(retries):
        is_fault = past_faults and reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        if not is_fault and reply.status != HTTPStatus.TOO_MANY_REQUESTS:
            break
        pause = pause_before_retry(reply)
        if pause is None:
            break
        await asyncio.sleep(pause)
        reply = await send()
    return reply
