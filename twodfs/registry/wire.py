"""HTTP/1.1 on one connection (RFC 9112), as much of it as a client of registries needs.

Own code and not ``http.client``: that loads TLS and a parser of e-mail, a tenth of what a rebuild takes; it
neither hands a file to the kernel nor hears an answer that comes before the request's end.
"""

from __future__ import annotations

import re
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol, cast

if TYPE_CHECKING:
    from io import BufferedReader

MAX_LINE: Final = 16 * 1024
MAX_HEADERS: Final = 200
DRAINED_BYTES: Final = 64 * 1024
"""How much of an answer is read that nobody wants, so that the connection can be kept."""

_JOINED: Final = 64 * 1024
_BUFFER: Final = 64 * 1024
_PIECE: Final = 256 * 1024
_STATUS = re.compile(rb"HTTP/1\.([01]) ([0-9]{3})(?: (.*))?")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SIZE = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;.*)?")
_LENGTH = re.compile("[0-9]{1,19}")
_BODILESS: Final = frozenset({204, 304})
_INTERIM: Final = 16
_OK: Final = 200
_ABOUT_OURS: Final = ("CERTIFICATE", "UNKNOWN_CA")
"""What an alert of TLS names that finds fault with the client's certificate."""
_PROXY_IS_DOWN: Final = frozenset({429, 502, 503, 504})


class WireError(Exception):
    """An exchange failed.

    Attributes:
        problem: what happened, to be read after "GET http://...: ".
        temporary: whether it may work another time.
    """

    def __init__(self, problem: str, *, temporary: bool = False) -> None:
        self.problem = problem
        self.temporary = temporary
        super().__init__(problem)


class BrokenError(WireError):
    """The connection ended: a kept one may have done so before the request reached anybody."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the connection broke: {reason}", temporary=True)


class RequestWriter(Protocol):
    """Where a request's body goes."""

    def write(self, content: bytes | memoryview, /) -> None:
        """Send ``content``."""

    def write_file(self, file: BinaryIO, at: int, count: int, /) -> int:
        """Send so many bytes of a file, which need not pass through this process; return how many it had."""


class Body(Protocol):
    """A request's body."""

    @property
    def length(self) -> int:
        """Its bytes."""

    def write_to(self, outlet: RequestWriter) -> None:
        """Send it from its start; called once for each attempt."""


class Headers:
    """The headers of an answer; their names are in lower case."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: dict[str, list[str]] = {}

    def add(self, name: str, value: str) -> None:
        """Take a line."""
        self._values.setdefault(name.lower(), []).append(value)

    def all(self, name: str) -> list[str]:
        """Return the lines of ``name``."""
        return self._values.get(name, [])

    def get(self, name: str) -> str:
        """Return the value of ``name``, its lines joined (RFC 9110, 5.3); empty without one."""
        return ", ".join(self._values.get(name, ()))


@dataclass(frozen=True, slots=True)
class Head:
    """What comes before an answer's body."""

    status: int
    reason: str
    headers: Headers = field(default_factory=Headers)
    minor: int = 1


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
        """Fail whatever goes on in it; from any thread."""
        try:
            # Not the method of a TLS socket, which changes what the other thread uses.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        except OSError:  # it ended by itself
            return

    def has_news(self) -> bool:
        """Say whether the other side has sent something, or has ended the connection."""
        return bool(self._poll.poll(0))

    def exchange(self, head: bytes, body: Body | None, method: str, idle: float, commit: float) -> Response:
        """Send a request and return the answer, its body unread.

        Args:
            head: the request up to and with the empty line.
            body: what follows.
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
        except _AnsweredEarlyError:
            whole = False
        except WireError:
            # What the server has to say explains why it stopped reading, if it said it.
            if body is None or not self.has_news():
                raise
            whole = False
        answer = self._answer()
        self._socket.settimeout(idle)
        return Response(self, answer, method, whole=whole)

    def write(self, content: bytes | memoryview, /) -> None:
        """Send ``content``.

        Raises:
            WireError: nobody takes it.
        """
        if self._unsent and len(content) <= _JOINED:
            content, self._unsent = self._unsent + bytes(content), b""
        self._flush()
        self._listen()
        self._send(content)

    def write_file(self, file: BinaryIO, at: int, count: int, /) -> int:
        """Send so many bytes of ``file``, and return how many of them it had.

        Raises:
            WireError: nobody takes them.
        """
        if self._encrypted:
            return self._write_encrypted(file, at, count)
        self._flush()
        self._listen()
        with _in_words():
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
        answer = self._answer()
        if answer.status != _OK:
            raise WireError(
                f"the proxy refuses the way to {place}: {answer.status} {answer.reason}",
                temporary=answer.status in _PROXY_IS_DOWN,
            )

    def readinto(self, buffer: memoryview) -> int:
        """Read some bytes into ``buffer``; none at the connection's end."""
        with _in_words():
            return self._file.readinto1(buffer)

    def line(self) -> bytes:
        """Return the next line without its end.

        Raises:
            WireError: there is none.
        """
        with _in_words():
            line = self._file.readline(MAX_LINE)
        if not line.endswith(b"\n"):
            if len(line) == MAX_LINE:
                raise WireError(f"answered with a line of more than {MAX_LINE} bytes")
            raise BrokenError("it was closed without an answer")
        return line.removesuffix(b"\n").removesuffix(b"\r")

    def skip_headers(self) -> None:
        """Read lines up to the empty one."""
        for _ in range(MAX_HEADERS):
            if not self.line():
                return
        raise WireError(f"answered with more than {MAX_HEADERS} headers")

    def _answer(self) -> Head:
        for _ in range(_INTERIM):
            status = _STATUS.fullmatch(self.line())
            if status is None:
                raise WireError("the answer is no HTTP")
            head = Head(int(status[2]), (status[3] or b"").decode("latin-1"), minor=int(status[1]))
            for _ in range(MAX_HEADERS):
                line = self.line()
                if not line:
                    break
                name, colon, value = line.partition(b":")
                if not colon or not _NAME.fullmatch(name):
                    raise WireError("the answer is no HTTP: it has a malformed header")
                head.headers.add(name.decode("ascii"), value.strip(b" \t").decode("latin-1"))
            else:
                raise WireError(f"answered with more than {MAX_HEADERS} headers")
            if head.status >= _OK:
                return head
        raise WireError("the answer is no HTTP: it never ends to announce itself")

    def _write_encrypted(self, file: BinaryIO, at: int, count: int) -> int:
        file.seek(at)
        left = count
        while left and (piece := file.read(min(left, _PIECE))):
            self.write(piece)
            left -= len(piece)
        return count - left

    def _listen(self) -> None:
        # Of TLS, what can be read need not be an answer: tickets come unasked.
        if not self._encrypted and self.has_news():
            raise _AnsweredEarlyError("answered before the end of the request")

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, b""
        if unsent:
            self._send(unsent)

    def _send(self, content: bytes | memoryview) -> None:
        with memoryview(content) as view, _in_words():
            sent = 0
            # Not sendall: its time-out is for all of it, however slow the line.
            while sent < len(view):
                sent += self._socket.send(view[sent:])


