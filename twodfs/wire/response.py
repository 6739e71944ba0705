"""Answers of HTTP/1.1 (RFC 9112): the head, and the body as it comes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Protocol

from twodfs.wire.failures import WireError

MAX_HEADERS: Final = 200
DRAINED_BYTES: Final = 64 * 1024
"""How much of an unwanted answer is read, so that the connection can be kept."""

_BUFFER: Final = 64 * 1024
_STATUS = re.compile(rb"HTTP/1\.([01]) ([0-9]{3})(?: (.*))?")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SIZE = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;.*)?")
_LENGTH = re.compile("[0-9]{1,19}")
_BODILESS: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
_MOST_INTERIM: Final = 16


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
    """The part before an answer's body."""

    status: int
    reason: str
    headers: Headers = field(default_factory=Headers)
    minor: int = 1


class ByteSource(Protocol):
    """The source that an answer is read from."""

    def line(self) -> bytes:
        """Return the next line without its end; raises ``WireError`` when there is none."""

    def readinto(self, buffer: memoryview) -> int:
        """Read some bytes into ``buffer``; none at the end."""


def read_head(source: ByteSource) -> Head:
    """Return the head of the answer that comes next; interim ones are passed over.

    Raises:
        WireError: there is none.
    """
    for _ in range(_MOST_INTERIM):
        status = _STATUS.fullmatch(source.line())
        if status is None:
            raise WireError("the answer is no HTTP")
        head = Head(int(status[2]), (status[3] or b"").decode("latin-1"), minor=int(status[1]))
        for line in _lines(source):
            name, colon, value = line.partition(b":")
            if not colon or not _NAME.fullmatch(name):
                raise WireError("the answer is no HTTP: it has a malformed header")
            head.headers.add(name.decode("ascii"), value.strip(b" \t").decode("latin-1"))
        if head.status >= HTTPStatus.OK:
            return head
    raise WireError("the answer is no HTTP: it never ends to announce itself")


def _lines(source: ByteSource) -> Iterator[bytes]:
    """Yield the lines up to the empty one."""
    for _ in range(MAX_HEADERS):
        line = source.line()
        if not line:
            return
        yield line
    raise WireError(f"answered with more than {MAX_HEADERS} headers")


class Response:
    """An answer whose body is read as it comes."""

    def __init__(self, source: ByteSource, head: Head, method: str, *, whole: bool) -> None:
        """Begin to read an answer; ``whole`` says whether the request was sent to its end."""
        self.status = head.status
        self.reason = head.reason
        self.headers = head.headers
        self._source = source
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
        size = self._source.readinto(buffer if self._left is None else buffer[: self._left])
        if self._left is None:  # it ends with the connection
            return size
        if not size:
            raise WireError("the connection broke in the middle of an answer", temporary=True)
        self._left -= size
        if self._chunked and not self._left:
            if self._source.line():
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
        """Read the short rest.

        Raises:
            WireError: the connection broke before.
        """
        if self._keepable and self._left and (self._chunked or self._left <= DRAINED_BYTES):
            self.read(DRAINED_BYTES)

    def _next_chunk(self) -> int:
        size = _SIZE.fullmatch(self._source.line())
        if size is None:
            raise WireError("the answer is no HTTP: a chunk of it has no size")
        left = int(size[1], 16)
        if not left:
            for _ in _lines(self._source):  # trailers
                pass
        return left


def _length(headers: Headers) -> int:
    # RFC 9110, 8.6: the same length may come several times.
    values = {one.strip() for one in headers.get("content-length").split(",")}
    text = values.pop()
    if values or not _LENGTH.fullmatch(text):
        raise WireError("the answer is no HTTP: it has no one length")
    return int(text)
