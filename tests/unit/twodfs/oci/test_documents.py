import pytest

from twodfs.errors import FormatError
from twodfs.oci.documents import MAX_DEPTH, parse_object

DUPLICATES = [
    b'{"layers":[],"layers":[]}',
    b'{"a":{"b":1,"b":2}}',
    b'{"rows":[{"allotments":[{"row":0,"row":1}]}]}',
    rb'{"layers":[],"l\u0061yers":[]}',
    rb'{"\\\"":1,"\\\"":2}',
    rb'{"a":"\"","a":"\""}',
]


@pytest.mark.parametrize("body", DUPLICATES)
def test_a_key_that_stands_twice_is_refused(body: bytes) -> None:
    with pytest.raises(FormatError, match="the same key twice"):
        parse_object(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":{"x":1},"b":{"x":1}}',
        b'{"a":"a","b":"\\"a\\":1,\\"a\\":2"}',
        rb'{"a\\":"\\","b":"\u0022\u005c\u0000\/"}',
        '{"a":"\x7f \\ud83d\\ude00 é"}'.encode(),
    ],
)
def test_the_same_key_in_different_objects_and_any_string_is_fine(body: bytes) -> None:
    assert parse_object(body)


def test_nesting_has_a_limit_that_is_told() -> None:
    def nested(levels: int) -> bytes:
        return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"

    assert parse_object(nested(MAX_DEPTH))
    with pytest.raises(FormatError, match=f"nested deeper than {MAX_DEPTH} levels"):
        parse_object(nested(MAX_DEPTH + 1))
    with pytest.raises(FormatError, match="not JSON"):
        parse_object(nested(5000))
