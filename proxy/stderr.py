"""Standard error, by the line, and without waiting for its reader.

A pipe, a socket or a terminal takes bytes only as fast as its reader does, and a reader may stand still for
ever. So lines for one of these go through a bounded queue to a thread. Lines that do not fit are dropped and
counted, as are lines that cannot be written: a full disk or a reader that ended must not fail pulls, and there is
nowhere else to say so. A file has no reader to wait for, and is written at once.
"""

from __future__ import annotations

import atexit
import io
import os
import select
import stat
import threading
import time
from collections import deque
from typing import Any, Final, TextIO

MOST_HELD: Final = 4 * 2**20
"""Bytes of lines that wait to be taken; some 16,000 requests."""
_LAST_WORDS: Final = 0.5
"""Seconds that a process waits at its end for lines still in the queue."""
# Several workers share one pipe: a single write no longer than this stays together.
_AT_ONCE: Final = select.PIPE_BUF


class _Raw:
    """A stream without a buffer: bytes that could not be written would fail the process once more at its end."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._is_torn = False
        self.dropped = 0
        """Lines that were not written, or not to their end."""

    def write(self, lines: bytes) -> None:
        """Write whole lines, or nothing. A line written in part is ended before the next."""
        left = memoryview(b"\n" + lines if self._is_torn else lines)
        try:
            while left and (written := self._stream.write(left)):
                self._is_torn = written < len(left)
                left = left[written:]
        except (OSError, ValueError):  # ValueError: it was closed
            pass  # counted below
        if left:
            self.dropped += min(bytes(left).count(b"\n"), lines.count(b"\n"))


class _Queue:
    """Lines on their way to a thread that writes them."""

    def __init__(self, raw: _Raw) -> None:
        self._raw = raw
        # Reentrant: a task that is collected in the middle of a line has something to log, too.
        self._lock = threading.RLock()
        self._lines: deque[bytes] = deque()
        self._held = 0
        self._refused = 0
        self._news = threading.Semaphore(0)
        self._is_idle = True
        self._is_written = threading.Event()
        self._is_written.set()
        threading.Thread(target=self._run, name="stderr", daemon=True).start()

    @property
    def dropped(self) -> int:
        """Lines that did not fit, or were not written."""
        return self._refused + self._raw.dropped

    def write(self, line: bytes) -> None:
        """Take a line, if there is room."""
        size = len(line)
        with self._lock:
            if self._held + size > MOST_HELD:
                self._refused += 1
                return
            self._held += size
            self._lines.append(line)
            if not self._is_idle:
                return
            self._is_idle = False
            self._is_written.clear()
        self._news.release()

    def flush(self, seconds: float) -> None:
        """Wait until all lines are written, at most so long."""
        self._is_written.wait(seconds)

    def _run(self) -> None:
        while True:
            self._news.acquire()
            while lines := self._next():
                self._raw.write(lines)

    def _next(self) -> bytes:
        with self._lock:
            taken: list[bytes] = []
            size = 0
            while self._lines and (not taken or size + len(self._lines[0]) <= _AT_ONCE):
                taken.append(self._lines.popleft())
                size += len(taken[-1])
            self._held -= size
            if not taken:
                self._is_idle = True
                self._is_written.set()
        return b"".join(taken)


class LineQueue:
    """A stream that takes whole lines."""

    def __init__(self, stream: TextIO | None) -> None:
        """``stream`` None: the process was started without a standard error."""
        self._stream = stream
        buffer = getattr(stream, "buffer", None)
        self._outlet = None if buffer is None else _outlet(getattr(buffer, "raw", buffer))

    def write(self, line: str) -> None:
        """Write a line, or drop it."""
        self.put(line.encode(errors="backslashreplace"))

    def put(self, line: bytes) -> None:
        """Write a line, or drop it."""
        if self._outlet is not None:
            self._outlet.write(line)

    def flush(self) -> None:
        """Do nothing: logging never waits."""

    def isatty(self) -> bool:
        """Say whether people read along."""
        return self._stream is not None and self._stream.isatty()


_outlets: dict[int, tuple[Any, _Raw | _Queue]] = {}
"""By identity of the stream: all writers to one share its queue, and the state of its last line."""


def _outlet(stream: Any) -> _Raw | _Queue:
    known = _outlets.get(id(stream))
    if known is None:
        raw = _Raw(stream)
        known = _outlets[id(stream)] = stream, _Queue(raw) if _may_wait(stream) else raw
    return known[1]


def _may_wait(stream: Any) -> bool:
    try:
        return not stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, io.UnsupportedOperation):
        return False


def dropped() -> int:
    """Return how many lines of this process were dropped."""
    return sum(outlet.dropped for _, outlet in _outlets.values())


def flush(seconds: float = _LAST_WORDS) -> None:
    """Wait until the logged lines are written, at most ``seconds``."""
    deadline = time.monotonic() + seconds
    for _, outlet in tuple(_outlets.values()):
        if isinstance(outlet, _Queue):
            outlet.flush(max(0, deadline - time.monotonic()))


atexit.register(flush)
