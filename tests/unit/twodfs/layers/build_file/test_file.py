"""Build files read from the disk: JSON and YAML, variables, and what errors say of the place."""

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from twodfs.errors import BuildFileError, FormatError
from twodfs.field.partition import Selection
from twodfs.layers.build_file.file import MAX_BUILD_FILE_BYTES, STANDARD_INPUT, BuildFile
from twodfs.layers.build_file.yaml_text import MAX_YAML_BYTES
from twodfs.layers.members import find_members

YAML = """\
# A comment.
partitions: {edge: 0.0.0.1}
allotments:
  - {src: ./a.bin, dst: /m/, row: 0, col: 0, mode: 0640}
  - src: ./tokenizer
    dst: /tokenizer
    row: 0
    col: 1
"""
MODE = "in 'allotments[0].mode'"
JSON = {
    "partitions": {"edge": "0.0.0.1"},
    "allotments": [
        {"src": "./a.bin", "dst": "/m/", "row": 0, "col": 0, "mode": "0640"},
        {"src": "./tokenizer", "dst": "/tokenizer", "row": 0, "col": 1},
    ],
}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "a.bin").write_bytes(b"a")
    for name in ("t", ".git/HEAD", "__pycache__/m.pyc", "x.tmp", "deep/y.tmp", "deep/.git"):
        (tmp_path / "tokenizer" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tokenizer" / name).write_bytes(b"t")
    return tmp_path


def load(here: Path, text: str, name: str = "2dfs.yaml", **variables: str) -> BuildFile:
    (here / name).write_text(text)
    return BuildFile.load(here / name, variables)


def mistake(here: Path, text: str, name: str = "2dfs.yaml", **variables: str) -> str:
    with pytest.raises(BuildFileError) as failed:
        load(here, text, name, **variables)
    return str(failed.value).replace(f"{here}/", "")


def parse(here: Path, *changes: dict[str, Any], **more: Any) -> BuildFile:
    entries = [{"src": "a.bin", "dst": f"/{at}", "row": 0, "col": at, **one} for at, one in enumerate(changes or ({},))]
    return BuildFile.parse(json.dumps({"allotments": entries, **more}).encode(), here)


def problem(here: Path, *changes: dict[str, Any], **more: Any) -> str:
    with pytest.raises(FormatError) as failed:
        parse(here, *changes, **more)
    return str(failed.value)


def test_yaml_and_json_are_one_build_file(here: Path) -> None:
    found = load(here, YAML)
    same = load(here, json.dumps(JSON), "2dfs.json")
    assert (found.cells, found.partitions) == (same.cells, same.partitions)
    assert load(here, json.dumps(JSON), "other.yml").cells == same.cells


@pytest.mark.parametrize("text", [YAML, json.dumps(JSON), "\ufeff" + YAML])
def test_a_file_of_any_name_is_what_it_begins_like(text: str, here: Path) -> None:
    assert len(load(here, text, "parts").cells) == 2


@pytest.mark.parametrize("text", [YAML, json.dumps(JSON)])
def test_it_may_come_through_standard_input(text: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    monkeypatch.chdir(here)
    assert [cell.copies[0].source for cell in BuildFile.load(STANDARD_INPUT).cells] == [
        Path("a.bin"),
        Path("tokenizer"),
    ]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"allotments: []\n")))
    with pytest.raises(BuildFileError) as failed:
        BuildFile.load(STANDARD_INPUT)
    assert str(failed.value) == ("standard input: line 1: a field needs at least one allotment in 'allotments'")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("row: 0, col: 0", "row: x, col: 0"), "line 4: expected an integer, found str in 'allotments[0].row'"),
        (
            ("    col: 1", "    col: 0"),
            "line 5: row 0, column 0 is given twice: first in 'allotments[0]', then in 'allotments[1]'",
        ),
        (("    row: 0\n", ""), "line 5: expected an integer, found nothing in 'allotments[1].row'"),
        (("./tokenizer\n", "./none\n"), "line 5: there is no file 'none' in 'allotments[1].src'"),
        (("0.0.0.1", "5.5.5.5"), "line 2: 5.5.5.5 selects no allotment of this file in 'partitions.edge'"),
        (
            ("mode: 0640", "mode: 640x"),
            "line 4: '640x' is no mode; expected three or four octal digits in a string, as '0644' " + MODE,
        ),
        (("    col: 1", "    row: 1"), "line 8: the key 'row' is given twice; each key may stand once"),
        (("allotments:", "allotments: ["), "line 4: not YAML: did not find expected node content"),
        (("# A comment.", "labels: {a: ${MISSING}}"), None),
    ],
)
def test_a_mistake_in_yaml_is_told_with_its_line(change: tuple[str, str], sentence: str | None, here: Path) -> None:
    text = YAML.replace(*change)
    assert text != YAML
    said = mistake(here, text)
    if sentence is None:
        assert said.startswith("2dfs.yaml: line 1: not YAML: ")
    else:
        assert said == f"2dfs.yaml: {sentence}"


