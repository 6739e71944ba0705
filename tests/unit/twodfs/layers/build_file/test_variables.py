import pytest

from tests.lab.work import grows_with_its_input
from twodfs.errors import FormatError
from twodfs.layers.build_file import variables
from twodfs.layers.build_file.variables import escaped, expanded, may_have_variables

SET = {"A": "one", "B_2": "two", "EMPTY": "", "N": "17", "ZERO": "0", "PADDED": "017", "NESTED": "${A}"}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("${A}", "one"),
        ("x-${A}-${B_2}${EMPTY}", "x-one-two"),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
        ("$A $ $$ {A}", "$A $ $$ {A}"),
        ("${NESTED}", "${A}"),
    ],
)
def test_a_variable_is_its_value(text: str, result: str) -> None:
    assert expanded({"src": [text]}, SET) == {"src": [result]}


def test_keys_have_no_variables() -> None:
    assert expanded({"${A}": 1}, SET) == {"${A}": 1}


def test_a_number_may_be_a_variable() -> None:
    tree = {"row": "${N}", "col": "${ZERO}", "label": "${N}", "uid": "${PADDED}", "gid": "1${N}"}
    assert expanded(tree, SET) == {"row": 17, "col": 0, "label": "17", "uid": "017", "gid": "117"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("${MISSING}", "the variable MISSING is not set; give it with --set MISSING=VALUE"),
        *(
            (text, "'${' begins a variable, as ${NAME}; write '$${' for the characters themselves")
            for text in ("${", "${}", "${a b}", "${1}", "${A", "${A:-b}")
        ),
    ],
)
def test_what_is_no_variable_is_said_with_its_place(text: str, sentence: str) -> None:
    with pytest.raises(FormatError) as failed:
        expanded({"allotments": [{"src": ["a", text]}]}, SET)
    assert str(failed.value) == f"{sentence} in 'allotments[0].src[1]'"


@pytest.mark.parametrize("text", ["${A}", "$${A}", "$$${", "${", "$", "a$${b}${", "{${"])
def test_what_is_escaped_is_itself_again(text: str) -> None:
    assert expanded(escaped({"src": [text], "row": 1}), {}) == {"src": [text], "row": 1}


def test_values_have_a_bound_together() -> None:
    value = "x" * (variables.MAX_EXPANDED // 4)
    assert len(expanded(["${A}"] * 4, {"A": value})) == 4
    with pytest.raises(FormatError, match="variables have more than"):
        expanded(["${A}"] * 5, {"A": value})


def test_most_files_are_not_looked_through() -> None:
    assert not may_have_variables(b'{"src": "a$b"}')
    for text in (b'{"src": "${A}"}', b'{"src": "\\u0024{A}"}'):
        assert may_have_variables(text)


def test_the_work_grows_with_the_text() -> None:
    assert grows_with_its_input(lambda size: lambda: expanded("$${A}${A}" * size, SET), 1000)
