"""Files into sockets: all of a part, whether it is in memory or not, and nothing behind it."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.bodies import sendfile
from proxy.bodies.sendfile import SendFile, is_at_hand
from proxy.bodies.splice import SourceEndedError

_MIB = 2**20
_CONTENT = os.urandom(3 * _MIB + 5)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "content").write_bytes(_CONTENT)
    descriptor = os.open(tmp_path / "content", os.O_RDWR)
    yield descriptor
    os.close(descriptor)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def received(file: int, part: range) -> bytes:
    ours, theirs = socket.socketpair()
    ours.settimeout(0)
    reader, writer = await asyncio.open_connection(sock=theirs, limit=_MIB)
    with contextlib.closing(ours), contextlib.closing(writer):
        moving = SendFile(file, part, ours, await_sink=lambda: None)
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            read = tasks.create_task(reader.readexactly(len(part)))
            await moving.run()
        assert moving.remaining == 0
        ours.close()
        assert await reader.read() == b""
        return read.result()


@pytest.mark.parametrize(
    "part", [range(len(_CONTENT)), range(5), range(1, 2 * _MIB), range(len(_CONTENT) - 1, len(_CONTENT))]
)
async def test_a_part_is_sent_and_nothing_behind_it(file: int, part: range) -> None:
    assert await received(file, part) == _CONTENT[part.start : part.stop]


async def test_a_file_that_is_not_in_memory_is_read_by_a_thread(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[int] = []
    read = sendfile._read

    def noting(file: int, offset: int, size: int) -> None:
        loaded.append(offset)
        read(file, offset, size)

    monkeypatch.setattr(sendfile, "_read", noting)
    os.fsync(file)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    if is_at_hand(file, len(_CONTENT) - 1):
        pytest.skip("this file system keeps what it is told to drop")
    assert await received(file, range(len(_CONTENT))) == _CONTENT
    assert loaded
    assert is_at_hand(file, len(_CONTENT) - 1)


async def test_a_file_that_is_shorter_than_its_part_is_an_error(file: int) -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(0)
    with contextlib.closing(ours), contextlib.closing(theirs):
        os.ftruncate(file, 3)
        with pytest.raises(SourceEndedError):
            await SendFile(file, range(10), ours, await_sink=lambda: None).run()


async def test_a_sender_that_is_cancelled_while_the_disk_reads_leaves_no_descriptor(
    file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sendfile, "is_at_hand", lambda *_: False)
    ours, theirs = socket.socketpair()
    ours.settimeout(0)
    before = open_files()
    with contextlib.closing(ours), contextlib.closing(theirs):
        sending = asyncio.ensure_future(SendFile(file, range(_MIB), ours, await_sink=lambda: None).run())
        await asyncio.sleep(0)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await asyncio.get_running_loop().shutdown_default_executor()
        assert open_files() == before
