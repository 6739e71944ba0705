"""A body of the registry's, given to a thread in large pieces.

aiohttp passes bytes from a socket through its parser and a queue, a piece of at most 64 KiB at a time. Where its
socket can be borrowed, a thread takes them out of it by itself, and hashes and writes them before it returns.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import aiohttp

from proxy.bodies.socket_handoff import hold, resume_answers
from proxy.bodies.splice import SourceEndedError
from proxy.bodies.threads import Threads
from proxy.insides.client import connection_of
from proxy.insides.tls import Tunnel
from proxy.insides.transports import duplicate, is_plain
from proxy.wire.pool import AnswerReader

_SMALLEST_LOAN: Final = 64 * 1024
"""Bytes that must still be to come for a borrowed socket to pay."""
_SEALED: Final = 128 * 1024
"""Bytes that are read of a TLS connection in one go."""
_TURN: Final = 2 * 2**20
"""Bytes for which a stream has a thread; then the others have their turn."""
_GATHERING: Final = 0.002
"""Seconds after which more is looked for where all was taken: a hop to a thread for each packet costs too much."""
_CLEAR: Final = 512 * 1024
"""Bytes of it that a thread takes in one go."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """Takes bodies.

    Attributes:
        threads: where pieces are taken.
        silence: seconds for which the registry may send nothing.
        borrows: whether sockets can be borrowed here.
    """

    threads: Threads
    silence: float
    borrows: bool

    async def receive(
        self,
        answer: aiohttp.ClientResponse,
        take: Callable[[memoryview], None],
        passed: Callable[[int], Awaitable[None]],
    ) -> None:
        """Give all of the body of ``answer`` to ``take``, piece after piece, each in a thread.

        A piece is good until ``take`` returns. ``passed`` is awaited after each, with its size: nothing more is
        taken from the registry meanwhile.

        Raises:
            aiohttp.ClientError, OSError: the registry broke off, or was silent for too long (``TimeoutError``).
            Exception: what ``take`` raises.
        """
        flow = _Loan.of(answer, self, take, passed) if self.borrows else None
        if flow is not None:
            try:
                await flow.run()
            except SourceEndedError as short:
                raise aiohttp.ClientPayloadError(str(short)) from None
        while True:
            async with asyncio.timeout(self.silence):
                chunk = await answer.content.readany()
            if not chunk:
                return
            await self.give(chunk, take, passed)

    async def give(
        self, chunk: bytes | memoryview, take: Callable[[memoryview], None], passed: Callable[[int], Awaitable[None]]
    ) -> None:
        """Give one piece to ``take``."""
        await self.threads.run(functools.partial(take, memoryview(chunk)))
        await passed(len(chunk))


@dataclass(slots=True)
class _Loan:
    """The socket of an answer of known length, borrowed for its body."""

    receiver: Receiver
    take: Callable[[memoryview], None]
    passed: Callable[[int], Awaitable[None]]
    answer: aiohttp.ClientResponse
    protocol: AnswerReader
    transport: asyncio.Transport
    tunnel: Tunnel | None
    remaining: int

    @classmethod
    def of(
        cls,
        answer: aiohttp.ClientResponse,
        receiver: Receiver,
        take: Callable[[memoryview], None],
        passed: Callable[[int], Awaitable[None]],
    ) -> _Loan | None:
        """Return the loan; None where the socket cannot be borrowed, or need not be."""
        protocol, length = connection_of(answer), answer.content_length
        if not isinstance(protocol, AnswerReader) or protocol.transport is None or length is None:
            return None
        if length - answer.content.total_bytes < _SMALLEST_LOAN:
            return None
        tunnel = Tunnel.of(protocol.transport)
        if tunnel is None and not is_plain(protocol.transport):
            return None
        return cls(receiver, take, passed, answer, protocol, protocol.transport, tunnel, length)

    async def run(self) -> None:
        """Take the whole body; nothing of it where it was complete before anything was borrowed."""

        async def pass_on(chunk: bytes) -> None:
            self.remaining -= len(chunk)
            await self.receiver.give(chunk, self.take, self.passed)

        if not await hold(self.transport, self.protocol, self.answer.content, pass_on):
            return
        if self.tunnel is None:
            with duplicate(self.transport) as source:
                await self._run(source, self._recv)
            return
        with self.tunnel.borrowed() as is_open:
            if not is_open:
                self.transport.resume_reading()
                return
            tunnel = self.tunnel
            sealed, clear = memoryview(bytearray(_SEALED)), memoryview(bytearray(_CLEAR))
            with duplicate(self.transport) as source:
                await self._run(source, lambda source: self._decrypt(source, tunnel, sealed, clear))

    async def _run(self, source: socket.socket, step: Callable[[socket.socket], Awaitable[bool]]) -> None:
        try:
            while self.remaining:
                if await step(source) and self.remaining:
                    await asyncio.sleep(_GATHERING)
                    await self._readable(source)
        finally:
            if self.remaining:
                if self.tunnel is not None:
                    self.tunnel.abort()
            elif not resume_answers(self.protocol, self.answer.content, source, self.tunnel):
                self.protocol.count_surplus()

    async def _recv(self, source: socket.socket) -> bool:
        """Take what is there, up to a buffer; say whether that was all."""
        size, is_all, is_end = await self.receiver.threads.run(functools.partial(self._taken, source))
        self.remaining -= size
        if size:
            await self.passed(size)
        if is_end and self.remaining:
            raise SourceEndedError(self.remaining)
        return is_all

    def _taken(self, source: socket.socket) -> tuple[int, bool, bool]:
        """Take what is there, in a thread; return how much, whether that was all, and whether it was the end."""
        buffer = self.receiver.threads.buffer()
        taken, is_all, is_end = 0, False, False
        while taken < min(_TURN, self.remaining) and not is_all and not is_end:
            room = buffer[: self.remaining - taken]
            size = 0
            try:
                while size < len(room) and not is_end:
                    got = source.recv_into(room[size:])
                    size += got
                    is_end = not got
            except BlockingIOError:
                is_all = True
            if size:
                self.take(room[:size])
                taken += size
        return taken, is_all, is_end

    async def _decrypt(self, source: socket.socket, tunnel: Tunnel, sealed: memoryview, clear: memoryview) -> bool:
        """Take what is there of a TLS connection, up to a buffer; say whether that was all."""
        room = clear[: self.remaining]
        size, is_all, is_end = 0, False, False
        while size < len(room) and not is_all and not is_end:
            got, is_more = tunnel.decrypt(room[size:])
            size += got
            is_end = is_more and not got
            if not is_more:
                try:
                    read = source.recv_into(sealed)
                except BlockingIOError:
                    is_all = True
                else:
                    is_end = not read
                    tunnel.put(sealed[:read])
        self.remaining -= size
        if size:
            await self.receiver.give(room[:size], self.take, self.passed)
        if is_end and self.remaining:
            raise SourceEndedError(self.remaining)
        return is_all

    async def _readable(self, source: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        loop.add_reader(source, _set, ready)
        try:
            async with asyncio.timeout(self.receiver.silence):
                await ready
        finally:
            loop.remove_reader(source)


def _set(ready: asyncio.Future[None]) -> None:
    with contextlib.suppress(asyncio.InvalidStateError):
        ready.set_result(None)
