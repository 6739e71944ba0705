"""Work that is done in a process of its own: foreign documents that would hold the interpreter for long.

Such a process has no credentials in its environment and the lowest priority, and gives its memory back by
ending. A process killed from outside says nothing about its document.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from typing import Final

from proxy.confinement.confined import OUT_OF_MEMORY
from twodfs.errors import FormatError

# No credentials among them: a document that takes over its parser finds none.
_ENVIRONMENT: Final = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
# How the parser below Python ends where it gets no memory.
_NO_MEMORY: Final = (-signal.SIGABRT, -signal.SIGSEGV, OUT_OF_MEMORY)


class EndedError(Exception):
    """A process of ours was ended from outside, or could not begin: the document remains unjudged."""


class CostlyError(FormatError):
    """A document takes more time or memory than it may; with more of either it might not."""


@contextlib.asynccontextmanager
async def started(
    module: str, arguments: Iterable[object], descriptors: tuple[int, ...] = (), *, talks: bool = False
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run ``python -m module`` for the time of the context; it is ended where the context ends before it.

    Args:
        module: its name.
        arguments: on its command line.
        descriptors: of files that it inherits.
        talks: whether it is sent something on its standard input.

    Raises:
        EndedError: there is no room for a process more.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            *map(str, arguments),
            stdin=asyncio.subprocess.PIPE if talks else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=descriptors,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        )
    except OSError as error:
        raise EndedError(f"no process could be started to read it: {error.strerror}; try again") from None
    try:
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if process.stdin is not None:
            process.stdin.close()


def explain(returncode: int, what: str, memory: int) -> Exception:
    """Return the error of a process that read ``what`` and ended with ``returncode`` instead of an answer.

    ``memory``: the bytes that it allowed itself.
    """
    if returncode in _NO_MEMORY:
        return CostlyError(f"{what} takes more than {memory} bytes of memory to parse")
    if returncode < 0:
        with contextlib.suppress(ValueError):
            name = signal.Signals(-returncode).name
            hint = "; the machine may be short of memory" if returncode == -signal.SIGKILL else ""
            return EndedError(f"the process that read {what} was ended by {name}{hint}; try again")
    return RuntimeError(f"the process that read {what} ended with status {returncode}")
