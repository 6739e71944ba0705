"""A few threads for work on files that may wait for a disk."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Final, Self, TypeVar

T = TypeVar("T")

BUFFER: Final = 256 * 1024
"""Bytes of each thread's buffer; what is read into it, hashed and written stays in the processor's cache."""
_MOST: Final = 4


class Threads:
    """Threads, each with a buffer of its own; open for the time of a context.

    What was begun is waited for, also by those who are cancelled: descriptors may be closed afterwards.
    """

    def __init__(self, name: str, most: int = _MOST) -> None:
        """``most`` threads, called ``name``; they begin when they are needed."""
        self._executor = ThreadPoolExecutor(most, name)
        self._of_thread = threading.local()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Wait for the work under way, and end the threads."""
        self._executor.shutdown()

    async def run(self, work: Callable[[], T]) -> T:
        """Return the result of ``work``, done in one of the threads; raises what it raises."""
        future = asyncio.get_running_loop().run_in_executor(self._executor, work)
        cancelled: asyncio.CancelledError | None = None
        while not future.done():
            try:
                await asyncio.wait((future,))
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            future.exception()  # it is lost, and is not to be complained about
            raise cancelled
        return future.result()

    def buffer(self) -> memoryview:
        """Return the calling thread's buffer; its content is good until the work is over."""
        found: memoryview | None = getattr(self._of_thread, "buffer", None)
        if found is None:
            found = self._of_thread.buffer = memoryview(bytearray(BUFFER))
        return found
