"""HTTP/1.1 on one connection (RFC 9112), as much of it as a client of registries needs.

Own code and not ``http.client``: that loads TLS and a parser of e-mail, a tenth of the time of a rebuild; it
neither hands a file to the kernel nor notices an answer that comes before the request's end.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol, cast

from twodfs.wire.failures import AnsweredEarlyError, BrokenError, WireError, described_failures
from twodfs.wire.response import Response, read_head

if TYPE_CHECKING:
    from io import BufferedReader

MAX_LINE: Final = 16 * 1024

_JOINED: Final = 64 * 1024
_BUFFER: Final = 64 * 1024
_PIECE: Final = 256 * 1024
_PROXY_IS_DOWN: Final = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)


class RequestWriter(Protocol):
    """Where a request's body goes."""

    def write(self, content: bytes | memoryview, /) -> None:
        """Send ``content``."""

    def write_file(self, file: BinaryIO, at: int, count: int, /) -> int:
        """Send so many bytes of a file, which need not pass through this process; return how many it had."""


class OutgoingBody(Protocol):
    """A request's body."""

    @property
    def length(self) -> int | None:
        """Its bytes; None where they are not known yet, and it writes itself in chunks."""

    def write_to(self, outlet: RequestWriter) -> None:
        """Send it from its start; called once for each attempt."""

    def stop(self, abort: Callable[[], None]) -> None:
        """End the exchange, from any thread, since its result is no longer wanted; ``abort`` breaks it off."""


class Connection:
    """One connection, for one request at a time.

    Attributes:
        is_kept: whether it has answered before, and may be ending just now.
    """

    def __init__(self, sock: socket.socket, *, encrypted: bool) -> None:
        self._socket = sock
        self.is_kept = False
        self._encrypted = encrypted
        self._file = cast("BufferedReader", sock.makefile("rb", buffering=_BUFFER))
        self._unsent = b""
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def close(self) -> None:
        """End it; in the thread that uses it."""
        self._file.close()
        self._socket.close()

    def abort(self) -> None:
        """Fail the exchange that goes on in it; from any thread."""
        try:
            # Not the method of a TLS socket, which changes state that the other thread uses.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        except OSError:  # it ended by itself
            return

    def has_news(self) -> bool:
        """Say whether the other side has sent something, or has ended the connection."""
        return bool(self._poll.poll(0))

    def exchange(self, head: bytes, body: OutgoingBody | None, method: str, idle: float, commit: float) -> Response:
        """Send a request and return the answer, its body unread.

        Args:
            head: the request up to and with the empty line.
            body: the bytes that follow.
            method: of the request.
            idle: seconds that may pass without a byte.
            commit: seconds that may pass between the body's last byte and the answer.

        Raises:
            BrokenError: the connection ended before the answer.
            WireError: no answer.
        """
        self._socket.settimeout(idle)
        self._unsent = head
        whole = True
        try:
            if body is not None:
                body.write_to(self)
            self._flush()
            self._socket.settimeout(commit if body is not None else idle)
        except AnsweredEarlyError:
            whole = False
        except WireError:
            # The server's answer, if any, explains why it stopped reading.
            if body is None or not self.has_news():
                raise
            whole = False
        answer = read_head(self)
        self._socket.settimeout(idle)
        return Response(self, answer, method, whole=whole)

    def write(self, content: bytes | memoryview, /) -> None:
        """Send ``content``.

        Raises:
            WireError: the other side does not take it.
        """
        if self._unsent and len(content) <= _JOINED:
            content, self._unsent = self._unsent + bytes(content), b""
        self._flush()
        self._listen()
        self._send(content)

    def write_file(self, file: BinaryIO, at: int, count: int, /) -> int:
        """Send so many bytes of ``file``, and return how many of them it had.

        Raises:
            WireError: the other side does not take them.
        """
        if self._encrypted:
            return self._write_encrypted(file, at, count)
        self._flush()
        self._listen()
        with described_failures():
            return self._socket.sendfile(file, at, count)

    def tunnel(self, host: str, port: int, authorization: str, idle: float) -> None:
        """Ask a proxy for a way to ``host`` (RFC 9110, 9.3.6).

        Raises:
            WireError: there is none.
        """
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        head = f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{authorization}\r\n"
        self._socket.settimeout(idle)
        self._send(head.encode("ascii"))
        answer = read_head(self)
        if answer.status != HTTPStatus.OK:
            raise WireError(
                f"the proxy refuses the way to {place}: {answer.status} {answer.reason}",
                temporary=answer.status in _PROXY_IS_DOWN,
            )

    def readinto(self, buffer: memoryview) -> int:
        """Read some bytes into ``buffer``; none at the connection's end."""
        with described_failures():
            return self._file.readinto1(buffer)

    def line(self) -> bytes:
        """Return the next line without its end.

        Raises:
            WireError: there is none.
        """
        with described_failures():
            line = self._file.readline(MAX_LINE)
        if not line.endswith(b"\n"):
            if len(line) == MAX_LINE:
                raise WireError(f"answered with a line of more than {MAX_LINE} bytes")
            raise BrokenError("it was closed without an answer")
        return line.removesuffix(b"\n").removesuffix(b"\r")

    def _write_encrypted(self, file: BinaryIO, at: int, count: int) -> int:
        file.seek(at)
        left = count
        while left and (piece := file.read(min(left, _PIECE))):
            self.write(piece)
            left -= len(piece)
        return count - left

    def _listen(self) -> None:
        # With TLS, readable bytes need not be an answer: tickets come unasked.
        if not self._encrypted and self.has_news():
            raise AnsweredEarlyError("answered before the end of the request")

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, b""
        if unsent:
            self._send(unsent)

    def _send(self, content: bytes | memoryview) -> None:
        with memoryview(content) as view, described_failures():
            sent = 0
            # Not sendall: its time-out is for all of it, however slow the line.
            while sent < len(view):
                sent += self._socket.send(view[sent:])
