"""Whatever a build file holds is a recipe or a sentence, and reading it takes time with its length."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lab.work import grows_with_its_input
from tests.property.strategies import ANY_JSON, as_bytes, mutations, pieces
from twodfs.errors import FormatError
from twodfs.field.partition import Rectangle
from twodfs.layers.build_file.file import BuildFile
from twodfs.layers.build_file.schema import build_file_schema
from twodfs.layers.build_file.yaml_text import read_yaml
from twodfs.layers.coverage import empty_rectangles

HERE = Path("/build")
SCHEMA = jsonschema.Draft202012Validator(build_file_schema())
FILE = {
    "allotments": [
        {"src": "./a.bin", "dst": "/models/a.bin", "row": 0, "col": 0},
        {
            "src": ["b/**/*.bin", "./c"],
            "dst": ["/b", "/c"],
            "row": 0,
            "col": 1,
            "mode": "0640",
            "uid": 1,
            "gid": 2,
        },
    ],
    "partitions": {"edge": "0.0.0.1"},
}
PATHS = pieces(
    *("/", "./", "../", "..", ".", "a", "**", "*", "?", "[", "]", "[!a]", ".wh.", "\x00", "\ud800", "é", " "),
    *("a" * 260, "//", "~", "\\", "\n", "$HOME", "-"),
)
CELLS = st.fixed_dictionaries(
    {
        "src": PATHS | st.lists(PATHS, max_size=3),
        "dst": PATHS | st.lists(PATHS, max_size=3),
        "row": st.integers(-1, 3) | st.sampled_from([2**31, 2**70, 1.5]),
        "col": st.integers(-1, 3),
    },
    optional={
        "mode": pieces("0", "7", "644", "8", "-", "٣") | st.none(),
        "uid": st.integers(-1, 2**32),
        "gid": st.integers(-1, 2**32),
        "Src": PATHS,
        "label": PATHS | st.none(),
        "platform": pieces("linux/", "arm64", "amd64", "/", "v8") | st.none(),
        "ignore": st.lists(PATHS, max_size=2),
        "each": st.sampled_from(["row", "column", "cell", None]),
    },
)
FILES = st.fixed_dictionaries(
    {"allotments": st.lists(CELLS, max_size=4)},
    optional={
        "partitions": st.dictionaries(
            pieces("edge", "a", "-", "all", "0"),
            pieces("0.0.0.1", "--", "1.1.1.1", "edge", "9" * 30),
            max_size=3,
        ),
        "default": pieces("edge", "all", "base", "--", "0.0.0.1", "9.9.9.9") | st.none(),
        "row_labels": st.dictionaries(pieces("0", "1", "-"), PATHS, max_size=2),
        "env": st.dictionaries(PATHS, PATHS, max_size=2),
        "labels": st.dictionaries(PATHS, PATHS | st.integers(), max_size=2),
        "entrypoint": st.lists(PATHS, max_size=2),
        "workdir": PATHS | st.none(),
        "user": PATHS | st.none(),
        "$schema": PATHS,
    },
)


@given(as_bytes(mutations(FILE) | FILES | ANY_JSON) | st.binary(max_size=100))
def test_a_build_file_is_a_recipe_or_a_sentence(body: bytes) -> None:
    try:
        recipe = BuildFile.parse(body, HERE)
    except FormatError as error:
        assert str(error)
        assert len(str(error)) < 20 * len(body) + 1000
        return
    assert recipe.cells
    places = [(cell.row, cell.col) for cell in recipe.cells]
    assert len(set(places)) == len(places)
    for copy in (copy for cell in recipe.cells for copy in cell.copies):
        parts = copy.target.split("/")
        assert not {"..", "."} & set(parts)
        assert copy.target == "" or "" not in parts
        assert "\x00" not in copy.target + str(copy.source) + copy.pattern
        assert ".." not in copy.pattern.split("/")
        assert all(len(part.encode("utf-8", "surrogateescape")) <= 255 for part in parts)
        assert copy.mode is None or 0 <= copy.mode <= 0o7777
    assert all(not selection.names for selection in recipe.partitions.values())


@given(as_bytes(mutations(FILE) | FILES))
def test_the_schema_takes_all_that_the_parser_takes(body: bytes) -> None:
    try:
        BuildFile.parse(body, HERE)
    except FormatError:
        return
    SCHEMA.validate(json.loads(body))


@given(ANY_JSON)
def test_json_is_yaml_that_says_the_same(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False)
    try:
        found = read_yaml(text)
    except FormatError as error:
        assert "not YAML" in str(error) or "levels" in str(error)
        return
    assert orjson.dumps(found) == orjson.dumps(orjson.loads(text))


@given(
    st.text()
    | pieces("a", ": ", "- ", "\n", "  ", "&x ", "*x", "[", "]", "{", "}", ",", "!", "|", ">", "'", '"', "#", "?")
)
def test_yaml_is_a_value_or_a_sentence(text: str) -> None:
    try:
        value = read_yaml(text)
    except FormatError as error:
        assert str(error)
        return
    assert orjson.loads(orjson.dumps(value)) == value


@given(FILES, st.sampled_from(["src", "partitions", "dst"]))
@settings(max_examples=10, deadline=None)
def test_a_build_file_is_read_in_time_with_its_length(content: Any, what: str) -> None:
    def read(many: int) -> Callable[[], object]:
        cells = [{"src": f"a{at}", "dst": f"/a{at}", "row": at, "col": 0} for at in range(many)]
        named = {f"n{at}": f"{at}.0.{at}.0" for at in range(many)} if what == "partitions" else {}
        if what != "partitions":
            cells[0] |= {"src": [f"x{at}" for at in range(many)], "dst": [f"/x/{at}" for at in range(many)]}
        body = json.dumps({"allotments": [*content["allotments"], *cells], "partitions": named}).encode()
        whole = json.dumps({"allotments": cells, "partitions": named}).encode()

        def both() -> None:
            for one in (body, whole):
                try:
                    BuildFile.parse(one, HERE)
                except FormatError:
                    continue

        return both

    assert grows_with_its_input(read, 100)


CELLS_OF = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=12)
RECTANGLES = st.lists(
    st.builds(lambda a, b, c, d: Rectangle(min(a, c), min(b, d), max(a, c), max(b, d)), *[st.integers(0, 9)] * 4),
    max_size=8,
)


@given(RECTANGLES, CELLS_OF)
def test_the_empty_rectangles_are_those_that_cover_no_cell(
    rectangles: list[Rectangle], cells: list[tuple[int, int]]
) -> None:
    covered = [any(one.holds(row, col) for row, col in cells) for one in rectangles]
    assert empty_rectangles(rectangles, cells) == [at for at, is_held in enumerate(covered) if not is_held]
