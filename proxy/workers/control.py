"""Questions and answers between the parent and a worker, as lines of JSON over a pair of sockets.

The worker says ``{"event": "ready"}`` once and ``{"event": "ended", "state": ...}`` at its end; the parent
asks ``{"id": 1, "ask": "state"}`` and gets ``{"id": 1, "answer": ...}``. The end of the stream is the end of
the other process, however it ended.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator
from typing import Any, Final

import orjson

_LIMIT: Final = 16 * 2**20
"""Bytes of a line; a snapshot of every metric is some ten thousand."""


class Link:
    """One end of the conversation."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._ids = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}

    @classmethod
    async def over(cls, end: socket.socket) -> Link:
        """Speak over ``end`` of a pair of sockets."""
        end.setblocking(False)  # noqa: FBT003 - the socket's own protocol
        return cls(*await asyncio.open_unix_connection(sock=end, limit=_LIMIT))

    async def tell(self, message: dict[str, Any]) -> None:
        """Send ``message``; a process that is gone gets nothing; the end of the stream tells."""
        try:
            self._writer.write(orjson.dumps(message) + b"\n")
            await self._writer.drain()
        except OSError:
            return

    async def ask(self, question: str, seconds: float) -> Any:
        """Return the other side's answer; None when there is none within ``seconds``."""
        number = next(self._ids)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(seconds):
                await self.tell({"id": number, "ask": question})
                return await answer
        except TimeoutError:
            return None
        finally:
            del self._asked[number]

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the other side's own messages, and hand answers to their askers."""
        try:
            while line := await self._reader.readline():
                message: dict[str, Any] = orjson.loads(line)
                if "answer" not in message:
                    yield message
                    continue
                asked = self._asked.get(message["id"])
                if asked is not None and not asked.done():
                    asked.set_result(message["answer"])
        except (OSError, ValueError):
            pass
        finally:
            for asked in self._asked.values():
                if not asked.done():
                    asked.set_result(None)
            self._writer.close()
