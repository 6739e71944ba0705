"""What another program is told and what it answers: bounded in bytes and in time, whatever it does."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO, Final

MAX_BYTES: Final = 1024 * 1024
"""Of an answer, and of what is said beside it."""

_PIECE: Final = 64 * 1024


class ConversationError(Exception):
    """The program was ended: it said too much, or took too long."""


@dataclass(frozen=True, slots=True)
class ProgramAnswer:
    """What a program said, and the status that it ended with."""

    returncode: int
    stdout: bytes = field(repr=False)
    stderr: bytes = field(repr=False)


def converse(command: Sequence[str], told: bytes, *, seconds: float) -> ProgramAnswer:
    """Return what ``command`` answers to ``told``, which it gets on its standard input.

    Raises:
        ConversationError: it says more than ``MAX_BYTES``, or is not through after so many ``seconds``.
        OSError: it cannot be run.
    """
    process = subprocess.Popen(  # noqa: S603 - the caller vouches for its name
        command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    until = time.monotonic() + seconds
    try:
        stdout, stderr = _exchanged(process, told, until, seconds)
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


def _exchanged(process: subprocess.Popen[bytes], told: bytes, until: float, seconds: float) -> tuple[bytes, bytes]:
    stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
    if stdin is None or stdout is None or stderr is None:
        raise TypeError("all three are pipes")
    heard = {stdout: bytearray(), stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        os.set_blocking(stdin.fileno(), False)
        selector.register(stdin, selectors.EVENT_WRITE)
        for pipe in heard:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(until - time.monotonic(), 0))
            if time.monotonic() >= until:
                raise _late(seconds)
            for key, _ in ready:
                if key.fileobj is stdin:
                    told = _tell(stdin, told)
                    is_over = not told
                else:
                    is_over = not _hear(key.fd, heard[stdout if key.fileobj is stdout else stderr])
                if is_over:
                    selector.unregister(key.fileobj)
                if is_over and key.fileobj is stdin:
                    _close(stdin)
    return bytes(heard[stdout]), bytes(heard[stderr])


def _tell(pipe: IO[bytes], told: bytes) -> bytes:
    """Return what is still to be told."""
    try:
        return told[os.write(pipe.fileno(), told[:_PIECE]) :] if told else b""
    except BlockingIOError:
        return told
    except BrokenPipeError:  # it wants to hear no more, and may answer all the same
        return b""


def _hear(descriptor: int, heard: bytearray) -> bool:
    """Take what there is; return whether there may be more."""
    piece = os.read(descriptor, _PIECE)
    heard += piece
    if len(heard) > MAX_BYTES:
        raise ConversationError(f"it printed more than {MAX_BYTES} bytes")
    return bool(piece)


def _close(pipe: IO[bytes]) -> None:
    try:
        pipe.close()
    except BrokenPipeError:
        return


def _late(seconds: float) -> ConversationError:
    return ConversationError(f"it took more than {seconds:g} seconds")
