import gzip
import io
import os
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from twodfs.errors import BuildError
from twodfs.images.archive import MAX_HEADER, Archive
from twodfs.images.inflation import Inflation


def member(name: str, content: bytes = b"", **more: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in more.items():
        setattr(info, key, value)
    return info, content


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=kind, linkname=target)


def write(path: Path, members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w") as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return path


def read(archive: Archive, name: str) -> bytes:
    with archive.open(name) as file:
        return file.read()


@pytest.mark.parametrize("compressed", [False, True])
def test_files_are_read_by_name_several_at_once(tmp_path: Path, *, compressed: bool) -> None:
    path = write(tmp_path / "a.tar", [member("./a", b"one"), member("d/b", b"two" * 1000)])
    if compressed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    with (
        Archive(path, tmp_path, Inflation()) as archive,
        archive.open("a") as first,
        archive.open("d/b") as second,
    ):
        assert (first.read(1), second.read(3), first.read()) == (b"o", b"two", b"ne")
        assert (archive.size("d/b"), archive.has("d"), archive.has("a")) == (3000, False, True)
        with pytest.raises(BuildError, match=r"a\.tar has no file 'c'"):
            archive.open("c")
    assert [one.name for one in tmp_path.iterdir()] == ["a.tar"]


def test_links_within_the_archive_are_followed(tmp_path: Path) -> None:
    members = [member("x/layer.tar", b"tar"), link("y/layer.tar", "../x/layer.tar"), link("z", "y/layer.tar")]
    hard = link("h", "x/layer.tar", tarfile.LNKTYPE)
    with Archive(write(tmp_path / "a.tar", [*members, hard]), tmp_path, Inflation()) as archive:
        assert read(archive, "z") == read(archive, "y/layer.tar") == read(archive, "h") == b"tar"


def test_links_in_a_circle_lead_nowhere(tmp_path: Path) -> None:
    with Archive(write(tmp_path / "a.tar", [link("a", "b"), link("b", "a")]), tmp_path, Inflation()) as archive:
        assert not archive.has("a")


@pytest.mark.parametrize(
    "bad",
    [
        member("../etc/passwd", b"x"),
        member("/etc/passwd", b"x"),
        member("a/../../b", b"x"),
        link("a", "/etc/passwd"),
        link("a/b", "../../etc/passwd"),
        link("a", "../b", tarfile.LNKTYPE),
    ],
)
def test_names_that_lead_out_are_refused(tmp_path: Path, bad: tuple[tarfile.TarInfo, bytes]) -> None:
    with pytest.raises(BuildError, match=r"is refused: its member '.*' leads out of the archive"):
        Archive(write(tmp_path / "a.tar", [member("a0", b"x"), bad]), tmp_path, Inflation())


@pytest.mark.parametrize(
    "content", [b"no tar", b"\x1f\x8bno gzip", b"\x1f\x8b", gzip.compress(b"x", mtime=0)[:10] + b"x" * 20]
)
def test_what_is_no_archive_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(BuildError, match=r"a\.tar"):
        Archive(tmp_path / "a.tar", tmp_path, Inflation())


@pytest.mark.parametrize("at", [12, 1000, -12, -6, -2])
def test_a_damaged_gzip_stream_is_told(tmp_path: Path, at: int) -> None:
    archive = write(tmp_path / "a.tar", [member("a", os.urandom(5000))])
    packed = bytearray(gzip.compress(archive.read_bytes()))
    packed[at] ^= 0xFF
    archive.write_bytes(packed)
    with pytest.raises(BuildError, match=r"a\.tar is damaged, it cannot be decompressed: "):
        Archive(archive, tmp_path, Inflation())


def test_an_archive_that_inflates_to_too_much_is_refused_before_it_is_written(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    archive.write_bytes(gzip.compress(bytes(3_000_000)))
    with pytest.raises(BuildError, match=r"a\.tar inflates to more than 2000000 bytes, and is refused; --max-"):
        Archive(archive, tmp_path, Inflation(2_000_000))
    with Archive(archive, tmp_path, Inflation(3_000_000)) as empty:
        assert not empty.has("anything")
    assert [one.name for one in tmp_path.iterdir()] == ["a.tar"]


@pytest.mark.parametrize(
    ("compressed", "limit"), [(2_000_000, 1_000_000_000), (50_000_000, 5_000_000_000), (0, 1_000_000_000)]
)
def test_two_megabytes_do_not_become_two_gigabytes(compressed: int, limit: int) -> None:
    assert Inflation().limit(compressed) == limit
    assert Inflation(7).limit(compressed) == 7


def header(kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE])
def test_a_header_without_an_end_is_not_read(tmp_path: Path, kind: bytes) -> None:
    with (tmp_path / "a.tar").open("wb") as archive:
        archive.write(header(kind, 3 * 10**9))
        archive.truncate(3 * 10**9 + 1024)
    with pytest.raises(BuildError, match=f"is refused: it has a header of more than {MAX_HEADER} bytes"):
        Archive(tmp_path / "a.tar", tmp_path, Inflation())


@pytest.mark.parametrize("size", [-1, -512, -1024, -(2**40), 2**62])
def test_a_member_of_an_impossible_size_leads_nowhere(tmp_path: Path, size: int) -> None:
    # Python's tarfile reads on from where such a member would end, maybe for ever.
    (tmp_path / "a.tar").write_bytes(header(tarfile.REGTYPE, size) + bytes(2048))
    with pytest.raises(BuildError, match=r"a\.tar"):
        Archive(tmp_path / "a.tar", tmp_path, Inflation()).open("x")


def test_pipes_and_devices_are_no_archives(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path / "pipe", "pipe"), (Path("/dev/zero"), "device")):
        with pytest.raises(BuildError, match=f"cannot read {path}: it is a {kind}, and has to be a regular file"):
            Archive(path, tmp_path, Inflation())


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"cannot read .*/none\.tar: No such file"):
        Archive(tmp_path / "none.tar", tmp_path, Inflation())
