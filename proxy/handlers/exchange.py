"""One exchange with a client: what it calls for, what it is answered, and the one way on which answers leave.

A handler opens an answer, which may hold a connection to the registry, and says nothing to the client.
``send`` does, for every answer: it bounds the time, ends what cannot be ended well, and closes the source.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from proxy.auth.identity import Identity
from proxy.bodies.idle_timeout import IdleTimeout
from proxy.logs import get_logger
from proxy.metrics.catalogue import BROKEN_TRANSFERS
from proxy.requests.kinds import RegistryRequest
from proxy.upstream.errors import describe
from proxy.wire.responses import OutgoingResponse, hang_up

R_co = TypeVar("R_co", bound=RegistryRequest, covariant=True)


@dataclass(frozen=True, slots=True)
class Call(Generic[R_co]):
    """A request, and who makes it.

    Attributes:
        request: what is asked for.
        http: the request as it came, with its headers and body.
        identity: what the client authenticates with, and for whom work is counted.
        idle_timeout: how long client and registry may be waited for.
    """

    request: R_co
    http: web.BaseRequest
    identity: Identity
    idle_timeout: IdleTimeout


class BodySource(Protocol):
    """Where the bytes of an answer come from, and the best way from there to a client.

    The head is prepared, and waits to leave with the first bytes; the end of the message is left to the caller.
    """

    async def send(self, response: OutgoingResponse, http: web.BaseRequest, idle_timeout: IdleTimeout) -> None:
        """Send all bytes of ``response``, the answer to ``http``; none where it is to have no body.

        Whoever waits says for whom (``idle_timeout.for_client``, ``for_upstream``); it is the client at the
        beginning, and must be at the end.

        Raises:
            aiohttp.ClientError, OSError: one side hung up; the client is not to take what it has for the whole.
        """

    async def close(self) -> None:
        """Let go of what the source holds open, whether it was sent or not."""


@dataclass(frozen=True, slots=True)
class WholeBody:
    """Bytes that are at hand: a document of ours, an error, an answer of the registry that was read.

    ``shared``: what is kept alive as long as this body is on its way, for others that are sent the same.
    """

    content: bytes | memoryview
    shared: object = None

    async def send(self, response: OutgoingResponse, http: web.BaseRequest, idle_timeout: IdleTimeout) -> None:  # noqa: ARG002
        """Send them, within one time for all of them."""
        await response.send_whole(self.content, http)

    async def close(self) -> None:
        """Do nothing: nothing is open."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is ready to be sent, and is to be sent or closed.

    Attributes:
        status: of HTTP.
        headers: all of them, but those of this hop alone.
        body: for HEAD and 304 the headers speak of it, and it is not sent.
        reason: the words behind the status; None: those of the standard.
        is_relayed: whether it is the registry's, with nothing of ours in it.
        ends_connection: whether the connection ends with it, since nobody can tell where the next request begins.
    """

    status: int
    headers: CIMultiDict[str]
    body: BodySource
    reason: str | None = None
    is_relayed: bool = False
    ends_connection: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """How one kind of request is answered.

    Attributes:
        answer: opens the answer.
        takes_body: whether it knows what to do with a request's body; others are left to the relay.
        is_public: whether nobody has to be let in for it.
    """

    answer: Callable[[Call[Any]], Awaitable[Answer]]
    takes_body: bool = False
    is_public: bool = False


Routes: TypeAlias = Mapping[type[RegistryRequest], Route]
"""The table of kinds: every kind of request but ``InvalidRequest``, and who answers it."""


async def send(answer: Answer, http: web.BaseRequest, idle_timeout: IdleTimeout) -> web.StreamResponse:
    """Send ``answer`` to the client that asked ``http``, and close it; return what aiohttp is to know of it.

    A client that takes nothing in time loses its connection, and so does one whose answer broke off: a body that
    is too short must not look whole.

    Raises:
        Exception: the answer cannot be written at all, as a head with a line break in it.
    """
    response = OutgoingResponse(status=answer.status, reason=answer.reason, headers=answer.headers)
    if answer.ends_connection:
        response.force_close()
    try:
        async with idle_timeout:
            try:
                idle_timeout.for_client()
                await response.prepare(http)
                await answer.body.send(response, http, idle_timeout)
                await response.write_eof()
            finally:
                await answer.body.close()
    except TimeoutError:
        if answer.is_relayed:
            BROKEN_TRANSFERS.of(idle_timeout.waiting_for).add()
        get_logger().warning("transfer stalled", path=http.path, waiting_for=idle_timeout.waiting_for)
        hang_up(http, at_once=True)
    except (aiohttp.ClientError, OSError) as error:
        if answer.is_relayed:
            BROKEN_TRANSFERS.of("short" if isinstance(error, aiohttp.ClientPayloadError) else "broke_off").add()
            get_logger().warning("transfer broke off", path=http.path, reason=describe(error))
        # What was passed on before still arrives; of what is ours, only the client can have broken off.
        hang_up(http, at_once=not answer.is_relayed)
    return response
