"""Output of commands: results for programs; on standard error bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Final, TextIO

import orjson

from twodfs.oci.documents import Json
from twodfs.printable import LAYOUT, printable
from twodfs.progress import Advance, Progress, Silent, silent
from twodfs.sizes import size_text

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

_FRAME: Final = 0.1
"""Seconds between two drawings of bars that grow."""


@contextmanager
def open_progress(*, quiet: bool) -> Iterator[Progress]:
    """Yield a ``Progress`` that fits standard error."""
    if quiet:
        yield Silent()
    elif sys.stderr.isatty():
        with _bars() as bars:
            yield ProgressBars(bars)
    else:
        yield ProgressLines(sys.stderr)


class ProgressBars:
    """A bar for each step under way.

    Rich places one thread's output by its own last drawing, and lets other threads draw in between; a line is lost
    then. So one thread at a time draws here, and nothing draws by itself.
    """

    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars
        self._drawing = threading.Lock()
        self._drawn = 0.0

    @contextmanager
    def step(self, label: str, total: int | None = None) -> Iterator[Advance]:
        """Show a bar as long as the block runs."""
        with self._drawing:
            task = self._bars.add_task(printable(label), total=total)
            self._draw_when_due()

        def advance(size: int) -> None:
            with self._drawing:
                self._bars.advance(task, size)
                self._draw_when_due()

        try:
            yield advance
        finally:
            with self._drawing:
                self._bars.remove_task(task)
        self.note(_done(label, total))

    def _draw_when_due(self) -> None:
        now = time.monotonic()
        if now - self._drawn > _FRAME:
            self._drawn = now
            self._bars.refresh()

    def note(self, text: str) -> None:
        """Print ``text`` above the bars."""
        with self._drawing:
            self._bars.console.print(printable(text, kept=LAYOUT), markup=False)


class ProgressLines:
    """A line for each step that is done: for logs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._printing = threading.Lock()

    def step(self, label: str, total: int | None = None) -> AbstractContextManager[Advance]:
        """Print a line once the block is through."""
        return self._line_after(_done(label, total))

    @contextmanager
    def _line_after(self, text: str) -> Iterator[Advance]:
        yield silent
        self.note(text)

    def note(self, text: str) -> None:
        """Print ``text``."""
        with self._printing:
            print(printable(text, kept=LAYOUT), file=self._stream, flush=True)


def _bars() -> RichProgress:
    # Only a terminal waits for them to load.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True, highlight=False),
        auto_refresh=False,
        transient=True,
    )


def _done(label: str, total: int | None) -> str:
    return label if total is None else f"{label}  {size_text(total)}"


def ask(question: str, *, hidden: bool = False) -> str:
    """Return the user's input on the terminal; ``hidden`` shows nothing of it."""
    try:
        if hidden:
            import getpass  # noqa: PLC0415 - for logins alone

            return getpass.getpass(f"{question}: ", stream=sys.stderr)
        print(f"{question}: ", end="", file=sys.stderr, flush=True)
        return input()
    except EOFError:
        return ""


def print_json(content: Json) -> None:
    """Print ``content`` for programs; bytes in a file's name that are no UTF-8 become U+FFFD."""
    try:
        text = orjson.dumps(content, option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONEncodeError:
        written = json.dumps(content, indent=2, ensure_ascii=False)
        text = written.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    print(printable(text, kept=LAYOUT))


def say(line: str) -> None:
    """Print a line of a result for people."""
    print(printable(line))
