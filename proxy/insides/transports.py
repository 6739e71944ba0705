"""Sockets of asyncio's plaintext connections."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from asyncio.selector_events import _SelectorSocketTransport  # type: ignore[attr-defined]
from collections.abc import Iterator
from typing import Final, TypeGuard

NEEDED: Final[dict[type, tuple[str, ...]]] = {
    _SelectorSocketTransport: ("max_size", "pause_reading", "resume_reading", "get_write_buffer_size"),
}


def is_plain(transport: asyncio.BaseTransport | None) -> TypeGuard[asyncio.Transport]:
    """Say whether this is an open connection whose protocol sees the bytes of the socket unchanged."""
    return isinstance(transport, _SelectorSocketTransport) and not transport.is_closing()


def read_at_once(transport: asyncio.BaseTransport | None, size: int) -> None:
    """Read at most ``size`` bytes of a plaintext connection at a time; TLS has its own measure."""
    if isinstance(transport, _SelectorSocketTransport):
        transport.max_size = size


@contextlib.contextmanager
def duplicate(transport: asyncio.BaseTransport) -> Iterator[socket.socket]:
    """Yield the same socket under another number: a loop refuses to watch the numbers that transports own."""
    with transport.get_extra_info("socket").dup() as duplicated:
        yield duplicated
