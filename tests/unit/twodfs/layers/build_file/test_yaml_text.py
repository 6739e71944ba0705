import time
from contextlib import suppress
from typing import Any

import pytest
import yaml

from twodfs.errors import FormatError
from twodfs.layers.build_file import yaml_text
from twodfs.layers.build_file.yaml_text import MAX_ALIASED, MAX_YAML_BYTES, read_yaml

PYTHON = "tag:yaml.org,2002:python/"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("-1.5e3", -1500.0),
        ("true", True),
        ("null", None),
        ("", None),
        ("0640", "0640"),
        ("1.2.3", "1.2.3"),
        ("no", "no"),
        ("yes", "yes"),
        ("True", "True"),
        ("~", "~"),
        ("0x10", "0x10"),
        ("2026-11-28", "2026-11-28"),
        ('"12"', "12"),
        ("'true'", "true"),
        ("99999999999999999999999", 1e23),
    ],
)
def test_words_are_what_json_has_and_all_else_is_text(text: str, value: object) -> None:
    found = read_yaml(f"key: {text}\n")["key"]
    assert (found, type(found)) == (value, type(value))


def test_a_key_is_a_text_whatever_it_looks_like() -> None:
    assert read_yaml("1: a\ntrue: b\nnull: c") == {"1": "a", "true": "b", "null": "c"}


def test_an_alias_is_what_it_stands_for() -> None:
    assert read_yaml("a: &x [1, {b: 2}]\nc: *x") == {"a": [1, {"b": 2}], "c": [1, {"b": 2}]}
    assert read_yaml("&k key: 1\nother: *k") == {"key": 1, "other": "key"}


def test_every_value_has_its_line() -> None:
    lines: dict[str, int] = {}
    read_yaml("# first\na:\n  - b: 1\n    c: [x,\n      y]\n  - |\n    long\n    text\n", lines)
    assert lines == {
        "": 2,
        "a": 3,
        "a[0]": 3,
        "a[0].b": 3,
        "a[0].c": 4,
        "a[0].c[0]": 4,
        "a[0].c[1]": 5,
        "a[1]": 6,
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: 1\na: 2", "line 2: the key 'a' is given twice; each key may stand once"),
        (
            "a: !!python/object/apply:os.system [x]",
            f"line 1: the tag '{PYTHON}object/apply:os.system' is not taken; a build file has plain values",
        ),
        ("- 1\n- ! x", "line 2: the tag '!' is not taken; a build file has plain values"),
        ("a: *b", "line 1: the alias *b stands before the end of what it stands for"),
        ("&a [*a]", "line 1: the alias *a stands before the end of what it stands for"),
        ("? [1]\n: 2", "line 1: a key is a text"),
        ("a: &b [1]\n*b : 2", "line 2: a key is a text"),
        ("--- 1\n--- 2", "line 2: a second document begins; a build file is one"),
        ("a: b: c", "line 1: not YAML: mapping values are not allowed in this context"),
        ("[" * 65 + "]" * 65, "line 1: nested deeper than 64 levels"),
    ],
)
def test_what_is_refused_is_said_with_its_line(text: str, sentence: str) -> None:
    with pytest.raises(FormatError) as failed:
        read_yaml(text)
    assert str(failed.value) == sentence


def test_a_character_that_yaml_does_not_know_is_refused() -> None:
    with pytest.raises(FormatError, match=r"not YAML: .*control characters are not allowed"):
        read_yaml("a: \x01")


def test_aliases_of_aliases_end_at_a_bound() -> None:
    bomb = "- &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    bomb += "".join(f"- &a{at} [{', '.join([f'*a{at - 1}'] * 9)}]\n" for at in range(1, 30))
    with pytest.raises(FormatError, match=f"line 6: aliases stand for more than {MAX_ALIASED} values"):
        read_yaml(bomb)


HOSTILE = ["[", "- ", "? ", "{a: ", "&a ", "- |\n", "a:\n", "a: [\n", "!", "%", "'", "- 'a\n", "- *a\n", "*"]


@pytest.mark.parametrize("piece", HOSTILE)
def test_the_largest_file_of_one_piece_is_soon_done_with(piece: str) -> None:
    text = piece * (MAX_YAML_BYTES // 8 // len(piece))
    begin = time.process_time()
    with suppress(FormatError):
        read_yaml(text)
    assert time.process_time() - begin < 5


@pytest.mark.parametrize("text", ["a: [1, {b: &x c}]\nd: *x\n", "a: 1\na: 2", "a: b: c", "- !x 1", "a: \x01"])
def test_it_reads_the_same_without_libyaml(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def outcome() -> Any:
        try:
            return read_yaml(text)
        except FormatError as error:
            return str(error).partition("not YAML")[0]

    with_it = outcome()
    monkeypatch.setattr(yaml_text, "_LOADER", yaml.SafeLoader)
    assert outcome() == with_it