class Response:
    """An answer whose body is read as it comes."""

    def __init__(self, connection: Connection, head: Head, method: str, *, whole: bool) -> None:
        """Begin to read an answer; ``whole`` says whether the request was sent to its end."""
        self.status = head.status
        self.reason = head.reason
        self.headers = head.headers
        self._connection = connection
        self._chunked = False
        self._left: int | None = None
        options = {one.strip() for one in head.headers.get("connection").lower().split(",")}
        kept = head.minor == 1 or "keep-alive" in options
        self._keepable = whole and kept and "close" not in options
        if method == "HEAD" or head.status in _BODILESS:
            self._left = 0
        elif head.headers.get("transfer-encoding"):
            if head.headers.get("transfer-encoding").lower() != "chunked":
                raise WireError("answered in a transfer coding that nobody asked for")
            self._chunked = True
            self._left = self._next_chunk()
        elif head.headers.all("content-length"):
            self._left = _length(head.headers)

    @property
    def is_keepable(self) -> bool:
        """Whether the connection can take another request, the answer having been read."""
        return self._keepable and self._left == 0

    def readinto(self, buffer: memoryview) -> int:
        """Read some of the body into ``buffer`` and return how many bytes; 0 at its end.

        Raises:
            WireError: the connection broke before.
        """
        if self._left == 0:
            return 0
        size = self._connection.readinto(buffer if self._left is None else buffer[: self._left])
        if self._left is None:  # it ends with the connection
            return size
        if not size:
            raise WireError("the connection broke in the middle of an answer", temporary=True)
        self._left -= size
        if self._chunked and not self._left:
            if self._connection.line():
                raise WireError("the answer is no HTTP: a chunk of it has no end")
            self._left = self._next_chunk()
        return size

    def read(self, most: int) -> bytes:
        """Return the body, of a longer one at least the first ``most`` bytes.

        Raises:
            WireError: the connection broke before.
        """
        content = bytearray()
        buffer = memoryview(bytearray(min(most + 1, _BUFFER)))
        while len(content) < most and (size := self.readinto(buffer)):
            content += buffer[:size]
        return bytes(content)

    def finish(self) -> None:
        """Read what little is left.

        Raises:
            WireError: the connection broke before.
        """
        if self._keepable and self._left and (self._chunked or self._left <= DRAINED_BYTES):
            self.read(DRAINED_BYTES)

    def _next_chunk(self) -> int:
        size = _SIZE.fullmatch(self._connection.line())
        if size is None:
            raise WireError("the answer is no HTTP: a chunk of it has no size")
        left = int(size[1], 16)
        if not left:
            self._connection.skip_headers()
        return left


class _AnsweredEarlyError(WireError):
    """The server has answered while the request was under way: more of it is not wanted."""


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise WireError("the registry does not answer in time", temporary=True) from error
    except OSError as error:
        # TLS 1.3 tells what is wrong with a client's certificate after it has agreed.
        reason = getattr(error, "reason", None) or ""
        if "ALERT_" in reason and any(one in reason for one in _ABOUT_OURS):
            raise WireError("the registry wants a client certificate, and was shown none that will do") from error
        raise BrokenError(error.strerror or type(error).__name__) from error


def _length(headers: Headers) -> int:
    # RFC 9110, 8.6: the same length may come several times.
    values = {one.strip() for one in headers.get("content-length").split(",")}
    text = values.pop()
    if values or not _LENGTH.fullmatch(text):
        raise WireError("the answer is no HTTP: it has no one length")
    return int(text)
