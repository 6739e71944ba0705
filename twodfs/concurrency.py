"""Many jobs in threads, a bounded number at a time; the first failure ends all.

A thread cannot be cancelled, so each job has a ``ThreadScope`` that tells when its result is no longer
wanted: long work calls ``check`` now and then, and a wait says with ``on_stop`` how it is woken up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar, cast

T = TypeVar("T")
U = TypeVar("U")

LEAVE_SECONDS: Final = 5.0
"""How long stopping jobs are waited for. A job that looks up a name or reads a dead disk is left
behind; it ends with the process."""


_LOOK_SECONDS: Final = 0.2
"""How long an interrupt may go unseen that comes right as a wait begins: Python looks for one before it, and in it
only where the wait itself is interrupted."""


class Stopped(Exception):  # noqa: N818 - no error, and never seen outside
    """Ends a job whose result is no longer wanted."""


class ThreadScope:
    """Whether its job's result is still wanted."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._changing = threading.Lock()
        self._wakers: set[Callable[[], None]] = set()

    def check(self) -> None:
        """Raise ``Stopped`` once the result is no longer wanted."""
        if self._stopped.is_set():
            raise Stopped

    def stop(self) -> None:
        """Let ``check`` raise from now on, and wake the waiting calls."""
        with self._changing:
            self._stopped.set()
            wakers = list(self._wakers)
        for wake in wakers:
            wake()

    def sleep(self, seconds: float) -> None:
        """Wait so many seconds; raises ``Stopped`` when that comes first."""
        self._stopped.wait(seconds)
        self.check()

    @contextmanager
    def on_stop(self, wake: Callable[[], None]) -> Iterator[None]:
        """Call ``wake``, from another thread, when the scope is stopped within the block.

        Raises:
            Stopped: it was stopped before.
        """
        with self._changing:
            self.check()
            self._wakers.add(wake)
        try:
            yield
        finally:
            with self._changing:
                self._wakers.discard(wake)


_EVERYTHING: Final = ThreadScope()
_here = threading.local()


def scope() -> ThreadScope:
    """Return the scope that the calling code runs in."""
    return cast("ThreadScope", getattr(_here, "scope", _EVERYTHING))


def concurrently(jobs: Iterable[Callable[[], T]], *, limit: int) -> list[T]:
    """Return the results of ``jobs``, in their order, having run at most ``limit`` at a time.

    Jobs are taken one by one, as there is room for them: a million of them wait in no queue.

    Raises:
        Exception: the first that a job raises, once the others are stopped.
    """
    waiting = enumerate(jobs)
    taking = threading.Lock()
    results: dict[int, T] = {}

    def take() -> tuple[int, Callable[[], T]] | None:
        with taking:
            return next(waiting, None)

    def work() -> None:
        while (taken := take()) is not None:
            at, job = taken
            scope().check()
            results[at] = job()

    workers = min(limit, len(jobs)) if isinstance(jobs, Sequence) else limit
    _run([work] * workers)
    return [results[at] for at in range(len(results))]


def both(one: Callable[[], T], other: Callable[[], U]) -> tuple[T, U]:
    """Return the results of ``one`` and ``other``, run at the same time, ``one`` the first to begin.

    Raises:
        Exception: the first that either raises, once the other is stopped.
    """
    firsts: list[T] = []
    seconds: list[U] = []
    _run([lambda: firsts.append(one()), lambda: seconds.append(other())])
    return firsts[0], seconds[0]


def _run(works: Sequence[Callable[[], None]]) -> None:
    """Run ``works`` in a thread each, or in this one when there is but one."""
    if len(works) <= 1:
        for work in works:
            work()
        return
    outer, inner = scope(), ThreadScope()
    failures: list[BaseException] = []
    done = threading.Semaphore(0)

    def run(work: Callable[[], None]) -> None:
        _here.scope = inner
        try:
            work()
        except Stopped:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again by the waiting thread
            failures.append(error)
            inner.stop()
        finally:
            done.release()

    started = 0
    with outer.on_stop(inner.stop):
        try:
            for work in works:
                threading.Thread(target=run, args=(work,), daemon=True).start()
                started += 1
            while started and not failures:
                started -= done.acquire(timeout=_LOOK_SECONDS)
        finally:
            if started:
                inner.stop()
                _leave(done, started)
    if failures:
        raise failures[0]
    outer.check()


def _leave(done: threading.Semaphore, running: int) -> None:
    until = time.monotonic() + LEAVE_SECONDS
    for _ in range(running):
        if not done.acquire(timeout=max(until - time.monotonic(), 0)):
            return
