import json
import os
from pathlib import Path
from typing import Any

import pytest

from twodfs.errors import BuildFileError, FormatError
from twodfs.layers.build_file.cells import Cell, Copy
from twodfs.layers.build_file.file import BuildFile
from twodfs.layers.build_file.keys import ALLOTMENT_KEYS

HERE = Path("/srv/model")


def parse(*allotments: object, **more: object) -> BuildFile:
    return BuildFile.parse(json.dumps({"allotments": allotments, **more}).encode(), HERE)


def entry(**changes: Any) -> dict[str, Any]:
    kept = {"src": "./a.bin", "dst": "/a.bin", "row": 0, "col": 0} | changes
    return {key: value for key, value in kept.items() if value is not ...}


def problem(*allotments: object, **more: object) -> str:
    with pytest.raises(FormatError) as failed:
        parse(*allotments, **more)
    return str(failed.value)


def test_one_source_or_several_make_an_allotment() -> None:
    recipe = parse(entry(), entry(src=["b", "/abs/c"], dst=["/x/b", "c"], col=1))
    assert recipe.cells == (
        Cell(0, 0, (Copy(HERE / "a.bin", "a.bin", "allotments[0].src"),)),
        Cell(
            0,
            1,
            (
                Copy(HERE / "b", "x/b", "allotments[1].src[0]"),
                Copy(Path("/abs/c"), "c", "allotments[1].src[1]"),
            ),
        ),
    )


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("640", 0o640),
        ("0640", 0o640),
        ("1777", 0o1777),
        ("01777", 0o1777),
        ("04755", 0o4755),
        ("2750", 0o2750),
    ],
)
def test_a_mode_has_three_or_four_octal_digits(text: str, mode: int) -> None:
    assert parse(entry(mode=text)).cells[0].copies[0].mode == mode


@pytest.mark.parametrize("text", ["", "77", "07777777", "0o644", "888", "1 777", 644])
def test_what_is_no_mode_is_refused(text: object) -> None:
    assert problem(entry(mode=text)) == (
        f"{text!r} is no mode; expected three or four octal digits in a string, as '0644' in 'allotments[0].mode'"
    )


def test_a_pattern_begins_at_its_first_wildcard_and_has_one_spelling() -> None:
    for source, fixed, pattern in (
        ("./s/*/x", "s", "*/x"),
        ("*.bin", "", "*.bin"),
        ("/*/./x//y/.", "/", "*/x/y/"),
        ("s/**", "s", "**"),
    ):
        ((only,),) = (cell.copies for cell in parse(entry(src=source)).cells)
        assert (only.source, only.pattern) == (HERE / fixed, pattern)


