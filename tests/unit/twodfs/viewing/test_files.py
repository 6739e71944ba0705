"""Files of layers, read from the headers of their tars."""

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from twodfs.errors import BuildError, DamagedError
from twodfs.field.allotment import Allotment
from twodfs.images.source import StoredImage
from twodfs.oci.digest import Digest, digest_of
from twodfs.oci.documents import OCI_INDEX, Descriptor
from twodfs.storage.store import ImageStore
from twodfs.viewing import files
from twodfs.viewing.files import FileKind, LayerFile, LayerFiles, files_in, files_of_cells
from twodfs.viewing.parts import FIRST, MOST_AT_ONCE, BlobFile

PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "gzip in two members": lambda tar: gzip.compress(tar[:700]) + gzip.compress(tar[700:]),
    "zstd": zstandard.ZstdCompressor().compress,
}


class Counting(StoredImage):
    """A store that counts the bytes that are read."""

    parts: list[int]

    def part(self, digest: Digest, begin: int, size: int) -> bytes:
        content = StoredImage.part(self, digest, begin, size)
        self.parts.append(len(content))
        return content


def source_with(directory: Path, blob: bytes) -> Counting:
    store = ImageStore(directory)
    store.put(blob)
    source = Counting(store, Descriptor(OCI_INDEX, digest_of(blob), len(blob), {}))
    object.__setattr__(source, "parts", [])
    return source


def tar_of(*members: tuple[str, int] | tarfile.TarInfo, form: int = tarfile.PAX_FORMAT) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=form) as archive:
        for member in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member[0])
            info.size = info.size if isinstance(member, tarfile.TarInfo) else member[1]
            archive.addfile(info, io.BytesIO(os.urandom(info.size)))
    return written.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def listed(directory: Path, blob: bytes) -> LayerFiles:
    return files_in(source_with(directory, blob), digest_of(blob))


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_files_and_links_are_listed_directories_are_not(tmp_path: Path, packing: str, form: int) -> None:
    long = "models/" + "n" * 200
    tar = tar_of(
        special("models", tarfile.DIRTYPE),
        ("models/a.bin", 70_000),
        ("./models/b.bin", 0),
        (long, 1),
        special("models/stage", tarfile.SYMTYPE, "../../a.bin"),
        special("models/same", tarfile.LNKTYPE, "models/a.bin"),
        special("dev/null", tarfile.CHRTYPE),
        form=form,
    )
    assert listed(tmp_path, PACKINGS[packing](tar)) == LayerFiles(
        (
            LayerFile("/models/a.bin", 70_000),
            LayerFile("/models/b.bin", 0),
            LayerFile(f"/{long}", 1),
            LayerFile("/models/stage", 0, FileKind.LINK, "../../a.bin"),
            LayerFile("/models/same", 0, FileKind.HARD_LINK, "models/a.bin"),
            LayerFile("/dev/null", 0, FileKind.OTHER),
        )
    )


def test_of_a_plain_tar_the_headers_alone_are_read(tmp_path: Path) -> None:
    tar = tar_of(("models/a.bin", 30_000_000), ("models/b.bin", 40_000_000))
    source = source_with(tmp_path, tar)
    assert [one.path for one in files_in(source, digest_of(tar)).files] == ["/models/a.bin", "/models/b.bin"]
    assert len(source.parts) <= 3
    assert sum(source.parts) <= 3 * FIRST


def test_many_small_files_take_few_questions(tmp_path: Path) -> None:
    tar = tar_of(*((f"small/{at}", 100) for at in range(5000)))
    source = source_with(tmp_path, tar)
    assert len(files_in(source, digest_of(tar)).files) == 5000
    assert len(source.parts) < 15


def test_a_compressed_layer_is_read_no_further_than_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_FROM_STORE", 1_000_000)
    blob = gzip.compress(tar_of(("a", 500_000), ("b", 2_000_000), ("c", 1)))
    found = listed(tmp_path, blob)
    assert [one.path for one in found.files] == ["/a", "/b"]
    assert found.missing == "it is compressed, and read no further than 1000000 bytes"


