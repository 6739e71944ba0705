import asyncio
import errno
import os
import socket
from collections.abc import Iterator

import pytest

from proxy.bodies import splice
from proxy.bodies.splice import Pipe, Pipes, SourceEndedError, Splice

MIB = 2**20
CONTENT = os.urandom(3 * MIB)
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pairs() -> Iterator[tuple[Pair, Pair]]:
    opened = socket.socketpair(), socket.socketpair()
    for one in (*opened[0], *opened[1]):
        one.settimeout(0)
    yield opened
    for one in (*opened[0], *opened[1]):
        one.close()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


def splicing(pairs: tuple[Pair, Pair], pipe: Pipe, size: int, waits: list[str] | None = None) -> Splice:
    said = waits if waits is not None else []
    return Splice(
        pairs[0][1],
        pairs[1][0],
        size,
        pipe,
        await_source=lambda: said.append("source"),
        await_sink=lambda: said.append("sink"),
    )


async def test_all_bytes_arrive_in_order_however_slow_both_sides_are(pairs: tuple[Pair, Pair], pipe: Pipe) -> None:
    loop = asyncio.get_running_loop()
    waits: list[str] = []
    received = bytearray()

    async def read() -> None:
        await asyncio.sleep(0.05)  # both socket buffers are full by now
        while len(received) < len(CONTENT):
            received.extend(await loop.sock_recv(pairs[1][1], 100_000))

    moving = splicing(pairs, pipe, len(CONTENT), waits)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(moving.run())
        tasks.create_task(loop.sock_sendall(pairs[0][0], CONTENT))
        tasks.create_task(read())
    assert received == CONTENT
    assert not moving.remaining
    assert not pipe.held
    assert set(waits) == {"source", "sink"}


async def test_what_follows_the_announced_bytes_stays_in_the_source(pairs: tuple[Pair, Pair], pipe: Pipe) -> None:
    pairs[0][0].send(b"bodynext")
    await splicing(pairs, pipe, 4).run()
    assert pairs[1][1].recv(100) == b"body"
    assert pairs[0][1].recv(100) == b"next"


async def test_a_source_that_ends_early_says_how_much_is_missing(pairs: tuple[Pair, Pair], pipe: Pipe) -> None:
    pairs[0][0].send(b"half")
    pairs[0][0].close()
    with pytest.raises(SourceEndedError, match="4 bytes before") as caught:
        await splicing(pairs, pipe, 8).run()
    assert caught.value.missing == 4
    assert pairs[1][1].recv(100) == b"half"


async def test_a_sink_that_is_gone_is_an_error(pairs: tuple[Pair, Pair], pipe: Pipe) -> None:
    pairs[1][1].close()
    pairs[0][0].send(b"body")
    with pytest.raises(OSError, match="Broken pipe"):
        await splicing(pairs, pipe, 4).run()
    assert pipe.held == 4


async def test_a_cancelled_splice_leaves_nothing_watched(pairs: tuple[Pair, Pair], pipe: Pipe) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(splicing(pairs, pipe, 4).run(), 0.05)
    assert not asyncio.get_running_loop().remove_reader(pairs[0][1])


def test_pipes_are_bounded_and_used_again() -> None:
    pipes = Pipes(2)
    first, second = pipes.take(), pipes.take()
    assert first is not None
    assert second is not None
    assert pipes.take() is None
    pipes.give(first)
    assert pipes.take() is first
    pipes.give(first)
    pipes.give(second)
    pipes.close()
    assert pipes.take() is None


def test_a_pipe_with_something_in_it_is_not_used_again() -> None:
    pipes = Pipes(1)
    pipe = pipes.take()
    assert pipe is not None
    pipe.held = 1
    pipes.give(pipe)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(pipe.read_end)
    pipes.close()


def test_a_pipe_works_at_whatever_size_the_kernel_grants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splice, "PIPE_SIZE", 2**40)
    pipe = Pipe()
    assert 0 < pipe.size < 2**40
    pipe.close()


async def test_this_platform_can_splice() -> None:
    assert splice.obstacle() is None


async def test_a_platform_without_splice_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "splice")
    assert splice.obstacle() == "this platform has no splice(2)"


async def test_a_kernel_that_refuses_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.EPERM, "not here")

    monkeypatch.setattr(os, "splice", refuse)
    assert splice.obstacle() == "the kernel refuses to splice: EPERM"
