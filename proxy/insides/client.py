"""A connection to the registry, and the requests on it."""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import Callable
from typing import Any, Final

import aiohttp
from aiohttp import ClientRequest, StreamReader, TCPConnector
from aiohttp.abc import AbstractStreamWriter
from aiohttp.base_protocol import BaseProtocol
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage

NEEDED: Final[dict[type, tuple[str, ...]]] = {
    BaseProtocol: ("_reading_paused", "transport"),
    ResponseHandler: ("set_response_params", "feed_data", "force_close", "is_connected"),
    TCPConnector: ("_wrap_create_connection",),
    ClientRequest: ("_continue", "write_bytes"),
}
NEEDED_TO_BORROW: Final[dict[type, tuple[str, ...]]] = {
    BaseProtocol: ("_parser", "resume_reading"),
    StreamReader: ("total_bytes", "read_nowait", "feed_data", "feed_eof", "is_eof", "exception"),
}


def is_paused(protocol: BaseProtocol) -> bool:
    """Say whether a connection's parser has bytes that wait for its stream to be read."""
    return protocol._reading_paused  # noqa: SLF001


class AnswerConnection(ResponseHandler):
    """A connection to the registry. Subclasses override ``opened``, ``asked`` and ``takes``."""

    def opened(self, transport: asyncio.BaseTransport) -> None:
        """Called when the connection is there."""

    def asked(self) -> None:
        """Called when a request is about to be sent."""

    def takes(self, status: int) -> bool:  # noqa: ARG002 - subclasses look at it
        """Say whether an answer, whose head has come, is handed on; with False it is dropped."""
        return True

    def is_ready(self) -> bool:
        """Say whether the kept connection can take a question, as far as aiohttp does not know."""
        return True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        self.opened(transport)

    def set_response_params(self, **params: Any) -> None:
        """Begin to wait for an answer."""
        self.asked()
        super().set_response_params(**params)

    def is_connected(self) -> bool:
        """Say whether a kept connection can take a question."""
        return super().is_connected() and self.transport is not None and self.is_ready()

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Take an answer from the parser."""
        if self.takes(data[0].code):
            super().feed_data(data, size)

    def renew(self) -> None:
        """Stand between two answers, with a new parser."""
        super().set_response_params()

    def hang_up(self) -> None:
        """End the connection at once, and never ask it again."""
        self.force_close()
        if self.transport is not None:
            self.transport.abort()


def connection_of(answer: aiohttp.ClientResponse) -> AnswerConnection | None:
    """Return the connection that ``answer`` still comes over; None when all of it is here."""
    protocol = answer.connection.protocol if answer.connection is not None else None
    return protocol if isinstance(protocol, AnswerConnection) else None


class Connector(TCPConnector):
    """aiohttp's connector, whose connections are of a class of ours."""

    def __init__(self, connection: Callable[[asyncio.AbstractEventLoop], AnswerConnection], **options: Any) -> None:
        """Take a class of connections, and aiohttp's options."""
        super().__init__(**options)
        self._factory = functools.partial(connection, self._loop)  # type: ignore[assignment]


def dial_with(connector: TCPConnector, socket_of: Callable[[], socket.socket]) -> None:
    """Let ``connector`` take its sockets from ``socket_of`` instead of the network, to try it out."""

    async def connect(
        factory: Callable[[], asyncio.Protocol], *, ssl: Any = None, server_hostname: str | None = None, **_: object
    ) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.create_connection(factory, sock=socket_of(), ssl=ssl, server_hostname=server_hostname)

    connector._wrap_create_connection = connect  # type: ignore[method-assign,assignment] # noqa: SLF001


class UpstreamRequest(ClientRequest):
    """A request to the registry. A subclass overrides ``before_body``."""

    @property
    def continued(self) -> asyncio.Future[bool] | None:
        """The event that the body waits for: ``100 Continue``; None where the request does not expect it."""
        return self._continue

    async def before_body(self, writer: AbstractStreamWriter) -> None:
        """Called before the body is sent; the head may still wait in ``writer``."""

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> None:
        """Send the body."""
        await self.before_body(writer)
        await super().write_bytes(writer, conn, content_length)