def test_a_mistake_that_shows_later_has_its_line_as_well(here: Path) -> None:
    file = load(here, YAML.replace("dst: /tokenizer\n", "dst: /m/a.bin\n"))
    with pytest.raises(BuildFileError) as failed, file.origin.mistakes():
        raise FormatError("too late", "allotments[1].src")
    assert str(failed.value) == f"{here}/2dfs.yaml: line 5: too late in 'allotments[1].src'"


def test_sizes_have_bounds(here: Path) -> None:
    assert mistake(here, "#" * (MAX_YAML_BYTES + 1)) == (
        f"2dfs.yaml: YAML of more than {MAX_YAML_BYTES} bytes; JSON may have more"
    )
    os.truncate(here / "2dfs.yaml", MAX_BUILD_FILE_BYTES + 1)
    with pytest.raises(BuildFileError, match=f"more than {MAX_BUILD_FILE_BYTES} bytes; is it a build file"):
        BuildFile.load(here / "2dfs.yaml")


def test_what_is_no_utf8_is_refused(here: Path) -> None:
    (here / "2dfs.yaml").write_bytes(b"allotments: \xff")
    with pytest.raises(BuildFileError, match="not UTF-8: invalid start byte at byte 12"):
        BuildFile.load(here / "2dfs.yaml")


def test_variables_are_set_before_all_else(here: Path) -> None:
    text = YAML.replace("./a.bin", "'./${NAME}.bin'").replace("col: 1", "col: ${COL}")
    assert load(here, text, NAME="a", COL="7").cells[1].col == 7
    assert mistake(here, text, NAME="a") == (
        "2dfs.yaml: line 8: the variable COL is not set; give it with --set COL=VALUE in 'allotments[1].col'"
    )
    asked = json.dumps(JSON).replace("./a.bin", "$${A}")
    assert mistake(here, asked, "2dfs.json") == "2dfs.json: there is no file '${A}' in 'allotments[0].src'"


@pytest.mark.parametrize(
    ("default", "selection"),
    [
        ("edge", "0.0.0.1"),
        ("1.1.1.1", "1.1.1.1"),
        ("edge--1.1.1.1", "0.0.0.1--1.1.1.1"),
        ("all", "0.0.1.1"),
        ("all--edge", "0.0.1.1"),
    ],
)
def test_the_default_is_a_partition_of_that_name(default: str, selection: str, here: Path) -> None:
    cells: list[dict[str, Any]] = [{}, {}, {"row": 1, "col": 1}]
    found = parse(here, *cells, partitions={"edge": "0.0.0.1"}, default=default)
    assert found.partitions["default"] == Selection.parse(selection)
    assert list(found.partitions) == ["edge", "default"]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"default": "edge"}, "there is no partition 'edge' in 'default'"),
        ({"default": "base"}, "'base' is no partition of the field; leave 'default' out in 'default'"),
        ({"default": "2.2.2.2"}, "2.2.2.2 selects no allotment of this file in 'default'"),
        ({"default": "1.0.0.0"}, "partition 1.0.0.0 is inverted"),
        ({"default": "Edge"}, "'Edge' is no selection; expected x1.y1.x2.y2 or a name"),
        (
            {"default": "0.0.0.0", "partitions": {"default": "0.0.0.0"}},
            "'default' is given twice: first in 'partitions', then in 'default'",
        ),
        (
            {"partitions": {"image": "0.0.0.0"}},
            "'image' is reserved: TAG--image is the image itself in 'partitions.image'",
        ),
        ({"row_labels": {"1": "x"}}, "no allotment stands in row 1 in 'row_labels.1'"),
        ({"column_labels": {"01": "x"}}, "'01' is no number of a row or column"),
        ({"column_labels": {"0": "a\nb"}}, "'a\\nb' is no label; expected 1 to 256 printable characters"),
        ({"ignore": ["../a"]}, "'../a' climbs with '..'; patterns begin at the source in 'ignore[0]'"),
        ({"ignore": "a"}, "expected an array, found str in 'ignore'"),
        ({"env": {"A=B": "x"}}, "the name 'A=B' has a '=' in it in 'env'"),
        ({"env": {"A": 1}}, "expected a string, found int in 'env.A'"),
        ({"labels": {"": "x"}}, "a name is empty in 'labels'"),
        ({"annotations": {"2dfs.selection": "x"}}, "'2dfs.selection' is given to partitions when they are cut"),
        ({"workdir": "models"}, "'models' is no absolute path; it begins with '/' in 'workdir'"),
        ({"workdir": "/a/../b"}, "'/a/../b' climbs with '..'; write the path as it is in the image in 'workdir'"),
        ({"user": ""}, "expected a text, found none in 'user'"),
        ({"entrypoint": "sh -c x"}, "expected an array, found str in 'entrypoint'"),
        ({"cmd": ["a\0"]}, "a text has no NUL in it in 'cmd[0]'"),
    ],
)
def test_what_is_wrong_with_the_file_is_said_with_its_place(more: dict[str, Any], sentence: str, here: Path) -> None:
    assert problem(here, **more).startswith(sentence)