def test_the_originals_build_file_is_understood() -> None:
    body = Path(__file__, "../../../../../fixtures/original-2dfs/2dfs.json").resolve().read_bytes()
    recipe = BuildFile.parse(body, HERE)
    assert [(cell.row, cell.col) for cell in recipe.cells] == [(r, c) for r in range(3) for c in range(3)]
    assert [copy.target for copy in recipe.cells[8].copies] == ["pair/a.txt", "pair/b.txt"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"src": ...}, "expected an array, found nothing in 'allotments[0].src'"),
        ({"src": []}, "expected at least one path, found none in 'allotments[0].src'"),
        ({"src": ["a", 7], "dst": ["/a", "/b"]}, "expected a string, found int in 'allotments[0].src[1]'"),
        ({"src": ""}, "expected a path, found none in 'allotments[0].src'"),
        ({"src": "a\0b"}, "a path has no NUL in it in 'allotments[0].src'"),
        ({"src": "a/*/../b"}, "'a/*/../b' climbs with '..' behind a wildcard in 'allotments[0].src'"),
        (
            {"src": ["a", "b"]},
            "1 destinations for 2 sources; each src has one dst in 'allotments[0].dst'",
        ),
        (
            {"dst": "/a/../b"},
            "'/a/../b' climbs with '..'; write the path as it is in the image in 'allotments[0].dst'",
        ),
        ({"dst": "/a//b/"}, "'/a//b/' is not normalised; write '/a/b/' in 'allotments[0].dst'"),
        ({"dst": ["./a"]}, "'./a' is not normalised; write '/a' in 'allotments[0].dst[0]'"),
        (
            {"dst": "/a/.wh.b"},
            "'/a/.wh.b': names that begin with '.wh.' delete files in a layer in 'allotments[0].dst'",
        ),
        ({"row": ...}, "expected an integer, found nothing in 'allotments[0].row'"),
        ({"row": True}, "expected an integer, found bool in 'allotments[0].row'"),
        ({"row": 1.5}, "expected an integer, found float in 'allotments[0].row'"),
        ({"row": 10**23}, "1e+23 is outside 0..2147483647 in 'allotments[0].row'"),
        ({"uid": -(10**23)}, "-1e+23 is outside 0..2147483647 in 'allotments[0].uid'"),
        (
            {"dst": "/" + "ü" * 128},
            "'üüüüüüüüüüüüüüüüüüüü...' has more than 255 bytes; no file can in 'allotments[0].dst'",
        ),
        (
            {"dst": "/d" * 2048},
            f"'{'/d' * 10}/...' has more than 4095 bytes; no engine takes such a path in 'allotments[0].dst'",
        ),
        ({"col": -1}, "-1 is outside 0..2147483647 in 'allotments[0].col'"),
        (
            {"color": 1},
            f"unknown key 'color'; allowed: {', '.join(key.name for key in ALLOTMENT_KEYS)} in 'allotments[0]'",
        ),
        ({"follow": "yes"}, "expected true or false, found str in 'allotments[0].follow'"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(changes: dict[str, Any], sentence: str) -> None:
    assert problem(entry(**changes)) == sentence


@pytest.mark.parametrize(
    ("dst", "target", "into"),
    [("/m/", "m", True), ("m/", "m", True), ("/", "", True), ("/m/n/", "m/n", True), ("/m", "m", False)],
)
def test_a_destination_that_ends_in_a_slash_is_a_directory(
    dst: str,
    target: str,
    into: bool,  # noqa: FBT001
) -> None:
    body = json.dumps({"allotments": [entry(dst=dst)]}).encode()
    (made,) = BuildFile.parse(body, Path()).cells[0].copies
    assert (made.target, made.into) == (target, into)


def test_several_files_go_into_one_directory() -> None:
    assert BuildFile.parse(json.dumps({"allotments": [entry(src=["a", "b"], dst=["/m/", "/m/"])]}).encode(), Path())


def test_unknown_keys_beside_the_allotments_are_refused() -> None:
    assert problem(entry(), base="x") == (
        "unknown key 'base'; allowed: $schema, allotments, models, partitions, default, ignore, row_labels, "
        "column_labels, labels, annotations, env, entrypoint, cmd, workdir, user"
    )


def test_an_empty_field_is_refused() -> None:
    assert problem() == "a field needs at least one allotment in 'allotments'"


def test_a_cell_is_taken_once() -> None:
    sentence = "row 0, column 0 is given twice: first in 'allotments[0]', then in 'allotments[1]'"
    assert problem(entry(), entry(dst="/b")) == sentence


def test_a_destination_in_two_allotments_names_both() -> None:
    sentence = "'/a.bin' is given twice: first in 'allotments[0].dst', then in 'allotments[1].dst[1]'"
    assert problem(entry(), entry(src=["b", "c"], dst=["/b", "a.bin"], col=1)) == sentence


def test_a_destination_twice_in_one_allotment_is_refused() -> None:
    sentence = "'/a' is given twice: first in 'allotments[0].dst[0]', then in 'allotments[0].dst[1]'"
    assert problem(entry(src=["b", "c"], dst=["/a", "/a"])) == sentence


def test_sources_are_beside_the_build_file(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"a")
    (tmp_path / "2dfs.json").write_text(json.dumps({"allotments": [entry()]}))
    assert BuildFile.load(tmp_path / "2dfs.json").cells[0].copies[0].source == tmp_path / "a.bin"


def test_a_missing_source_is_found_before_anything_is_built(tmp_path: Path) -> None:
    (tmp_path / "2dfs.json").write_text(json.dumps({"allotments": [entry()]}))
    with pytest.raises(BuildFileError) as failed:
        BuildFile.load(tmp_path / "2dfs.json")
    assert str(failed.value) == (f"{tmp_path}/2dfs.json: there is no file '{tmp_path}/a.bin' in 'allotments[0].src'")


def test_a_source_with_an_impossible_name_is_the_build_files_mistake(tmp_path: Path) -> None:
    (tmp_path / "2dfs.json").write_text(json.dumps({"allotments": [entry(src="n" * 256)]}))
    with pytest.raises(BuildFileError, match=r"cannot read '.*n': File name too long in 'allotments\[0\]\.src'"):
        BuildFile.load(tmp_path / "2dfs.json")


def test_a_build_file_is_a_file_and_nobody_waits_for_another(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path / "pipe", "pipe"), (Path("/dev/zero"), "device"), (tmp_path, "directory")):
        with pytest.raises(
            BuildFileError, match=f"cannot read the build file {path}: it is a {kind}, and has to be a regular file"
        ):
            BuildFile.load(path)


def test_the_longest_destination_is_one_that_engines_take() -> None:
    assert BuildFile.parse(json.dumps({"allotments": [entry(dst="/d" * 2047 + "e")]}).encode(), Path())


def test_a_missing_build_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildFileError, match=r"cannot read the build file .*/none\.json: No such file"):
        BuildFile.load(tmp_path / "none.json")


def test_partitions_have_names() -> None:
    recipe = parse(entry(), entry(dst="/b", col=1), partitions={"edge": "0.0.0.0", "both": "0.0.0.1"})
    assert {name: str(one) for name, one in recipe.partitions.items()} == {
        "edge": "0.0.0.0",
        "both": "0.0.0.1",
    }


@pytest.mark.parametrize(
    ("partitions", "sentence"),
    [
        ({"edge": "0.0.0.0--3.0.3.2"}, "3.0.3.2 selects no allotment of this file in 'partitions.edge'"),
        ({"all": "0.0.0.0"}, "'all' is reserved"),
        ({"0.0.1.1": "0.0.0.0"}, "'0.0.1.1' is no name"),
    ],
)
def test_a_named_partition_that_cannot_be_pulled_is_refused(partitions: dict[str, str], sentence: str) -> None:
    assert sentence in problem(entry(), partitions=partitions)
