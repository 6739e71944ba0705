"""Notices when an event loop stands still: one callback that keeps it for more than 100 ms.

What counts is the time for which the callback kept the loop by its own doing: processor time of the loop's
thread, and time in which it slept in a blocking call (a file, a socket, a lock, another thread that holds the
interpreter). Time for which it was ready to run and the machine had no processor for it does not count.

Processor time is exact, taken around each callback. A second thread looks at the loop's thread 50 times a
second; it adds up the sleep, as the kernel counts it, and remembers the stack. Where the machine is so busy
that this thread is late, a look counts for two intervals at most: sleep is rather missed than made up.
"""

import asyncio
import faulthandler
import gc
import itertools
import json
import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

LIMIT = 0.1
"""Seconds."""
_INTERVAL = 0.02
_STACKS = 3
_STACKS_AFTER = LIMIT / 4
_STARTING = "in _execute_child"
_LONGEST_START = 5 * LIMIT
_ROOT = Path(__file__).parents[3]
_TESTS = f"{_ROOT / 'tests'}{os.sep}"
_OURS = tuple(f"{_ROOT / package}{os.sep}" for package in ("proxy", "twodfs"))


@dataclass(frozen=True, slots=True)
class Stall:
    """A callback that kept the loop too long; times in seconds."""

    callback: str
    processor: float
    asleep: float
    elapsed: float
    stack: str
    """Where it was when it was last looked at, innermost last; empty where nobody looked in time."""

    def __str__(self) -> str:
        stood = f"{self.processor + self.asleep:.3f} s"
        parts = f"{self.processor:.3f} s at work, {self.asleep:.3f} s asleep; {self.elapsed:.3f} s went by"
        return f"the loop stood for {stood} ({parts}) in {self.callback}\n{self.stack}"

    def is_ours(self) -> bool:
        """Whether it is the proxy's work and not that of a test, where both share a loop."""
        return any(one in self.stack for one in _OURS) and _TESTS not in self.stack


@dataclass(frozen=True, slots=True)
class _State:
    """What the kernel has counted for the loop's thread so far, in seconds."""

    at: float
    worked: float
    delayed: float
    """It was ready to run and had no processor; told when it has one again."""
    others: float
    """Processor time of the process' other threads."""

    def asleep_since(self, before: "_State") -> float:
        """Return for how long the thread slept, as far as this can be told from a want of processors.

        It is less than nothing where the delay of earlier looks becomes known. A look that comes late may
        mean that the whole process had no processor; or that another thread held the interpreter, which
        then has worked.
        """
        slept = self.at - before.at - (self.worked - before.worked) - (self.delayed - before.delayed)
        return min(slept, max(2 * _INTERVAL, self.others - before.others))


@dataclass(slots=True)
class _Turn:
    """The callback that runs now, as it was seen so far."""

    began: float
    asleep: float = 0.0
    stacks: tuple[str, ...] = ()

    @property
    def is_starting_a_program(self) -> bool:
        """Whether it was last seen as it began a process, which holds it until that runs its program (vfork).

        For that the machine must have a processor for the other process.
        """
        return bool(self.stacks) and _STARTING in self.stacks[-1].rpartition("\n")[2]

    def see(self, before: _State, now: _State) -> None:
        """Take in what the kernel counted between two looks; the first of them may be older than the turn."""
        self.asleep += min(now.asleep_since(before), now.at - self.began)


