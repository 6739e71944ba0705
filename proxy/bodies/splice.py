"""Bytes from socket to socket through a pipe, inside the kernel (splice(2)).

This module knows file descriptors and the event loop, not HTTP. Nothing here blocks and nothing needs a
thread: a splice runs as far as the sockets go, and then waits for the slower one.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import errno
import fcntl
import os
import resource
import socket
from collections.abc import Callable
from typing import Final

PIPE_SIZE: Final = 2**20
"""Bytes asked for each pipe; the kernel may grant less."""
_TURN: Final = 2**20
"""Bytes that one stream moves before the others have their turn."""
_MOST_PIPES: Final = 1024
# A spliced stream has a pipe and a duplicate of each socket open: four descriptors beside its two sockets.
_PIPES_PER_DESCRIPTOR: Final = 1 / 16
_KEPT_PIPES: Final = 64
_F_SETPIPE_SZ: Final = 1031
_F_GETPIPE_SZ: Final = 1032


class SourceEndedError(ConnectionError):
    """The source ended before all that was announced had come; ``missing`` bytes did not."""

    def __init__(self, missing: int) -> None:
        super().__init__(f"the connection ended {missing} bytes before the end of the body")
        self.missing = missing


class Pipe:
    """A pipe, and how many bytes are in it."""

    __slots__ = ("held", "read_end", "size", "write_end")

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        with contextlib.suppress(OSError):  # over the user's share: a small pipe works as well, in more calls
            fcntl.fcntl(self.write_end, _F_SETPIPE_SZ, PIPE_SIZE)
        self.size: int = fcntl.fcntl(self.write_end, _F_GETPIPE_SZ)
        self.held = 0

    def close(self) -> None:
        """Close both ends; its content is gone."""
        os.close(self.read_end)
        os.close(self.write_end)


class Pipes:
    """Pipes on loan. There are never more than ``most``; some are kept for the next stream."""

    __slots__ = ("_idle", "_lent", "most")

    def __init__(self, most: int | None = None) -> None:
        """``most``: None for as many as the process's limit of open files allows."""
        if most is None:
            soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            room = _MOST_PIPES if soft == resource.RLIM_INFINITY else int(soft * _PIPES_PER_DESCRIPTOR)
            most = min(room, _MOST_PIPES)
        self.most = most
        self._lent = 0
        self._idle: list[Pipe] = []

    def take(self) -> Pipe | None:
        """Return an empty pipe; None when all are in use or the process may open no more files."""
        if self._lent >= self.most:
            return None
        try:
            pipe = self._idle.pop() if self._idle else Pipe()
        except OSError:
            return None
        self._lent += 1
        return pipe

    def give(self, pipe: Pipe) -> None:
        """Take a pipe back; a pipe that is not empty belongs to a broken stream, and is closed."""
        self._lent -= 1
        if pipe.held or len(self._idle) >= _KEPT_PIPES:
            pipe.close()
        else:
            self._idle.append(pipe)

    def close(self) -> None:
        """Close the unused pipes, and keep none from now on."""
        self.most = 0
        while self._idle:
            self._idle.pop().close()