def test_labels_are_those_of_rows_columns_and_cells(here: Path) -> None:
    found = parse(here, {"label": "first"}, {}, row_labels={"0": "language"}, column_labels={"1": "second"})
    assert (found.labels.rows, found.labels.columns) == ({0: "language"}, {1: "second"})
    assert [cell.label for cell in found.cells] == ["first", ""]


def brought(here: Path, **changes: Any) -> list[str]:
    asked = {"src": "tokenizer", "dst": "/t", "row": 0, "col": 0} | changes
    more = {"ignore": asked.pop("of_file")} if "of_file" in asked else {}
    file = BuildFile.parse(json.dumps({"allotments": [asked], **more}).encode(), here)
    return [one.name for one in find_members(file.cells[0].copies) if not one.is_directory]


def test_directories_are_taken_without_git_and_bytecode(here: Path) -> None:
    assert brought(here) == ["t/deep/y.tmp", "t/t", "t/x.tmp"]
    assert brought(here, src="*") == ["t/a.bin", "t/tokenizer/deep/y.tmp", "t/tokenizer/t", "t/tokenizer/x.tmp"]
    assert brought(here, src="tokenizer/.git") == ["t/HEAD"]
    assert len(brought(here, ignore=[])) == 6


def test_ignore_says_what_is_left_out_in_place_of_that(here: Path) -> None:
    assert brought(here, of_file=["**/*.tmp", ".git"]) == ["t/__pycache__/m.pyc", "t/deep/.git", "t/t"]
    assert brought(here, of_file=["**"], ignore=["*", "!deep/y.tmp"]) == ["t/deep/y.tmp"]
    assert brought(here, src="*/*", ignore=["tokenizer/deep", "**/.git"]) == [
        "t/tokenizer/__pycache__/m.pyc",
        "t/tokenizer/t",
        "t/tokenizer/x.tmp",
    ]
    assert brought(here, src="a.bin", dst="/t/", of_file=["**"]) == ["t/a.bin"]


def test_a_pattern_of_which_all_is_left_out_is_a_mistake(here: Path) -> None:
    with pytest.raises(FormatError) as failed:
        brought(here, src="tokenizer/*", ignore=["*"])
    assert str(failed.value) == (
        f"all that matches '{here}/tokenizer/*' is left out by 'ignore' in 'allotments[0].src'"
    )


def test_a_place_is_taken_once_on_each_platform(here: Path) -> None:
    amd, arm = {"platform": "linux/amd64", "col": 0}, {"platform": ["linux/arm64", "linux/arm"], "col": 0}
    assert len(parse(here, amd, arm).cells) == 2
    twice = "row 0, column 0 is given twice: first in 'allotments[0]', then in 'allotments[1]'"
    assert problem(here, amd, amd) == twice
    assert problem(here, {"col": 0}, arm) == twice
    assert problem(here, {"platform": "linux/arm/v7", "col": 0}, arm) == twice
    assert problem(here, {"platform": "linux/arm", "col": 0}, {"platform": "linux/arm/v6", "col": 0}) == twice
    same = {"dst": "/x"}
    assert len(parse(here, amd | same, arm | same | {"col": 1}).cells) == 2
    assert problem(here, amd | same, {"col": 1} | same) == (
        "'/x' is given twice: first in 'allotments[0].dst', then in 'allotments[1].dst'"
    )
    assert problem(here, {"platform": []}) == ("expected at least one platform, found none in 'allotments[0].platform'")
    assert problem(here, {"platform": "arm64"}).startswith("'arm64' is no platform; expected os/architecture")


def test_the_original_form_says_less(here: Path) -> None:
    assert parse(here, {"each": None}, ignore=["x"]).beyond_original is None
    for more, said in (
        ({"partitions": {"a": "0.0.0.0"}}, ("named partitions", "partitions")),
        ({"default": "all"}, ("named partitions", "default")),
        ({"cmd": []}, ("settings of the image", "cmd")),
        ({"column_labels": {"0": "x"}}, ("labels", "column_labels")),
    ):
        assert parse(here, **more).beyond_original == said
    assert parse(here, {"label": "x"}).beyond_original == ("labels", "label")
    assert parse(here, {"platform": "linux/arm64"}).beyond_original == ("allotments by platform", "platform")
