import gzip
import hashlib
import io
import os
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from twodfs.errors import BuildError, FormatError
from twodfs.layers.build_file.cells import Copy
from twodfs.layers.compression import Compression, Packing
from twodfs.layers.layer import CHUNK, Layer, LayerPlan
from twodfs.oci.documents import OCI_LAYER, OCI_LAYER_GZIP

PLAIN = Packing(Compression.NONE)


def copy(source: Path, target: str) -> Copy:
    return Copy(source, target, "allotments[0].src")


def write(*copies: Copy, compression: Compression = Compression.NONE) -> tuple[Layer, bytes]:
    sink = io.BytesIO()
    layer = LayerPlan.of(copies).write(sink, Packing(compression))
    return layer, sink.getvalue()


def members(*copies: Copy) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(write(*copies)[1])) as archive:
        return archive.getmembers()


def names(*copies: Copy) -> list[str]:
    return [member.name for member in members(*copies)]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "sub").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "sub" / "b").write_bytes(b"bb")
    (root / "a").write_bytes(b"a")
    (root / "link").symlink_to("sub/b")
    return root


def test_every_release_writes_the_same_bytes(tree: Path) -> None:
    (tree / "sub" / "ünï").write_bytes(b"u")
    (tree / ("n" * 120)).write_bytes(b"n")
    plain, _ = write(copy(tree, "m"))
    gzipped, _ = write(copy(tree, "m"), compression=Compression.GZIP)
    assert plain.digest == "sha256:007c31774b21c6765249459eea12669804c782c45af639f29f0f6c8fe3cc9eb7"
    assert gzipped.diff_id == plain.diff_id


def test_neither_time_nor_owner_nor_permissions_of_the_disk_show(tree: Path) -> None:
    before = write(copy(tree, "m"))
    os.utime(tree / "a", (1, 1))
    (tree / "a").chmod(0o600)
    (tree / "sub").chmod(0o700)
    assert write(copy(tree, "m")) == before
    for member in members(copy(tree, "m")):
        assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")


def test_parents_come_first_and_siblings_sorted(tree: Path) -> None:
    assert names(copy(tree, "x/m")) == ["x/m/a", "x/m/empty", "x/m/link", "x/m/sub", "x/m/sub/b"]
    assert names(copy(tree / "a", "z"), copy(tree / "a", "b/c")) == ["b/c", "z"]


def test_the_way_to_a_destination_is_left_to_the_base(tree: Path) -> None:
    assert names(copy(tree / "a", "bin/tool")) == ["bin/tool"]
    assert names(copy(tree / "sub", "usr/bin")) == ["usr/bin/b"]


def test_an_empty_directory_is_its_destination(tree: Path) -> None:
    assert names(copy(tree / "empty", "var/run")) == ["var/run"]
    assert names(copy(tree / "sub", "m"), copy(tree / "empty", "m")) == ["m", "m/b"]


def test_a_directory_whose_owner_or_mode_is_given_has_them(tree: Path) -> None:
    plain = copy(tree / "sub", "x/m")
    for described in (replace(plain, mode=0o600), replace(plain, uid=10), replace(plain, gid=10)):
        assert names(described) == ["x/m", "x/m/b"]


def test_a_directory_that_is_copied_with_another_has_its_entry(tree: Path) -> None:
    for copies in ([copy(tree, "m"), copy(tree / "sub", "m/sub/b2")], [copy(tree, "m"), copy(tree, "m/sub")]):
        for ordered in (copies, copies[::-1]):
            assert "m/sub" in names(*ordered)


def test_modes_are_readable_by_all_and_executables_stay_so(tree: Path) -> None:
    (tree / "run").write_bytes(b"#!/bin/sh")
    (tree / "run").chmod(0o711)
    modes = {member.name: member.mode for member in members(copy(tree, "m"))}
    assert (modes["m/sub"], modes["m/a"], modes["m/run"]) == (0o755, 0o644, 0o755)


def test_links_in_a_directory_are_kept_and_a_link_as_source_is_followed(tree: Path) -> None:
    found = {member.name: member for member in members(copy(tree, "m"))}
    assert (found["m/link"].issym(), found["m/link"].linkname) == (True, "sub/b")
    (alone,) = members(copy(tree / "link", "b"))
    assert (alone.isreg(), alone.size) == (True, 2)


@pytest.mark.parametrize("target", ["./with space", "//etc//passwd", "sub/", "sub/../a", "ü" * 120])
def test_links_say_what_they_say_on_the_disk(tree: Path, target: str) -> None:
    os.symlink(target, tree / "sub" / "odd")  # noqa: PTH211 - a Path would tidy it up
    kept = replace(copy(tree, "m"), follow=False)
    found = {member.name: member.linkname for member in members(kept)}
    assert found["m/sub/odd"] == target