def test_what_inflates_to_very_much_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_MOST_INFLATED", 1_000_000)
    zeros = special("zeros", tarfile.REGTYPE)
    zeros.size = 50_000_000
    tar = zeros.tobuf() + bytes(50_000_000)
    for packing in ("gzip", "zstd"):
        found = listed(tmp_path / packing, PACKINGS[packing](tar))
        assert [one.path for one in found.files] == ["/zeros"]
        assert found.missing


def test_no_more_files_are_listed_than_anybody_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_FILES", 3)
    found = listed(tmp_path, tar_of(*((str(at), 1) for at in range(4))))
    assert (len(found.files), found.missing) == (3, "the first 3 are listed")
    assert listed(tmp_path, tar_of(*((str(at), 1) for at in range(3)))).missing == ""


def huge_header() -> bytes:
    info = special("././@PaxHeader", tarfile.XHDTYPE)
    info.size = 2 * MOST_AT_ONCE
    return info.tobuf() + bytes(4096)


def negative_size() -> bytes:
    info = special("loop", tarfile.REGTYPE)
    info.size = -1024
    return tar_of(("before", 1))[:1024] + info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


@pytest.mark.parametrize(
    ("blob", "known"),
    [
        (b"", []),
        (b"no tar", []),
        (os.urandom(3000), []),
        (tar_of(("a", 5000))[:2000], ["/a"]),
        (gzip.compress(tar_of(("a", 5000)))[:1000], ["/a"]),
        (b"\x1f\x8b\x08" + bytes(100), []),
        (b"\x28\xb5\x2f\xfd" + os.urandom(100), []),
        (zstandard.ZstdCompressor().compress(tar_of(("a", 300_000)))[:200_000], ["/a"]),
        (huge_header(), []),
        (negative_size(), ["/before"]),
    ],
)
def test_what_is_no_tar_is_told_with_the_files_until_then(tmp_path: Path, blob: bytes, known: list[str]) -> None:
    found = listed(tmp_path, blob)
    assert [one.path for one in found.files] == known
    assert bool(found.missing) is bool(blob)


def parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in ("", ".")]


names = st.text("abcß/.", min_size=1, max_size=150).filter(parts)


@given(st.lists(st.tuples(names, st.integers(0, 40_000)), max_size=8), st.sampled_from(sorted(PACKINGS)))
def test_the_list_is_that_of_tarfile(
    tmp_path_factory: pytest.TempPathFactory, members: list[tuple[str, int]], packing: str
) -> None:
    tar = tar_of(*members)
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        known = [(one.name, one.size) for one in archive]
    found = listed(tmp_path_factory.getbasetemp() / "listed", PACKINGS[packing](tar))
    assert [one.size for one in found.files] == [size for _, size in known]
    assert not found.missing
    assert [parts(one.path) for one in found.files] == [parts(name) for name, _ in known]


def cell(at: int, digest: str) -> Allotment:
    return Allotment(0, at, Digest(digest), Digest(digest))


def test_cells_with_one_blob_are_asked_for_once_and_too_many_are_refused(tmp_path: Path) -> None:
    tar = tar_of(("a", 1))
    source = source_with(tmp_path, tar)
    found = files_of_cells(source, [cell(0, digest_of(tar)), cell(1, digest_of(tar))])
    assert found == {digest_of(tar): LayerFiles((LayerFile("/a", 1),))}
    assert len(source.parts) == 1
    with pytest.raises(DamagedError, match="lacks"):
        files_of_cells(source, [cell(0, digest_of(b"absent"))])
    with pytest.raises(BuildError, match=r"choose a part of them, as REF--0\.0\.9\.9"):
        files_of_cells(source, (cell(at, digest_of(b"%d" % at)) for at in range(files.MOST_CELLS + 1)))


def test_a_blob_reads_like_a_file(tmp_path: Path) -> None:
    blob = os.urandom(300_000)
    file = BlobFile(source_with(tmp_path, blob), digest_of(blob), most=10_000_000)
    for at in (0, 5, 20_000, 299_990, 299_999, 300_000, 400_000, 100, 4):
        file.seek(at)
        assert file.read(100) == blob[at : at + 100]
        assert file.tell() == min(at + 100, max(at, len(blob)))
