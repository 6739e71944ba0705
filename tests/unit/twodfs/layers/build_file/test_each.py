import json
from pathlib import Path
from typing import Any

import pytest

from twodfs.errors import FormatError
from twodfs.layers.build_file.each import natural_order
from twodfs.layers.build_file.file import BuildFile
from twodfs.layers.members import find_members


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    for name in ("part-10.bin", "part-2.bin", "part-1.bin", "notes.txt", "d/x.bin", "d/y.tmp"):
        (tmp_path / "w" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "w" / name).write_bytes(name.encode())
    return tmp_path


def load(directory: Path, *allotments: dict[str, Any], **more: Any) -> BuildFile:
    entries = [{"dst": "/m", "row": 0, "col": 0, **one} for one in allotments]
    return BuildFile.parse(json.dumps({"allotments": entries, **more}).encode(), directory)


def placed(file: BuildFile) -> list[tuple[int, int, list[str]]]:
    return [
        (cell.row, cell.col, [one.name for one in find_members(cell.copies) if not one.is_directory])
        for cell in file.cells
    ]


def test_each_match_is_a_cell_in_natural_order(weights: Path) -> None:
    asked = {"src": "./w/*.bin", "row": 3, "col": 5}
    assert placed(load(weights, {**asked, "each": "column"})) == [
        (3, 5, ["m/part-1.bin"]),
        (3, 6, ["m/part-2.bin"]),
        (3, 7, ["m/part-10.bin"]),
    ]
    assert [one[:2] for one in placed(load(weights, {**asked, "each": "row"}))] == [(3, 5), (4, 5), (5, 5)]


def test_it_brings_the_same_files_as_one_cell_would(weights: Path) -> None:
    for pattern in ("w/*", "w/**/*.bin", "w/*/x*", "*/d", "w/[p]art-*"):
        (whole,) = placed(load(weights, {"src": pattern}))
        each = placed(load(weights, {"src": pattern, "each": "row"}))
        assert sorted(name for *_, names in each for name in names) == whole[2]


def test_files_that_are_left_out_have_no_cell(weights: Path) -> None:
    file = load(weights, {"src": "w/*", "each": "row", "ignore": ["*.txt", "**/*.tmp", "part-2*"]})
    assert [names for *_, names in placed(file)] == [["m/d/x.bin"], ["m/part-1.bin"], ["m/part-10.bin"]]


def test_other_keys_are_those_of_every_cell(weights: Path) -> None:
    file = load(weights, {"src": "w/p*", "each": "row", "label": "a part", "uid": 7, "platform": "linux/arm64"})
    assert {(cell.label, cell.copies[0].uid, str(cell.platforms[0])) for cell in file.cells} == {
        ("a part", 7, "linux/arm64")
    }


def test_partitions_see_the_cells(weights: Path) -> None:
    file = load(weights, {"src": "w/p*", "each": "column"}, partitions={"last": "0.2.0.2"}, column_labels={"2": "last"})
    assert file.labels.columns == {2: "last"}
    with pytest.raises(FormatError, match=r"0\.3\.0\.3 selects no allotment"):
        load(weights, {"src": "w/p*", "each": "column"}, partitions={"last": "0.3.0.3"})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"each": "cell"}, "'cell' is neither 'row' nor 'column' in 'allotments[0].each'"),
        ({"src": "w"}, "'each' takes a pattern, as 'DIRECTORY/*' in 'allotments[0].src'"),
        (
            {"src": ["w/*", "w/p*"], "dst": ["/m", "/n"]},
            "'each' takes one src, a pattern; write an allotment for each of several in 'allotments[0].src'",
        ),
        ({"col": 2**31 - 2}, "3 files from 2147483646 on are beyond 2147483647 in 'allotments[0].col'"),
        ({"ignore": ["p*"]}, "no file matches '{here}/w/p*' in 'allotments[0].src'"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(changes: dict[str, Any], sentence: str, weights: Path) -> None:
    with pytest.raises(FormatError) as failed:
        load(weights, {"src": "w/p*", "each": "column", **changes})
    assert str(failed.value) == sentence.replace("{here}", str(weights))


def test_cells_of_others_are_not_taken(weights: Path) -> None:
    with pytest.raises(FormatError) as failed:
        load(weights, {"src": "w/notes.txt", "col": 1}, {"src": "w/p*", "each": "column"})
    assert str(failed.value) == ("row 0, column 1 is given twice: first in 'allotments[0]', then in 'allotments[1]'")


def test_a_link_among_the_matches_is_what_it_leads_to(weights: Path) -> None:
    (weights / "elsewhere").write_bytes(b"found")
    (weights / "w" / "part-3.bin").symlink_to("../elsewhere")
    third = load(weights, {"src": "w/p*", "each": "column"}).cells[2]
    (member,) = (one for one in find_members(third.copies) if not one.is_directory)
    assert (member.name, member.size, member.link) == ("m/part-3.bin", 5, "")


def test_numbers_count_by_their_values() -> None:
    names = ["a10", "a9", "a09", "a", "b1", "a9b", "10", "9", f"a{'9' * 300}", "a1/2", "a1/10"]
    assert sorted(names, key=natural_order) == [
        *("9", "10", "a", "a1/2", "a1/10", "a09", "a9", "a9b", "a10", f"a{'9' * 300}", "b1"),
    ]
