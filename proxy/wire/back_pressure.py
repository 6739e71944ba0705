"""How far a body is read ahead of its client: little for a slow client, much for a fast one.

Bytes read ahead of a slow client stay in memory until they are taken, and a thousand of them hold a thousand
times as much.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

import aiohttp
from aiohttp import web

from proxy.insides.client import connection_of, is_paused
from proxy.insides.transports import read_at_once

LEAST: Final = 16 * 1024
"""Bytes that are read from the registry at once as long as nothing is known of the client."""
MOST: Final = 256 * 1024
_GROWTH: Final = 64
"""The fraction of the bytes passed so far that is read at once: the kernel takes megabytes in the client's place."""


class BackPressure:
    """Reads one body no faster than its client takes it."""

    __slots__ = ("_ahead", "_passed", "_sink", "_source")

    def __init__(self, answer: aiohttp.ClientResponse, request: web.BaseRequest) -> None:
        self._source = connection_of(answer)  # None when all of the answer is here
        self._sink = request.transport
        self._passed = 0
        self._ahead = LEAST

    @property
    def is_held_up(self) -> bool:
        """Whether the client has not taken everything yet."""
        return self._sink is not None and bool(self._sink.get_write_buffer_size())

    def passed(self, size: int) -> None:
        """Note that ``size`` bytes went to the client."""
        self._passed += size
        ahead = min(self._passed // _GROWTH, MOST)
        if ahead >= 2 * self._ahead:
            self._ahead = ahead
            if self._source is not None:
                read_at_once(self._source.transport, ahead)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Read nothing more in the context, where the client is waited for down to its last byte."""
        if self._sink is not None:
            self._sink.set_write_buffer_limits(high=0)
        # aiohttp stops reading where its own buffer is full, and begins again by itself.
        source = None if self._source is None or is_paused(self._source) else self._source.transport
        if source is not None:
            source.pause_reading()
        try:
            yield
        finally:
            if source is not None:
                source.resume_reading()
            if self._sink is not None:
                self._sink.set_write_buffer_limits()


def hurry(answer: aiohttp.ClientResponse) -> None:
    """Read as much of ``answer`` at once as there is: no client holds it up."""
    if (source := connection_of(answer)) is not None:
        read_at_once(source.transport, MOST)
