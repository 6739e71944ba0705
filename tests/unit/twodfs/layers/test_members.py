import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from twodfs.errors import FormatError
from twodfs.layers.build_file.cells import Copy
from twodfs.layers.members import Member, PathClaims, find_members


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a.bin", "b.bin", "c.txt", ".hidden.bin", "deep/d.bin", "deep/er/e.bin", "deep/er/f.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def matched(tree: Path, pattern: str, target: str = "m") -> list[str]:
    return [one.name for one in find_members([copy(tree, pattern, target)]) if not one.is_directory]


def copy(tree: Path, pattern: str = "", target: str = "m") -> Copy:
    return Copy(tree, target, "allotments[0].src", pattern)


def test_a_pattern_brings_what_it_matches(tree: Path) -> None:
    assert matched(tree, "*.bin") == ["m/a.bin", "m/b.bin"]
    assert matched(tree, "[bc].*") == ["m/b.bin", "m/c.txt"]
    assert matched(tree, "*.bin", "") == ["a.bin", "b.bin"]


def test_a_pattern_keeps_the_directories_below_it(tree: Path) -> None:
    assert matched(tree, "**/*.bin") == ["m/a.bin", "m/b.bin", "m/deep/d.bin", "m/deep/er/e.bin"]
    assert matched(tree, "*/er") == ["m/deep/er/e.bin", "m/deep/er/f.txt"]


def test_a_directory_and_what_is_in_it_may_both_match(tree: Path) -> None:
    assert matched(tree, "deep/**") == ["m/deep/d.bin", "m/deep/er/e.bin", "m/deep/er/f.txt"]


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    for name in ("a/1.bin", "b/2.bin"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "a" / "link").symlink_to("../b")
    (tmp_path / "a" / "flink.bin").symlink_to("1.bin")
    (tmp_path / "a" / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to(".")
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("**", ["a/1.bin", "a/dangling@", "a/flink.bin@", "a/link@", "b/2.bin", "loop@"]),
        ("**/*", ["a/1.bin", "a/dangling@", "a/flink.bin@", "a/link@", "b/2.bin", "loop@"]),
        ("**/*.bin", ["a/1.bin", "a/flink.bin@", "b/2.bin"]),
        ("**/", ["a/1.bin", "a/dangling@", "a/flink.bin@", "a/link@", "b/2.bin"]),
        ("[a]/*", ["a/1.bin", "a/dangling@", "a/flink.bin@", "a/link@"]),
        ("*/**", ["a/1.bin", "a/dangling@", "a/flink.bin@", "a/link@", "b/2.bin", "loop@"]),
        ("?/dangling", ["a/dangling@"]),
        ("[a]/link/*", ["a/link/2.bin"]),
    ],
)
def test_links_that_a_pattern_matches_are_kept(linked: Path, pattern: str, expected: list[str]) -> None:
    found = find_members([copy(linked, pattern)])
    names = [one.name + "@" * (one.kind == tarfile.SYMTYPE) for one in found if not one.is_directory]
    assert names == [f"m/{name}" for name in expected]


def test_a_file_of_that_very_name_goes_before_the_pattern(tree: Path) -> None:
    (tree / "[b].bin").write_bytes(b"x")
    (member,) = [one for one in find_members([copy(tree, "[b].bin", "x")]) if not one.is_directory]
    assert (member.name, member.size) == ("x", 1)


def test_a_pattern_without_a_match_is_an_error(tree: Path) -> None:
    with pytest.raises(FormatError, match=r"no file matches '.*/\*\.none' in 'allotments\[0\]\.src'"):
        matched(tree, "*.none")


def test_mode_and_owner_of_the_build_file_count(tree: Path) -> None:
    members = find_members([Copy(tree / "deep", "m/deep", "allotments[0].src", "", 0o640, 10, 20)])
    found = {one.name: (one.mode, one.uid, one.gid) for one in members}
    assert found["m/deep/d.bin"] == (0o640, 10, 20)
    assert found["m/deep/er"] == (0o750, 10, 20)
    assert found["m"] == (0o755, 0, 0)


def test_sticky_and_set_id_bits_count_too(tree: Path) -> None:
    (tree / "empty").mkdir()
    (shared,) = find_members([Copy(tree / "empty", "tmp", "allotments[0].src", "", 0o1777)])
    (program,) = find_members([Copy(tree / "a.bin", "sudo", "allotments[0].src", "", 0o4755)])
    assert (shared.mode, program.mode) == (0o1777, 0o4755)


def member(name: str, at: int, kind: bytes = tarfile.REGTYPE) -> Member:
    return Member(name, kind, path=f"allotments[{at}].src")


def test_allotments_that_bring_the_same_file_are_named() -> None:
    territory = PathClaims()
    territory.claim([member("m", 0, tarfile.DIRTYPE), member("m/a", 0)])
    territory.claim([member("m", 1, tarfile.DIRTYPE), member("m/b", 1)])
    with pytest.raises(FormatError) as failed:
        territory.claim([member("m", 7, tarfile.DIRTYPE), member("m/a", 7, tarfile.SYMTYPE)])
    assert str(failed.value) == ("'/m/a' comes twice: first in 'allotments[0].src', then in 'allotments[7].src'")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_file_in_the_place_of_a_bases_directory_is_named_whichever_is_known_first(when: str) -> None:
    territory = PathClaims({"etc": "a directory of every container"})
    steps: list[Callable[[], None]] = [
        lambda: territory.claim([member("srv", 0, tarfile.DIRTYPE), member("srv/app", 0)]),
        lambda: territory.keep_directories({"srv": "a directory of the base", "srv/app": "the base's WORKDIR"}),
    ]
    first, second = steps if when == "after" else steps[::-1]
    first()
    with pytest.raises(FormatError) as failed:
        second()
    assert str(failed.value) == (
        "'/srv/app' is the base's WORKDIR, and a file would take its place; write '/srv/app/' to put it into the "
        "directory in 'allotments[0].src'"
    )


def test_a_file_in_the_place_of_a_directory_of_every_base_is_named_at_once() -> None:
    with pytest.raises(FormatError, match="'/etc' is a directory of every container"):
        PathClaims({"etc": "a directory of every container"}).claim([member("etc", 0)])


def test_a_directory_in_the_place_of_anothers_file_is_named(tree: Path) -> None:
    territory = PathClaims()
    territory.claim([member("m/a", 0)])
    with pytest.raises(FormatError) as failed:
        territory.claim(find_members([Copy(tree / "a.bin", "m/a/b", "allotments[1].src")]))
    assert str(failed.value) == ("'/m/a' is a file in 'allotments[0].src', but a directory in 'allotments[1].src'")
