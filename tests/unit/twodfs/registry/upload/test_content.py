"""Blobs on their way out: whole, and in parts that may end early."""

import os
from pathlib import Path
from typing import BinaryIO

import pytest

from twodfs.concurrency import Stopped
from twodfs.errors import DigestError, RegistryError
from twodfs.oci.digest import digest_of
from twodfs.oci.documents import OCI_LAYER, Descriptor
from twodfs.registry.upload.content import BlobPart, FileContent, PieceSize, Position, WholeBlob

CONTENT = os.urandom(700_000)
BLOB = Descriptor(OCI_LAYER, digest_of(CONTENT), len(CONTENT), {})


class Outlet:
    """Takes what is written."""

    def __init__(self) -> None:
        self.taken = bytearray()

    def write(self, content: bytes | memoryview, /) -> None:
        self.taken += content

    def write_file(self, file: BinaryIO, at: int, count: int, /) -> int:
        file.seek(at)
        content = file.read(count)
        self.taken += content
        return len(content)

    def unframed(self) -> tuple[bytes, bool]:
        """Return the bytes in the chunks that were written, and whether the last one is the end."""
        found, rest = bytearray(), bytes(self.taken)
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            if size == b"0":
                return bytes(found), rest == b"\r\n"
            found += rest[: int(size, 16)]
            rest = rest[int(size, 16) :].removeprefix(b"\r\n")
        return bytes(found), False


def file_of(directory: Path, content: bytes, *, verify: bool) -> FileContent:
    (directory / "blob").write_bytes(content)
    return FileContent(directory / "blob", BLOB, verify=verify)


@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize("at", [0, 1, 262_144, 699_999])
def test_a_part_has_the_bytes_from_where_it_begins(tmp_path: Path, at: int, verify: bool) -> None:  # noqa: FBT001
    told: list[int] = []
    part, outlet = BlobPart(file_of(tmp_path, CONTENT, verify=verify), BLOB, at, Position(told.append)), Outlet()
    part.write_to(outlet)
    assert outlet.unframed() == (CONTENT[at:], True)
    assert (part.end, part.is_ended, part.failure) == (len(CONTENT), True, None)
    assert sum(told) == len(CONTENT)


@pytest.mark.parametrize("verify", [False, True])
def test_a_part_that_is_stopped_has_an_end(tmp_path: Path, verify: bool) -> None:  # noqa: FBT001
    aborted: list[bool] = []

    def stop(_size: int) -> None:
        part.stop(lambda: aborted.append(True))

    part = BlobPart(file_of(tmp_path, CONTENT, verify=verify), BLOB, 0, Position(stop))
    outlet = Outlet()
    part.write_to(outlet)
    sent, has_end = outlet.unframed()
    assert has_end
    assert 0 < len(sent) < len(CONTENT)
    assert (part.end, CONTENT.startswith(sent), type(part.failure)) == (len(sent), True, Stopped)
    part.settle()
    assert aborted == []


def test_a_part_whose_source_fails_has_an_end_and_tells_why() -> None:
    failure = RegistryError("gone", method="GET", url="http://r", temporary=True)

    class Failing:
        def pieces(self, outlet: Outlet, at: int) -> object:
            outlet.write(CONTENT[at : at + 100])
            yield 100
            raise failure

    part, outlet = BlobPart(Failing(), BLOB, 7, Position(lambda _: None)), Outlet()  # type: ignore[arg-type]
    part.write_to(outlet)
    assert (outlet.unframed(), part.end, part.failure) == ((CONTENT[7:107], True), 107, failure)


@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize("at", [0, 300_000])
def test_a_file_that_is_shorter_than_its_blob_gets_no_end(tmp_path: Path, at: int, verify: bool) -> None:  # noqa: FBT001
    content, outlet = file_of(tmp_path, CONTENT[:-1], verify=verify), Outlet()
    with pytest.raises(DigestError):
        BlobPart(content, BLOB, at, Position(lambda _: None)).write_to(outlet)
    assert not outlet.unframed()[1]


@pytest.mark.parametrize("changed", [0, 350_000, 699_999])
def test_of_a_damaged_file_the_end_is_held_back(tmp_path: Path, changed: int) -> None:
    damaged = CONTENT[:changed] + bytes([CONTENT[changed] ^ 1]) + CONTENT[changed + 1 :]
    content, position = file_of(tmp_path, damaged, verify=True), Position(lambda _: None)
    for body in (WholeBlob(content, BLOB, position), BlobPart(content, BLOB, 0, position)):
        outlet = Outlet()
        with pytest.raises(DigestError):
            body.write_to(outlet)
        assert len(outlet.taken) < len(CONTENT)


def test_an_empty_blob_is_checked() -> None:
    empty = Descriptor(OCI_LAYER, digest_of(b""), 0, {})
    outlet = Outlet()
    WholeBlob(FileContent(b"", empty, verify=True), empty, Position(lambda _: None)).write_to(outlet)
    assert outlet.taken == b""
    other = Descriptor(OCI_LAYER, digest_of(b"other"), 0, {})
    with pytest.raises(DigestError):
        WholeBlob(FileContent(b"", other, verify=True), other, Position(lambda _: None)).write_to(outlet)


def test_pieces_are_as_long_as_the_line_takes_soon() -> None:
    size = PieceSize(4 * 1024 * 1024)
    for _ in range(10):
        size.took(0.001)
    assert size.now == 4 * 1024 * 1024
    size.took(0.1)
    assert size.now == 4 * 1024 * 1024
    for _ in range(10):
        size.took(1)
    assert size.now == 64 * 1024


def test_a_position_tells_differences() -> None:
    told: list[int] = []
    position = Position(told.append)
    for at in (0, 10, 10, 4, 20):
        position.set(at)
    assert told == [10, -6, 16]
