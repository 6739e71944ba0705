"""Time, processor time and memory of a span: of programs that it starts, and of servers that work for it."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from benchmarks.peers import process_seconds

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGESIZE")
_INTERVAL: Final = 0.02
"""Seconds between two looks at the memory: often enough for the quickest build, and 2 % of a processor."""


class Meter:
    """``with Meter(servers) as used: ...``; afterwards ``used.seconds``, ``used.cpu_seconds``, ``used.peak_bytes``.

    Counted are the processes that this one starts within the span and waits for, with theirs, and each server with
    all processes below it. Memory is the most that they had resident together whenever it was looked at.
    """

    def __init__(self, servers: Iterable[int] = (), *, programs: bool = True) -> None:
        """Prepare a span.

        Args:
            servers: processes that run already, and work in this span for nobody else.
            programs: whether processes that are started within the span count.
        """
        self._servers = tuple(servers)
        self._counts_programs = programs
        self._older: set[int] = set()
        self._ended = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self.seconds = 0.0
        self.cpu_seconds = 0.0
        self.peak_bytes = 0

    def __enter__(self) -> Self:
        self._older = set(_children(os.getpid()))
        self.cpu_seconds = -self._used()
        self._sampler.start()
        self.seconds = -time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds += time.perf_counter()
        self.cpu_seconds += self._used()
        self._ended.set()
        self._sampler.join()

    def _used(self) -> float:
        of_servers = sum(map(tree_seconds, self._servers))
        if not self._counts_programs:
            return of_servers
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        return of_servers + ended.ru_utime + ended.ru_stime

    def _sample(self) -> None:
        while True:
            roots = [*self._servers]
            if self._counts_programs:
                roots += (one for one in _children(os.getpid()) if one not in self._older and _has_begun(one))
            resident = sum(_resident(process) for root in roots for process in _tree(root))
            self.peak_bytes = max(self.peak_bytes, resident)
            if self._ended.wait(_INTERVAL):
                return


def tree_seconds(root: int) -> float:
    """Return the processor seconds, in user mode and in the kernel, of a process and all below it.

    Those that ended count where their parent waited for them.
    """
    used = 0.0
    for process in _tree(root):
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            # The clock of a process is finer than the ticks of stat, which alone has the time of those that ended.
            used += process_seconds(process) + sum(map(int, fields[13:15])) / _TICKS
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
    return used


def _tree(root: int) -> Iterable[int]:
    yield root
    for child in _children(root):
        yield from _tree(child)


def _children(process: int) -> Iterable[int]:
    try:
        threads = list(Path(f"/proc/{process}/task").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return  # it ended while we looked
    for thread in threads:
        try:
            yield from map(int, (thread / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread ended while we looked


def _has_begun(child: int) -> bool:
    """Return whether a child runs its program already: until then its memory is ours."""
    try:
        return Path(f"/proc/{child}/cmdline").read_bytes() != Path("/proc/self/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False  # it ended while we looked


def _resident(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * _PAGE
    except (FileNotFoundError, ProcessLookupError):
        return 0  # it ended while we looked