class Mover(abc.ABC):
    """Moves an announced number of bytes from one socket to another, as far as they go at a time.

    Attributes:
        remaining: bytes that were not taken from the source yet.
    """

    __slots__ = (
        "_await_sink",
        "_await_source",
        "_done",
        "_loop",
        "_reads",
        "_sink",
        "_source",
        "_writes",
        "remaining",
    )

    def __init__(
        self,
        source: socket.socket,
        sink: socket.socket,
        size: int,
        *,
        await_source: Callable[[], None],
        await_sink: Callable[[], None],
    ) -> None:
        """Prepare to move ``size`` bytes.

        Nothing else in the event loop uses the sockets: they are duplicates of a transport's.
        ``await_source`` and ``await_sink`` are called whenever something moved, before that side is waited
        for.
        """
        self._source = source.fileno()
        self._sink = sink.fileno()
        self.remaining = size
        self._await_source = await_source
        self._await_sink = await_sink
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._reads = self._writes = False

    async def run(self) -> None:
        """Move the bytes; on the way out, the loop watches neither socket any more.

        Raises:
            SourceEndedError: the source ended early.
            OSError: either socket failed.
        """
        try:
            self._turn()
            await self._done
        finally:
            self._watch(reads=False, writes=False)

    def _turn(self) -> None:
        """Go on as far as it goes; called by the loop whenever the socket that was waited for is ready."""
        try:
            if self._done.done():
                return
            self._move()
        except OSError as error:
            self._done.set_exception(error)

    @abc.abstractmethod
    def _move(self) -> None:
        """Move the bytes that can be moved now; at the end ``_done`` is set or one of the sockets is watched."""

    def _watch(self, *, reads: bool, writes: bool) -> None:
        if self._reads and not reads:
            self._loop.remove_reader(self._source)
        if self._writes and not writes:
            self._loop.remove_writer(self._sink)
        if reads and not self._reads:
            self._loop.add_reader(self._source, self._turn)
        if writes and not self._writes:
            self._loop.add_writer(self._sink, self._turn)
        self._reads, self._writes = reads, writes


class Splice(Mover):
    """Moves bytes through a pipe; they stay in the kernel."""

    __slots__ = ("_pipe",)

    def __init__(
        self,
        source: socket.socket,
        sink: socket.socket,
        size: int,
        pipe: Pipe,
        *,
        await_source: Callable[[], None],
        await_sink: Callable[[], None],
    ) -> None:
        super().__init__(source, sink, size, await_source=await_source, await_sink=await_sink)
        self._pipe = pipe

    def _move(self) -> None:
        pipe = self._pipe
        turn = _TURN
        while True:
            if pipe.held and not self._drain():
                return
            if not self.remaining:
                self._done.set_result(None)
                return
            if turn <= 0:
                self._await_source()
                self._watch(reads=True, writes=False)
                return
            try:
                moved = os.splice(
                    self._source, pipe.write_end, min(self.remaining, pipe.size), flags=os.SPLICE_F_NONBLOCK
                )
            except BlockingIOError:
                if turn != _TURN or not self._reads:
                    self._await_source()
                self._watch(reads=True, writes=False)
                return
            if not moved:
                raise SourceEndedError(self.remaining)
            self.remaining -= moved
            pipe.held += moved
            turn -= moved

    def _drain(self) -> bool:
        """Empty the pipe into the sink; False when the sink takes no more for now."""
        pipe = self._pipe
        before = pipe.held
        with contextlib.suppress(BlockingIOError):
            while pipe.held:
                pipe.held -= os.splice(pipe.read_end, self._sink, pipe.held, flags=os.SPLICE_F_NONBLOCK)
        if not pipe.held:
            return True
        if pipe.held != before or not self._writes:
            self._await_sink()
        self._watch(reads=False, writes=True)
        return False


def obstacle() -> str | None:
    """Say why nothing can be spliced here; None when a byte went through a socket, a pipe and a socket."""
    if not hasattr(os, "splice"):
        return "this platform has no splice(2)"
    if not isinstance(asyncio.get_running_loop(), asyncio.SelectorEventLoop):
        return "the event loop is not a selector loop"
    with contextlib.ExitStack() as stack:
        pairs = [stack.enter_context(one) for _ in range(2) for one in socket.socketpair()]
        try:
            pipe = Pipe()
            stack.callback(pipe.close)
            pairs[0].send(b"x")
            os.splice(pairs[1].fileno(), pipe.write_end, 1, flags=os.SPLICE_F_NONBLOCK)
            os.splice(pipe.read_end, pairs[2].fileno(), 1, flags=os.SPLICE_F_NONBLOCK)
            pairs[3].setblocking(False)  # noqa: FBT003 - the socket module's own
            arrived = pairs[3].recv(2) == b"x"
        except OSError as error:
            return f"the kernel refuses to splice: {errno.errorcode.get(error.errno or 0, error)}"
    return None if arrived else "the kernel does not splice between sockets"