def test_a_directory_can_go_to_the_root(tree: Path) -> None:
    assert names(copy(tree, ""))[:2] == ["a", "empty"]


def test_content_of_any_size_arrives_whole(tmp_path: Path) -> None:
    for size in (0, 1, 511, 512, 513, CHUNK, CHUNK + 1):
        content = os.urandom(size)
        (tmp_path / f"{size}.bin").write_bytes(content)
        _, blob = write(copy(tmp_path / f"{size}.bin", "f"))
        with tarfile.open(fileobj=io.BytesIO(blob)) as archive:
            read = archive.extractfile("f")
            assert read is not None
            assert read.read() == content
        assert len(blob) % 512 == 0


@pytest.mark.parametrize(
    ("compression", "media_type"), [(Compression.GZIP, OCI_LAYER_GZIP), (Compression.NONE, OCI_LAYER)]
)
def test_a_layer_is_described_as_it_was_written(tree: Path, compression: Compression, media_type: str) -> None:
    layer, blob = write(copy(tree, "m"), compression=compression)
    tar = gzip.decompress(blob) if compression is Compression.GZIP else blob
    assert layer == Layer(
        digest=f"sha256:{hashlib.sha256(blob).hexdigest()}",  # type: ignore[arg-type]
        diff_id=f"sha256:{hashlib.sha256(tar).hexdigest()}",  # type: ignore[arg-type]
        size=len(blob),
        media_type=media_type,
    )


def test_gzip_names_no_file_no_time_and_no_system(tree: Path) -> None:
    _, blob = write(copy(tree, "m"), compression=Compression.GZIP)
    assert blob[:10] == b"\x1f\x8b\x08\0\0\0\0\0\x04\xff"


def test_progress_hears_of_every_byte_read(tree: Path) -> None:
    heard: list[int] = []
    plan = LayerPlan.of([copy(tree, "m")])
    plan.write(io.BytesIO(), PLAIN, heard.append)
    assert sum(heard) == plan.source_bytes == 3


def test_a_file_that_is_written_meanwhile_is_an_error(tree: Path) -> None:
    for change in (b"", b"x", b"longer"):
        (tree / "a").write_bytes(b"a")
        plan = LayerPlan.of([copy(tree, "m")])
        (tree / "a").write_bytes(change)
        os.utime(tree / "a", (2, 2))
        with pytest.raises(BuildError, match=r"/a changed while it was read; build again"):
            plan.write(io.BytesIO(), PLAIN)


def rewrite(tree: Path) -> None:
    before = (tree / "a").stat()
    (tree / "a").write_bytes(b"A")
    os.utime(tree / "a", ns=(before.st_atime_ns, before.st_mtime_ns))


