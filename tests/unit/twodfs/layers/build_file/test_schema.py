"""docs/build-file.md and its schema: every key has its row and is used by an example, and every example builds."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.lab.models import llama
from twodfs.field.allotment import MAX_COORDINATE
from twodfs.field.labels import MAX_LABEL
from twodfs.layers import destinations, ignoring
from twodfs.layers.build_file import file, keys, yaml_text
from twodfs.layers.build_file.file import BuildFile
from twodfs.layers.build_file.schema import build_file_schema, written_schema
from twodfs.layers.made import MADE_KEYS
from twodfs.models.request import MODEL_KEYS

DOCS = Path(__file__).parents[5] / "docs"
PAGE = (DOCS / "build-file.md").read_text()
EXAMPLES = re.findall(r"^```(json|yaml)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
VARIABLES = {"ROW": "3", "WEIGHTS": "weights"}


def rows(title: str) -> list[str]:
    section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([\w$]+)` \|", section, re.MULTILINE)


@pytest.mark.parametrize(
    ("title", "known"),
    [("The file", keys.FILE_KEYS), ("An allotment", keys.ALLOTMENT_KEYS), ("Models", keys.MODEL_ENTRY_KEYS)],
)
def test_every_key_has_its_row(title: str, known: tuple[keys.Key, ...]) -> None:
    assert rows(title) == [key.name for key in known]


def test_the_keys_of_models_and_of_what_is_made_are_those_of_their_parsers() -> None:
    assert sorted(key.name for key in keys.MODEL_ENTRY_KEYS) == sorted(MODEL_KEYS)
    assert tuple(tuple(key.name for key in kind) for kind in keys.MADE_OBJECTS) == MADE_KEYS
    for kind in MADE_KEYS:
        assert f'| `{{"{kind[0]}": ' in PAGE


def test_the_figures_are_those_of_the_parser() -> None:
    for figure in (
        f"0 to {keys.MAX_ID}",
        f"{destinations.MAX_NAME} bytes",
        f"{destinations.MAX_PATH:,}",
        f"{file.MAX_BUILD_FILE_BYTES >> 20} MiB",
        f"{yaml_text.MAX_YAML_BYTES >> 20} MiB",
        f"{yaml_text.MAX_ALIASED:,} values",
        f"more than {MAX_LABEL} characters",
        f"at most {ignoring.MAX_WILDCARDS} places with asterisks",
        f"0 to {MAX_COORDINATE:,}",
        *(f"`{name}`" for name in ignoring.UNASKED),
    ):
        assert figure in PAGE.replace("\n", " ")


def test_the_published_schema_is_the_one_that_is_printed() -> None:
    assert (DOCS / "build-file.schema.json").read_text() == written_schema(), (
        "write it anew: twodfs schema > docs/build-file.schema.json"
    )
    jsonschema.Draft202012Validator.check_schema(build_file_schema())


@pytest.mark.parametrize(("language", "example"), EXAMPLES)
def test_every_example_loads_and_the_schema_takes_it(language: str, example: str, tmp_path: Path) -> None:
    for directory in ("tokenizer", "weights/a"):
        (tmp_path / directory).mkdir(parents=True)
    for name in ("0-0.bin", "0-1.bin", "tokenizer/t", "weights/a/1.bin"):
        (tmp_path / name).write_bytes(b"1")
    llama(tmp_path / "llama", layers=2)
    (tmp_path / f"2dfs.{language}").write_text(example)
    assert BuildFile.load(tmp_path / f"2dfs.{language}", VARIABLES).cells
    jsonschema.validate(read(language, example), build_file_schema())


def read(language: str, example: str) -> Any:
    return json.loads(example) if language == "json" else yaml_text.read_yaml(example)


def used(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    for one in value if isinstance(value, list) else ():
        yield from used(one)


def test_every_key_is_used_by_an_example() -> None:
    found = {key for language, example in EXAMPLES for key in used(read(language, example))}
    made = [key for kind in keys.MADE_OBJECTS for key in kind]
    assert {key.name for key in (*keys.FILE_KEYS, *keys.ALLOTMENT_KEYS, *keys.MODEL_ENTRY_KEYS, *made)} <= found


def test_the_examples_are_yaml_for_others_as_well() -> None:
    for language, example in EXAMPLES:
        assert set(yaml.safe_load(example)) == set(read(language, example))


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"allotments": [{"src": {"text": "x", "link": "y"}, "dst": "b", "row": 0, "col": 0}]},
        {"models": [{"stages": 2}]},
        {"allotments": [{"src": "a", "dst": "b", "row": 0}]},
        {"allotments": [{"src": "a", "dst": "b", "row": 0, "col": -1}]},
        {"allotments": [{"src": "a", "dst": "b", "row": 0, "col": 0, "each": "cell"}]},
        {"allotments": [{"src": "a", "dst": "b", "row": 0, "col": 0, "mode": 640}]},
        {"allotments": [{"src": "a", "dst": "b", "row": 0, "col": 0}], "workdir": "here"},
        {"allotments": [{"src": "a", "dst": "b", "row": 0, "col": 0}], "colour": "red"},
    ],
)
def test_the_schema_refuses_what_the_parser_refuses(wrong: object) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, build_file_schema())
