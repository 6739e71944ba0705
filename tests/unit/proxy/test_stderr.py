import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import pytest

from proxy import stderr
from proxy.stderr import LineQueue


@contextmanager
def pipe() -> Iterator[tuple[Any, TextIO]]:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as reader, os.fdopen(writing, "w") as stream:
        yield reader, stream


def test_lines_come_whole_and_in_their_order() -> None:
    with pipe() as (reader, stream):
        lines = LineQueue(stream)
        for number in range(500):
            lines.write(f"{number}\n")
            LineQueue(stream).write(f"{number}\n")  # whoever writes there shares the way
        stderr.flush(30)
        assert reader.read(65536) == b"".join(b"%d\n%d\n" % (number, number) for number in range(500))


def test_nobody_waits_for_a_reader_and_what_is_held_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stderr, "MOST_HELD", 2**20)
    before = stderr.dropped()
    with pipe() as (reader, stream):
        lines = LineQueue(stream)
        for _ in range(4096):  # 4 MiB: a pipe takes 64 KiB, and one line more is on its way
            lines.put(b"x" * 1023 + b"\n")
        dropped = stderr.dropped() - before
        assert 2900 < dropped < 3080
        stderr.flush(0.01)  # the time is up, and it is let go
        received = b""
        while received.count(b"\n") < 4096 - dropped:
            received += reader.read(65536)
        stderr.flush(30)
        assert stderr.dropped() - before == dropped
        lines.put(b"next\n")
        assert reader.read(65536) == b"next\n"


def test_lines_that_nobody_can_write_are_counted() -> None:
    before = stderr.dropped()
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        lines = LineQueue(full)
        lines.write("one\n")
        lines.write("two\n")
        stderr.flush(30)
    assert stderr.dropped() - before == 2


def test_a_file_has_its_line_at_once() -> None:
    stream = io.TextIOWrapper(io.BytesIO())
    LineQueue(stream).write("line\n")
    assert isinstance(stream.buffer, io.BytesIO)
    assert stream.buffer.getvalue() == b"line\n"


def test_a_process_without_standard_error_logs_nothing() -> None:
    LineQueue(None).write("line\n")