def exchange(tree: Path) -> None:
    before = (tree / "a").stat()
    (tree / "new").write_bytes(b"A")
    os.utime(tree / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
    (tree / "new").replace(tree / "a")


def point_elsewhere(tree: Path) -> None:
    (tree / "link").unlink()
    (tree / "link").symlink_to("sub/c")


CHANGES: dict[str, Callable[[Path], object]] = {
    "a": rewrite,
    "a again": exchange,
    "sub/b": lambda tree: (tree / "sub" / "b").chmod(0o755),
    "link": point_elsewhere,
    "sub/new": lambda tree: (tree / "sub" / "new").touch(),
    "empty/new": lambda tree: (tree / "empty" / "new").mkdir(),
}


class Meddler:
    """A sink for a layer that changes something once it hears of the layer's first bytes, or of its last."""

    def __init__(self, change: Callable[[], object], at: bytes) -> None:
        self._change = change
        self._at = at

    def write(self, data: bytes | memoryview) -> None:
        if bytes(data).startswith(self._at):
            self._change()


@pytest.mark.parametrize("at", [b"m/a", bytes(1024)], ids=["first", "last"])
@pytest.mark.parametrize("name", CHANGES)
def test_any_change_while_a_layer_is_written_is_an_error(tree: Path, name: str, at: bytes) -> None:
    time.sleep(0.03)  # what changes twice within a tick of the clock shows it once
    plan = LayerPlan.of([copy(tree, "m")])
    changed = name.removesuffix(" again")
    with pytest.raises(BuildError, match=f"/tree/{changed} changed while it was read; build again"):
        plan.write(Meddler(lambda: CHANGES[name](tree), at), PLAIN)


def test_a_file_that_joins_what_a_pattern_matched_is_an_error(tree: Path) -> None:
    plan = LayerPlan.of([Copy(tree, "x/y", "allotments[0].src", "sub/*")])
    (tree / "sub" / "new").touch()
    with pytest.raises(BuildError, match=r"/sub/new changed while it was read"):
        plan.write(io.BytesIO(), PLAIN)


def test_a_mistake_that_was_none_before_is_a_change(tree: Path) -> None:
    plan = LayerPlan.of([copy(tree, "m")])
    os.mkfifo(tree / "pipe")
    with pytest.raises(BuildError, match=r"files changed while they were read: .*/pipe is neither a file"):
        plan.write(io.BytesIO(), PLAIN)


def test_another_name_for_a_file_is_no_change(tree: Path, tmp_path: Path) -> None:
    time.sleep(0.03)  # see above
    plan = LayerPlan.of([copy(tree, "m")])
    (tmp_path / "second").hardlink_to(tree / "a")
    assert plan.write(io.BytesIO(), PLAIN).size == write(copy(tree, "m"))[0].size


def test_a_file_that_goes_meanwhile_is_an_error(tree: Path) -> None:
    plan = LayerPlan.of([copy(tree, "m")])
    (tree / "a").unlink()
    with pytest.raises(BuildError, match=r"cannot read .*/a: No such file .* in 'allotments\[0\]\.src'"):
        plan.write(io.BytesIO(), PLAIN)


def test_two_copies_of_one_name_are_an_error(tree: Path) -> None:
    with pytest.raises(FormatError, match="'/m/a' comes twice"):
        LayerPlan.of([copy(tree, "m"), Copy(tree / "a", "m/a", "allotments[0].src[1]")])


def test_directories_merge(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "c").write_bytes(b"c")
    assert "m/c" in names(copy(tree, "m"), copy(tmp_path / "more", "m"))


def test_nothing_lies_below_a_file(tree: Path) -> None:
    with pytest.raises(FormatError, match=r"'/x' is a file in 'allotments\[0\]\.src', but a directory in"):
        LayerPlan.of([copy(tree / "a", "x"), copy(tree / "a", "x/y")])


@pytest.mark.parametrize(("target", "name"), [("m", "m/a"), ("", "a"), ("m/n", "m/n/a")])
def test_a_file_goes_into_a_directory_under_its_own_name(tree: Path, target: str, name: str) -> None:
    assert names(replace(copy(tree / "a", target), into=True)) == [name]


def test_what_a_link_leads_to_goes_into_a_directory_under_the_links_name(tree: Path) -> None:
    (file,) = members(replace(copy(tree / "link", "m"), into=True))
    assert (file.name, file.isreg()) == ("m/link", True)


def test_a_directory_goes_to_its_destination_with_or_without_a_slash(tree: Path) -> None:
    plain = copy(tree / "sub", "m")
    assert write(replace(plain, into=True))[1] == write(plain)[1]


def test_a_file_cannot_be_the_root(tree: Path) -> None:
    with pytest.raises(FormatError, match="is a file, so its destination needs a name"):
        LayerPlan.of([copy(tree / "a", "")])


def test_whiteouts_do_not_slip_in_with_a_directory(tree: Path) -> None:
    (tree / ".wh.a").touch()
    with pytest.raises(FormatError, match=r"names that begin with '\.wh\.' delete files"):
        LayerPlan.of([copy(tree, "m")])


def test_a_pipe_is_refused(tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    with pytest.raises(FormatError, match="neither a file, a directory nor a link"):
        LayerPlan.of([copy(tree, "m")])


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/proc/self/limits", "announces 0 bytes and holds more, as the files of /proc"),
        ("/proc/sys/kernel/ostype", "announces 0 bytes and holds more"),
        ("/sys/kernel/mm/transparent_hugepage/enabled", "announces 4096 bytes and holds fewer"),
    ],
)
def test_a_file_that_does_not_say_how_long_it_is_is_never_packed(path: str, sentence: str) -> None:
    with pytest.raises(BuildError, match=f"{path} {sentence}.*, in 'allotments"):
        write(copy(Path(path), "m"))
    with pytest.raises(BuildError, match=sentence):
        LayerPlan.of([copy(Path(path), "m")]).diff_id()


def test_an_empty_file_is_packed(tree: Path) -> None:
    (tree / "nothing").touch()
    assert [one.size for one in members(copy(tree / "nothing", "m"))] == [0]


def test_a_path_below_a_directory_that_no_engine_takes_is_the_build_files_mistake(tree: Path) -> None:
    with pytest.raises(FormatError, match=r"has more than 4095 bytes; no engine takes such a path"):
        members(copy(tree, "d/" * 2045 + "d"))


def test_a_name_that_is_no_text_is_kept(tree: Path) -> None:
    (tree / os.fsdecode(b"\xff")).write_bytes(b"x")
    assert os.fsdecode(b"m/\xff") in names(copy(tree, "m"))
