"""Bodies on their way between a client and the registry: spliced where both sides allow it, else buffered.

Only bodies of a known length are spliced, and only large ones: a splice costs some system calls to begin.
All others are passed on in the pieces they arrive in. Either way nothing is read on one side before the other
side took the bytes before.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from functools import partial
from http import HTTPStatus
from typing import Final

import aiohttp
from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter

from proxy.bodies import rehearsal
from proxy.bodies.decrypt import Scratch
from proxy.bodies.idle_timeout import IdleTimeout
from proxy.bodies.socket_handoff import SocketHandoff
from proxy.bodies.splice import Pipe, Pipes, SourceEndedError
from proxy.logs import get_logger
from proxy.metrics.catalogue import (
    BUFFERED,
    DECRYPTED,
    RELAYED_DOWN,
    RELAYED_UP,
    SPLICED,
)
from proxy.wire.back_pressure import BackPressure
from proxy.wire.responses import OutgoingResponse, count_sent, expects_continue

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_SMALLEST_SPLICE: Final = 64 * 1024
"""Bytes that must still be to come for a splice to pay."""
_SPLICED_STATUS: Final = frozenset({HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT})


class Bodies:
    """Carries bodies in both directions, for any number of requests."""

    def __init__(self, pipes: Pipes | None) -> None:
        """``pipes``: None to buffer everything."""
        self._pipes = pipes
        self._scratch = None if pipes is None else Scratch()

    @property
    def borrows(self) -> bool:
        """Whether sockets can be borrowed here, and are to be."""
        return self._pipes is not None

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, relay: str, *, has_files: bool = False) -> AsyncIterator[Bodies]:
        """Splice if ``relay`` is ``auto`` and this platform can; say once which.

        ``has_files``: whether bodies go to files and come from them, too.
        """
        reason = await rehearsal.obstacle(has_files=has_files) if relay == "auto" else f"blobs.relay is {relay}"
        get_logger().info("blobs are relayed", spliced=reason is None, reason=reason)
        if reason is not None:
            yield cls(None)
            return
        pipes = Pipes()
        try:
            yield cls(pipes)
        finally:
            pipes.close()

    def of_request(
        self,
        request: web.BaseRequest,
        idle_timeout: IdleTimeout,
        limit: int | None = None,
        kept: bytearray | None = None,
    ) -> RequestBody | None:
        """Return the client's body for the request upstream; None when there is none.

        Args:
            request: the client's.
            idle_timeout: with both sides.
            limit: the most bytes that it may have; None for any number.
            kept: gets a copy of the bytes that pass; None for no copy.
        """
        return RequestBody(self, request, idle_timeout, limit, kept) if request.body_exists else None

    async def pass_on(
        self,
        answer: aiohttp.ClientResponse,
        response: OutgoingResponse,
        request: web.BaseRequest,
        idle_timeout: IdleTimeout,
    ) -> None:
        """Send the body of ``answer`` as that of ``response``, which is prepared.

        Raises:
            aiohttp.ClientPayloadError: the registry ended the body before all of it had come.
            aiohttp.ClientError: the registry broke off.
            OSError: either side did.
        """
        content = answer.content
        is_buffered = not await self._splice_answer(answer, request, idle_timeout)
        idle_timeout.for_upstream()
        if not content.total_bytes and not content.is_eof():
            response.send_head()  # the body lets itself be waited for
        if not content.is_eof() or content.total_bytes:
            BUFFERED.add(is_buffered)
        back_pressure = BackPressure(answer, request)
        while chunk := await content.readany():
            idle_timeout.for_client()
            await response.send(chunk)
            if back_pressure.is_held_up:
                with back_pressure.held():
                    await response.flush()
            RELAYED_DOWN.add(len(chunk))
            count_sent(request, len(chunk))
            back_pressure.passed(len(chunk))
            idle_timeout.for_upstream()
        idle_timeout.for_client()

    async def _splice_answer(
        self, answer: aiohttp.ClientResponse, request: web.BaseRequest, idle_timeout: IdleTimeout
    ) -> bool:
        """Pass a large body of known length on; of any other, nothing. Say whether anything was."""
        is_download = request.method == hdrs.METH_GET and answer.status in _SPLICED_STATUS
        length = answer.content_length if is_download and not request.body_exists else None
        if self._scratch is None or length is None or not _is_worth_splicing(answer.content, length):
            return False
        flow = SocketHandoff.of_answer(
            answer,
            request,
            length=length,
            await_source=idle_timeout.for_upstream,
            await_sink=idle_timeout.for_client,
            passed=partial(count_sent, request),
        )
        if flow is None:
            return False
        moved = 0
        try:
            if flow.tunnel is not None:
                moved = await flow.decrypt(flow.tunnel, self._scratch)
                DECRYPTED.add(bool(moved))
            else:
                with self.pipe_for(answer.content, length) as pipe:
                    moved = 0 if pipe is None else await splice(flow, pipe)
        except SourceEndedError as short:
            missing = f"{short.missing} of {length} bytes are missing"
            raise aiohttp.ClientPayloadError(f"the registry broke off: {missing}") from None
        RELAYED_DOWN.add(moved)
        return bool(moved)

    @contextlib.contextmanager
    def pipe_for(self, content: aiohttp.StreamReader, length: int | None) -> Iterator[Pipe | None]:
        """Lend a pipe for a body; None where it does not pay, or too many are in use."""
        pays = length is not None and _is_worth_splicing(content, length)
        pipe = self._pipes.take() if self._pipes is not None and pays else None
        try:
            yield pipe
        finally:
            if self._pipes is not None and pipe is not None:
                self._pipes.give(pipe)


async def splice(flow: SocketHandoff, pipe: Pipe) -> int:
    """Run ``flow`` and count it; return how many bytes it moved."""
    moved = await flow.splice(pipe)
    SPLICED.add(bool(moved))
    return moved


class AnswerBody:
    """The body of an answer of the registry, which is open until this is closed."""

    def __init__(self, bodies: Bodies, answer: aiohttp.ClientResponse, opened: contextlib.AsyncExitStack) -> None:
        """``opened`` holds the resources of ``answer``: the connection, and its place among the transfers."""
        self._bodies = bodies
        self._answer = answer
        self._opened = opened

    async def send(self, response: OutgoingResponse, http: web.BaseRequest, idle_timeout: IdleTimeout) -> None:
        """Send it; raises like ``Bodies.pass_on``."""
        await self._bodies.pass_on(self._answer, response, http, idle_timeout)

    async def close(self) -> None:
        """Give the connection back to the pool, or end it where not all of the body was read."""
        await self._opened.aclose()


def _is_worth_splicing(content: aiohttp.StreamReader, length: int) -> bool:
    return length - content.total_bytes >= _SMALLEST_SPLICE


class RequestBody(aiohttp.Payload):
    """A client's request body on its way upstream, passed on as it arrives.

    aiohttp may send a request again when a kept connection turns out to be dead. The bytes read from the
    client is gone by then, so a body that was begun refuses to be sent a second time.
    """

    def __init__(
        self,
        bodies: Bodies,
        request: web.BaseRequest,
        idle_timeout: IdleTimeout,
        limit: int | None,
        kept: bytearray | None,
    ) -> None:
        super().__init__(request.content)
        self._left = limit
        self._kept = kept
        self.is_too_long = False
        self._bodies = bodies
        self._request = request
        self._idle_timeout = idle_timeout
        self.is_begun = False

    @property
    def size(self) -> int | None:
        """Bytes of the body; None where the client has not told."""
        return self._request.content_length

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002
        """Refuse: a body in transit is never held as a whole."""
        raise TypeError("a request body in transit is not decoded")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Pass the whole body on to ``writer``."""
        await self.write_with_length(writer, None)

    async def write_with_length(
        self,
        writer: AbstractStreamWriter,
        content_length: int | None,  # noqa: ARG002 - the parser already holds the client to its own length
    ) -> None:
        """Pass the whole body on to ``writer``."""
        if self.is_begun:
            raise ConnectionResetError("the registry closed the connection during the upload")
        self.is_begun = True
        await self._send_continue()
        is_buffered = self._kept is not None or not await self._splice(writer)
        content = self._request.content
        idle_timeout = self._idle_timeout
        idle_timeout.for_client()
        while chunk := await content.readany():
            if is_buffered:
                BUFFERED.add()
                is_buffered = False
            self._count(len(chunk))
            if self._kept is not None:
                self._kept += chunk
            idle_timeout.for_upstream()
            await writer.write(chunk)
            RELAYED_UP.add(len(chunk))
            idle_timeout.for_client()
        idle_timeout.for_upstream()

    def _count(self, size: int) -> None:
        if self._left is not None:
            self._left -= size
            if self._left < 0:
                self.is_too_long = True
                raise ConnectionResetError("the request's body is longer than its limit")

    async def _splice(self, writer: AbstractStreamWriter) -> bool:
        """Pass a large body of known length on; of any other, nothing. Say whether anything was."""
        request = self._request
        length = request.content_length
        with self._bodies.pipe_for(request.content, length) as pipe:
            if pipe is None or length is None:
                return False
            flow = SocketHandoff.of_request(
                request,
                writer,
                length=length,
                await_source=self._idle_timeout.for_client,
                await_sink=self._idle_timeout.for_upstream,
            )
            if flow is None:
                return False
            moved = 0
            # A client that leaves has given its connection back to aiohttp, which ends the request.
            with contextlib.suppress(SourceEndedError):
                moved = await splice(flow, pipe)
            RELAYED_UP.add(moved)
            return bool(moved)

    async def _send_continue(self) -> None:
        """Tell a client that waits for it to go on: the registry is ready for the body (RFC 9110, 10.1.1)."""
        if expects_continue(self._request):
            transport = self._request.transport
            if transport is None or transport.is_closing():
                raise ConnectionResetError("the client is gone")
            transport.write(_CONTINUE)
