"""A client's connection: its requests, its parser."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, Final

from aiohttp import EMPTY_PAYLOAD, StreamReader, web
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.web_protocol import RequestHandler, _ErrInfo

RequestHead = RawRequestMessage
"""A request's line and headers, as the parser read them."""
NEEDED: Final[dict[type, tuple[str, ...]]] = {
    RequestHandler: (
        "_close",
        "_current_request",
        "_force_close",
        "_keepalive_handle",
        "_loop",
        "_messages",
        "_next_keepalive_close_time",
        "_process_keepalive",
        "_request_count",
        "_request_in_progress",
        "_upgraded",
        "_waiter",
        "handle_error",
    ),
}
NEEDED_TO_BORROW: Final[dict[type, tuple[str, ...]]] = {
    RequestHandler: ("_max_msg_queue_size", "_read_bufsize", "max_field_size", "max_headers", "max_line_size"),
}


class RequestConnection(RequestHandler):
    """aiohttp's connection of a client, with public names for the parts that a proxy reads and changes."""

    __slots__ = ()

    def __init__(self, manager: web.Server, **options: Any) -> None:
        """Take aiohttp's options."""
        super().__init__(manager, loop=asyncio.get_running_loop(), **options)

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered, and none waits."""
        return not (self._request_in_progress or self._messages)

    @property
    def is_answering(self) -> bool:
        """Whether a request's handler runs, or a request waits for its own."""
        return self._current_request is not None or bool(self._messages)

    @property
    def is_ending(self) -> bool:
        """Whether nothing is taken from the client any more."""
        return self._close or self._force_close

    @property
    def is_new(self) -> bool:
        """Whether no request has come yet."""
        return not self._request_count

    @property
    def awaits_head(self) -> bool:
        """Whether the bytes that arrive are a part of a request's head that is not complete."""
        waits = self._waiter is not None and not self._waiter.done()
        return (waits or not self._request_count) and not self._messages

    @property
    def is_in_body(self) -> bool:
        """Whether the bytes that arrive belong to the body of a request that is known."""
        body = self.current_body
        return (body is not None and not body.is_eof()) or any(not queued.is_eof() for _, queued in self._messages)

    @property
    def current_body(self) -> StreamReader | None:
        """The body of the request that is being answered."""
        return self._current_request.content if self._current_request is not None else None

    @property
    def queued(self) -> int:
        """How many requests wait to be answered."""
        return len(self._messages)

    def queued_heads(self) -> Iterator[tuple[int, RequestHead]]:
        """Yield the place and the head of each request that waits, except refused ones."""
        for at, (message, _) in enumerate(self._messages):
            if isinstance(message, RawRequestMessage):
                yield at, message

    def refuse_queued(self, at: int, problem: str) -> None:
        """Answer the request that waits at this place with ``handle_error``, status 400."""
        error = _ErrInfo(status=400, exc=web.RequestPayloadError(problem), message=problem)
        self._messages[at] = error, EMPTY_PAYLOAD

    @property
    def last_is_refused(self) -> bool:
        """Whether the last request that waits is no HTTP."""
        return bool(self._messages) and isinstance(self._messages[-1][0], _ErrInfo)

    @property
    def last_is_truncated(self) -> bool:
        """Whether the last request that waits asks for another protocol, and the parser dropped the bytes behind it.

        The parser keeps that where it knows the protocol.
        """
        if not self._messages or self._upgraded:
            return False
        message = self._messages[-1][0]
        return isinstance(message, RawRequestMessage) and message.upgrade

    @property
    def last_has_body(self) -> bool:
        """Whether the last request that waits has a body."""
        return self._messages[-1][1] is not EMPTY_PAYLOAD

    def close_behind_last(self) -> None:
        """Close the connection behind the answer to the last request that waits."""
        message, body = self._messages[-1]
        if isinstance(message, RawRequestMessage):
            self._messages[-1] = message._replace(should_close=True), body

    def await_head(self, seconds: float) -> None:
        """Close the connection in so many seconds, unless a request has come whole; ``too_late`` is called before."""
        close_time = self._loop.time() + seconds
        self._next_keepalive_close_time = close_time
        if self._keepalive_handle is not None:
            self._keepalive_handle.cancel()
        self._keepalive_handle = self._loop.call_at(close_time, self._process_keepalive)

    @property
    def seconds_left(self) -> float:
        """How long the client may still be silent; 0 where nothing ends its silence."""
        if self._keepalive_handle is None or self._keepalive_handle.cancelled():
            return 0.0
        return self._next_keepalive_close_time - self._loop.time()

    def too_late(self) -> None:
        """Called when the client has been silent too long, and is about to lose its connection."""

    def _process_keepalive(self) -> None:
        if self.is_idle and self._loop.time() >= self._next_keepalive_close_time:
            self.too_late()
        super()._process_keepalive()

    def take_no_more(self) -> None:
        """Take nothing from the client any more; the request that is being answered goes on."""
        super().close()

    def resume_body(self, content: StreamReader, remaining: int) -> None:
        """Read on after a part of a request's body went past the parser.

        Args:
            content: the body, which the handler reads.
            remaining: bytes of it that are still to come.
        """
        if self._parser is None:  # the connection is lost
            return
        successor = self._new_parser()
        if remaining:
            self._parser = _RestOfBody(self, content, remaining, successor)  # type: ignore[assignment]
            self.resume_reading(resume_parser=False)
        else:
            self._parser = successor
            content.feed_eof()

    def parse(self, data: bytes) -> list[tuple[RequestHead, StreamReader]]:
        """Give ``data`` to the connection's parser alone, and return the requests that it begins."""
        assert self._parser is not None  # noqa: S101 - there is one as long as there is a connection
        messages: Any = self._parser.feed_data(data)[0]
        return list(messages)

    def _new_parser(self) -> HttpRequestParser:
        """Return a parser like the connection's own, before its next request."""
        return HttpRequestParser(
            self,
            self._loop,
            self._read_bufsize,
            max_line_size=self.max_line_size,
            max_field_size=self.max_field_size,
            max_headers=self.max_headers,
            payload_exception=web.RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=self._max_msg_queue_size,
        )


class _RestOfBody:
    """Stands in for the parser until a known number of body bytes have come, then leaves to its successor."""

    def __init__(
        self, protocol: RequestConnection, content: StreamReader, remaining: int, successor: HttpRequestParser
    ) -> None:
        self._protocol = protocol
        self._content = content
        self._remaining = remaining
        self._successor = successor

    def feed_data(self, data: bytes) -> tuple[Sequence[Any], bool, bytes]:
        body, rest = data[: self._remaining], data[self._remaining :]
        self._remaining -= len(body)
        self._content.feed_data(body)
        if self._remaining:
            return (), False, b""
        self._protocol._parser = self._successor  # noqa: SLF001
        self._content.feed_eof()
        return self._successor.feed_data(rest)

    def pause_reading(self) -> None:
        """Do nothing: the transport stops, and the bytes that it had read before fit the stream."""

    def message_consumed(self) -> None:
        """Do nothing: no request can be behind a body that is not complete."""

    def set_upgraded(self, _: bool) -> None:  # noqa: FBT001 - aiohttp's own
        """Do nothing: a request with a body that is spliced was no upgrade."""
