"""A file on its way has one who fills it, and a length that is its own."""

import os
from pathlib import Path

import pytest

from proxy.edge.disk.directory import EdgeDirectory
from proxy.edge.filling.partial import Partial, claim, discard_unreadable, is_claimed
from proxy.repository import Repository
from twodfs.oci.digest import Digest, digest_of

DIGEST = digest_of(b"content")
LIB = Repository("", "lib")


@pytest.fixture
def directory(tmp_path: Path) -> EdgeDirectory:
    return EdgeDirectory.open(tmp_path)


def claimed(directory: EdgeDirectory, digest: Digest = DIGEST) -> tuple[Partial, bool]:
    found = claim(directory, digest)
    assert found is not None
    return found


def test_one_fills_it_and_others_follow(directory: EdgeDirectory) -> None:
    assert not is_claimed(directory, DIGEST)
    first, is_firsts = claimed(directory)
    second, is_seconds = claimed(directory)
    assert (is_firsts, is_seconds) == (True, False)
    assert is_claimed(directory, DIGEST)
    assert not second.lock()
    first.close()
    assert not is_claimed(directory, DIGEST)
    assert second.lock()
    second.close()


def test_a_file_that_was_replaced_before_it_was_locked_is_not_claimed(
    directory: EdgeDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between opening and locking, another process finishes it, or gives it up."""
    lock, names = Partial.lock, iter([True, False])

    def late(self: Partial) -> bool:
        if next(names):
            self.path.unlink()
        return lock(self)

    monkeypatch.setattr(Partial, "lock", late)
    partial, is_ours = claimed(directory)
    assert is_ours
    assert partial.is_in_place
    partial.close()


def test_a_blob_that_is_whole_is_not_claimed(directory: EdgeDirectory) -> None:
    directory.blob(DIGEST).write_bytes(b"content")
    assert claim(directory, DIGEST) is None
    assert list(directory.ingest.iterdir()) == []


def test_a_claim_that_fails_leaves_no_lock(directory: EdgeDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own process would follow itself for ever."""

    def refuse(_: Path) -> bool:
        raise PermissionError

    with monkeypatch.context() as patched:
        patched.setattr(Path, "exists", refuse)
        with pytest.raises(PermissionError):
            claim(directory, DIGEST)
    partial, is_ours = claimed(directory)
    assert is_ours
    partial.close()


def test_content_that_may_not_be_read_makes_room_for_content_that_may(
    directory: EdgeDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = directory.blob(DIGEST)
    blob.write_bytes(b"content")
    discard_unreadable(blob)
    assert blob.exists()

    def refuse(*_: object) -> int:
        raise PermissionError

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        discard_unreadable(blob)
    assert not blob.exists()
    discard_unreadable(blob)


def test_a_length_belongs_to_one_file(directory: EdgeDirectory) -> None:
    partial, _ = claimed(directory)
    assert partial.announced() is None
    partial.announce(7, LIB)
    assert partial.announced() == 7
    os.pwrite(partial.descriptor, b"contents", 0)
    assert partial.announced() is None  # it is longer than that
    os.ftruncate(partial.descriptor, 3)
    follower, _ = claimed(directory)
    assert follower.announced() == 7
    partial.path.rename(partial.path.with_name("aside"))  # its inode is not given away
    another, _ = claimed(directory)
    assert another.announced() is None
    for one in (partial, follower, another):
        one.close()


@pytest.mark.parametrize("facts", [b"", b"{", b"[]", b'{"size": "7", "inode": 1}', b'{"size": -1}', b"\xff"])
def test_a_damaged_length_is_none(directory: EdgeDirectory, facts: bytes) -> None:
    partial, _ = claimed(directory)
    partial.path.with_suffix(".json").write_bytes(facts)
    assert partial.announced() is None
    partial.close()


def test_who_follows_sees_the_end(directory: EdgeDirectory) -> None:
    partial, _ = claimed(directory)
    follower, _ = claimed(directory)
    partial.path.rename(partial.blob)
    assert follower.is_adopted
    assert not follower.is_in_place
    partial.remove()  # it is the blob's file now, and not removed
    assert partial.blob.exists()
    partial.blob.unlink()
    assert follower.is_removed
    partial.close()
    follower.close()
