"""What is in the file was hashed, whatever happens; attempts are bounded."""

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.edge.filling.written import DiskError, Patience, Repeated, UnlikeError, Written

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Written]:
    descriptor = os.open(tmp_path / "part", os.O_CREAT | os.O_RDWR)
    made = Written(descriptor)
    made.size = len(CONTENT)
    yield made
    os.close(descriptor)


def test_a_disk_that_takes_a_part_has_hashed_that_part(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite, room = os.pwrite, 1000

    def small(descriptor: int, piece: memoryview, at: int) -> int:
        if at >= room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(descriptor, piece[: room - at], at)

    monkeypatch.setattr(os, "pwrite", small)
    with pytest.raises(DiskError) as caught:
        written.write(memoryview(CONTENT))
    assert caught.value.is_full
    assert written.position == room
    assert written.hash.digest() == hashlib.sha256(CONTENT[:room]).digest()


def test_more_than_was_announced_is_not_written(written: Written) -> None:
    with pytest.raises(UnlikeError):
        written.write(memoryview(CONTENT + b"x"))
    assert written.position == 0


@pytest.mark.parametrize("pieces", [1, 7, 4096, len(CONTENT)])
def test_what_comes_again_is_compared_and_not_written(written: Written, pieces: int) -> None:
    written.write(memoryview(CONTENT[:5000]))
    repeated = Repeated(written)
    for at in range(0, len(CONTENT), pieces):
        repeated.take(memoryview(CONTENT[at : at + pieces]))
    assert written.hash.digest() == hashlib.sha256(CONTENT).digest()


@pytest.mark.parametrize("at", [0, 2500, 4999])
def test_what_comes_again_and_is_other_is_not_gone_on_with(written: Written, at: int) -> None:
    written.write(memoryview(CONTENT[:5000]))
    other = bytearray(CONTENT)
    other[at] ^= 1
    repeated = Repeated(written)
    with pytest.raises(UnlikeError):
        repeated.take(memoryview(other))
    assert written.position == 5000


def test_attempts_without_progress_are_few_and_its_pauses_grow() -> None:
    patience = Patience()
    pauses = [patience.after(0, has_moved=False) for _ in range(6)]
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.0, None]


def test_attempts_with_progress_are_bounded_too() -> None:
    patience = Patience()
    small = 0
    while patience.after(10 * 2**20, has_moved=True) is not None:
        small += 1
    assert small == 100
