"""A question to another program and its answer: bounded in bytes and in time by this side."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO, Final

MAX_BYTES: Final = 1024 * 1024
"""Of an answer, and of the errors beside it."""

_PIECE: Final = 64 * 1024


class ConversationError(Exception):
    """The program was ended: its output was too long, or it took too long."""


@dataclass(frozen=True, slots=True)
class ProgramAnswer:
    """The output of a program, and the status that it ended with."""

    returncode: int
    stdout: bytes = field(repr=False)
    stderr: bytes = field(repr=False)


def converse(command: Sequence[str], question: bytes, *, seconds: float) -> ProgramAnswer:
    """Return the answer of ``command`` to ``question``, which it gets on its standard input.

    Raises:
        ConversationError: it says more than ``MAX_BYTES``, or is not through after so many ``seconds``.
        OSError: it cannot be run.
    """
    process = subprocess.Popen(  # noqa: S603 - the caller vouches for its name
        command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    until = time.monotonic() + seconds
    try:
        stdout, stderr = _exchanged(process, question, until, seconds)
        try:
            status = process.wait(max(until - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            raise _late(seconds) from None
        return ProgramAnswer(status, stdout, stderr)
    finally:
        process.kill()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                _close(pipe)
        process.wait()


def _exchanged(process: subprocess.Popen[bytes], question: bytes, until: float, seconds: float) -> tuple[bytes, bytes]:
    stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
    if stdin is None or stdout is None or stderr is None:
        raise TypeError("all three are pipes")
    received = {stdout: bytearray(), stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        os.set_blocking(stdin.fileno(), False)
        selector.register(stdin, selectors.EVENT_WRITE)
        for pipe in received:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(until - time.monotonic(), 0))
            if time.monotonic() >= until:
                raise _late(seconds)
            for key, _ in ready:
                if key.fileobj is stdin:
                    question = _write(stdin, question)
                    is_over = not question
                else:
                    is_over = not _read(key.fd, received[stdout if key.fileobj is stdout else stderr])
                if is_over:
                    selector.unregister(key.fileobj)
                if is_over and key.fileobj is stdin:
                    _close(stdin)
    return bytes(received[stdout]), bytes(received[stderr])


def _write(pipe: IO[bytes], unsent: bytes) -> bytes:
    """Write some of ``unsent``, and return the rest."""
    try:
        return unsent[os.write(pipe.fileno(), unsent[:_PIECE]) :] if unsent else b""
    except BlockingIOError:
        return unsent
    except BrokenPipeError:  # it reads no further, and may answer all the same
        return b""


def _read(descriptor: int, received: bytearray) -> bool:
    """Read the available bytes; return whether there may be more."""
    piece = os.read(descriptor, _PIECE)
    received += piece
    if len(received) > MAX_BYTES:
        raise ConversationError(f"it printed more than {MAX_BYTES} bytes")
    return bool(piece)


def _close(pipe: IO[bytes]) -> None:
    try:
        pipe.close()
    except BrokenPipeError:
        return


def _late(seconds: float) -> ConversationError:
    return ConversationError(f"it took more than {seconds:g} seconds")
