"""Replies of Redis are read up to a bound.

redis-py itself reads as much as a reply announces, or as long as it goes on. This module alone knows its
insides. Whether it still knows them is tried at the start, with ``obstacle``: a redis-py that reads in
another way would have no bound, and the proxy does not start.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import redis
from redis._parsers.encoders import Encoder
from redis._parsers.resp3 import _AsyncRESP3Parser
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import Connection
from redis.exceptions import InvalidResponse

from proxy.config import CacheConfig

_OVERHEAD: Final = 64 * 1024
"""Bytes that a value may have beside ``cache.redis_max_value``, and the longest line."""
_LEAST: Final = 4 * 2**20
"""Bytes that a reply of many small parts may have: a cluster's list of commands or slots."""
_ITEM: Final = 64
"""Bytes that each part of an array costs here, roughly, however short it is on the wire."""
_DEEPEST: Final = 16
_BULKS: Final = b"$=!"
_AGGREGATES: Final = {b"*": 1, b"~": 1, b">": 1, b"%": 2, b"|": 2}
"""Kinds of replies that have others inside (RESP3), and how many for each that is announced."""


class ReplyTooLargeError(InvalidResponse):
    """A reply has, or announces, more than is read of one; its connection is closed."""


class _BoundedParser(_AsyncRESP3Parser):
    """Reads replies (RESP2 and RESP3) that cost no more memory than ``_most`` bytes."""

    _most: int
    _longest: int
    _left = 0
    _depth = 0

    def on_disconnect(self) -> None:
        super().on_disconnect()  # type: ignore[no-untyped-call]
        self._stream = None  # with its read-ahead buffer; redis-py keeps it until it connects again
        self._clear()  # type: ignore[no-untyped-call]

    async def read_response(self, disable_decoding: bool = False, push_request: bool = False) -> Any:  # noqa: FBT001, FBT002 - redis-py's own
        self._left, self._depth = self._most, 0
        try:
            return await super().read_response(disable_decoding=disable_decoding, push_request=push_request)
        except BaseException:
            # The part read so far would be parsed again, and a caller that gave up must not keep it.
            self._clear()  # type: ignore[no-untyped-call]
            raise

    async def _read_response(self, disable_decoding: bool = False, push_request: bool = False) -> Any:  # noqa: FBT001, FBT002
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ReplyTooLargeError(f"a reply of Redis is nested deeper than {_DEEPEST} levels")
        try:
            return await super()._read_response(disable_decoding=disable_decoding, push_request=push_request)
        finally:
            self._depth -= 1

    async def _readline(self) -> bytes:
        try:
            line = await super()._readline()
        except ValueError:  # the stream's own limit, which is that of a line
            raise ReplyTooLargeError(f"a line of Redis is longer than {_OVERHEAD} bytes") from None
        kind, length = line[:1], line[1:]
        self._take(len(line))
        if kind in _AGGREGATES:
            self._take(_ITEM * _AGGREGATES[kind] * max(0, _number(length)))
        elif kind and kind in _BULKS:
            self._announced(_number(length))
        return line

    def _announced(self, size: int) -> None:
        if size > self._longest:
            raise ReplyTooLargeError(
                f"Redis announces a value of {size} bytes; cache.redis_max_value leaves {self._longest}"
            )
        self._take(max(0, size))

    def _take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise ReplyTooLargeError(f"a reply of Redis has more than {self._most} bytes")


def _number(text: bytes) -> int:
    """Return the length that a reply announces; -1 is none (RESP2)."""
    if len(text) > len(str(2**63)) or not text.removeprefix(b"-").isdigit():
        raise InvalidResponse("a reply of Redis announces no length")
    number = int(text)
    if number < -1:
        raise InvalidResponse("a reply of Redis announces a negative length")
    return number


def bounded_parser(config: CacheConfig) -> type[_AsyncRESP3Parser]:
    """Return the parser for connections whose values have ``cache.redis_max_value`` bytes at most."""
    longest = config.redis_max_value + _OVERHEAD
    return type("BoundedParser", (_BoundedParser,), {"_longest": longest, "_most": max(longest, _LEAST)})


def bind(client: Redis | RedisCluster, config: CacheConfig) -> None:
    """Let ``client``, which is not connected yet, read with ``bounded_parser``."""
    parser = bounded_parser(config)
    if isinstance(client, Redis):
        client.connection_pool.connection_kwargs["parser_class"] = parser
        return
    for settings in (
        client.connection_kwargs,
        client.nodes_manager.connection_kwargs,
        *(node.connection_kwargs for node in client.startup_nodes),
    ):
        settings["parser_class"] = parser


async def obstacle(config: CacheConfig) -> str | None:
    """Say why this redis-py cannot be held to the bound; None when it can."""
    try:
        is_right = await parsed(config, b"$5\r\nhello\r\n") == b"hello"
        for reply in (b"$%d\r\n" % (config.redis_max_value + 2 * _OVERHEAD), b"*%d\r\n" % 2**40):
            try:
                await parsed(config, reply)
            except ReplyTooLargeError:
                continue
            is_right = False
    except Exception as error:  # noqa: BLE001 - insides that changed fail in any way
        return f"redis-py {redis.__version__} reads replies in its own way: {type(error).__name__}: {error}"
    return None if is_right else f"redis-py {redis.__version__} reads replies in its own way"


async def parsed(config: CacheConfig, reply: bytes) -> object:
    """Return the value of ``reply``, read as a connection with this configuration reads it.

    Raises:
        RedisError: it is none, or is too large.
    """
    connection = Connection(parser_class=bounded_parser(config))
    parser = connection._parser  # noqa: SLF001
    stream = asyncio.StreamReader()
    stream.feed_data(reply)
    stream.feed_eof()
    parser._stream, parser.encoder = stream, Encoder("utf-8", "strict", decode_responses=False)  # type: ignore[attr-defined, no-untyped-call]  # noqa: SLF001
    parser._connected = True  # type: ignore[attr-defined]  # noqa: SLF001
    return await parser.read_response()  # type: ignore[attr-defined]
