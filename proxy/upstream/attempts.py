"""A question, and the origins that it goes to: one after the other, until one takes it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from multidict import CIMultiDict

from proxy.bodies.transit import RequestBody
from proxy.upstream.origins import Origin, OriginPool
from proxy.upstream.replies import BrokeOffError, Take, UnreachableError

READS: Final = frozenset({"GET", "HEAD"})
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Question:
    """One request to the registry.

    Attributes:
        method: of the request.
        target: in origin-form.
        headers: of the request.
        body: the client's, which can be sent once; or the whole of one of ours.
        take: gets the bytes of a success as they come.
    """

    method: str
    target: str
    headers: CIMultiDict[str]
    body: RequestBody | bytes | None = None
    take: Take | None = None

    @property
    def is_read(self) -> bool:
        """Whether it changes nothing, there or here, so that an answer that broke off leaves no trace."""
        return self.method in READS and self.body is None

    def may_be_repeated_after(self, error: UnreachableError | BrokeOffError) -> bool:
        """Say whether another origin may be asked the same.

        Where no connection came about nothing was sent, but the client's body may be begun all the same. Where
        it broke off, the origin may have written something, or given something to take.
        """
        if isinstance(error, BrokeOffError):
            return self.is_read and self.take is None
        return not (isinstance(self.body, RequestBody) and self.body.is_begun)


async def first_answer(origins: OriginPool, question: Question, ask: Callable[[Origin], Awaitable[T]]) -> T:
    """Return the result of ``ask`` for the first origin that takes ``question``.

    An origin that takes no connection is left alone for a while.

    Raises:
        UpstreamError: as ``ask`` does of the last one, or of one after which no other may be asked.
    """
    order = origins.order()
    for origin in order[:-1]:
        try:
            return await _asked(origins, origin, ask)
        except (UnreachableError, BrokeOffError) as error:
            if not question.may_be_repeated_after(error):
                raise
    return await _asked(origins, order[-1], ask)


async def _asked(origins: OriginPool, origin: Origin, ask: Callable[[Origin], Awaitable[T]]) -> T:
    try:
        return await ask(origin)
    except UnreachableError as error:
        origins.failed(origin, str(error))
        raise