class Watchdog:
    """Watches the callbacks of the thread that makes it; `report` gets each stall, in that thread.

    `collects`: whether the work of the garbage collector counts. `serves`: whether only that counts which
    begins after a server has begun to listen; nobody waits for a process before that.
    """

    def __init__(self, report: Callable[[Stall], None], *, collects: bool = True, serves: bool = False) -> None:
        self._report = report
        self._collects = collects
        self._since = math.inf if serves else 0.0
        self._thread = threading.get_ident()
        self._clock = time.pthread_getcpuclockid(self._thread)
        self._scheduled = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY)
        self._turn: _Turn | None = None
        self._collecting = 0.0
        self._collected = 0.0
        self._run: Callable[[asyncio.Handle], None] = asyncio.Handle._run
        self._start_serving: Callable[[asyncio.Server], None] = asyncio.Server._start_serving  # type: ignore[attr-defined]
        self._seeing = threading.Lock()
        self._seen = self._state()
        self._ended = threading.Event()
        self._looking = threading.Thread(target=self._look, name="loop watchdog", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        dog, run = self, self._run
        if not self._collects:
            gc.callbacks.append(self._on_collection)

        def watched(handle: asyncio.Handle) -> None:
            if threading.get_ident() == dog._thread:
                dog._watch(handle)
            else:
                run(handle)

        def listening(server: asyncio.Server) -> None:
            dog._since = min(dog._since, time.monotonic())
            dog._start_serving(server)

        asyncio.Handle._run = watched  # type: ignore[method-assign, assignment]
        asyncio.Server._start_serving = listening  # type: ignore[attr-defined]
        self._looking.start()

    def stop(self) -> None:
        asyncio.Handle._run = self._run  # type: ignore[method-assign, assignment]
        asyncio.Server._start_serving = self._start_serving  # type: ignore[attr-defined]
        if not self._collects:
            gc.callbacks.remove(self._on_collection)
        self._ended.set()
        self._looking.join()
        os.close(self._scheduled)

    def _watch(self, handle: asyncio.Handle) -> None:
        began, worked = time.monotonic(), time.thread_time()
        turn = self._turn = _Turn(began)
        self._collected = 0.0
        try:
            self._run(handle)
        finally:
            elapsed = time.monotonic() - began
            self._turn = None
            if elapsed > LIMIT and began > self._since:
                self._judge(handle, turn, time.thread_time() - worked - self._collected, elapsed)

    def _judge(self, handle: asyncio.Handle, turn: _Turn, processor: float, elapsed: float) -> None:
        with self._seeing:
            before, self._seen = self._seen, self._state()
            turn.see(before, self._seen)
        asleep = max(0.0, turn.asleep)
        if turn.is_starting_a_program and asleep < _LONGEST_START:
            asleep = 0.0
        if processor + asleep > LIMIT:
            self._report(Stall(repr(handle), processor, asleep, elapsed, "\n".join(dict.fromkeys(turn.stacks))))

    def _on_collection(self, phase: str, _: dict[str, int]) -> None:
        if threading.get_ident() == self._thread:
            if phase == "start":
                self._collecting = time.thread_time()
            else:
                self._collected += time.thread_time() - self._collecting

    def _look(self) -> None:
        while not self._ended.wait(_INTERVAL):
            with self._seeing:
                turn = self._turn
                before, self._seen = self._seen, self._state()
                if turn is not None and turn is self._turn:
                    turn.see(before, self._seen)
                    if self._seen.at - turn.began > _STACKS_AFTER:
                        turn.stacks = (*turn.stacks, self._stack())[-_STACKS:]

    def _state(self) -> _State:
        worked = time.clock_gettime(self._clock)
        delayed = int(os.pread(self._scheduled, 64, 0).split()[1]) / 1e9
        return _State(time.monotonic(), worked, delayed, time.process_time() - worked)

    def _stack(self) -> str:
        """Return where the loop's thread is, from the loop's callback inwards.

        The interpreter itself writes it down: now and then Python 3.11 crashes where another thread looks at the frames
        of a thread that runs.
        """
        with open(os.memfd_create("stacks"), "w+b") as file:  # noqa: PTH123 - it has no path
            faulthandler.dump_traceback(file, all_threads=True)
            file.seek(0)
            threads = file.read().decode(errors="replace").split("\n\n")
        own = next((one for one in threads if f"0x{self._thread:016x}" in one.partition("\n")[0]), "")
        inwards = itertools.takewhile(lambda line: not line.endswith(" in _watch"), own.splitlines()[1:])
        return "\n".join(reversed(list(inwards)))


def watch_process(directory: str) -> None:
    """Watch this process' main thread, once it serves; stalls go to a file of its own in the directory."""
    file = Path(directory) / f"{os.getpid()}.jsonl"

    def report(stall: Stall) -> None:
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(asdict(stall)) + "\n")

    Watchdog(report, serves=True).start()


class Reports:
    """What processes with this directory have reported."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._read: dict[Path, int] = {}

    def read(self) -> list[Stall]:
        """Return what is new since the last time."""
        found = []
        for file in sorted(self._directory.glob("*.jsonl")):
            complete = file.read_bytes().splitlines(keepends=True)[self._read.get(file, 0) :]
            new = [line for line in complete if line.endswith(b"\n")]
            self._read[file] = self._read.get(file, 0) + len(new)
            found += [Stall(**json.loads(line)) for line in new]
        return found
