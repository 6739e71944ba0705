import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twodfs.errors import FormatError
from twodfs.field.field import Field
from twodfs.field.slices import SLICE_BYTES, OtherOrderError, Slices, in_whole

HEX = "ab" * 32
MANY = 2 * SLICE_BYTES // 100


def cell(row: int, col: int, **more: object) -> dict[str, object]:
    return {"row": row, "col": col, "digest": HEX, "diffid": HEX} | more


def row_of(*cells: object) -> dict[str, object]:
    return {"allotments": list(cells), "allotments_size": len(cells)}


def field_of(*rows: object, **more: object) -> dict[str, object]:
    return {"rows": list(rows), "rows_size": len(rows), "owner": ""} | more


def in_slices(body: bytes) -> tuple[list[Any], dict[str, Any]]:
    slices = Slices(body)
    found = []
    for part in slices:
        for at, one in enumerate(part.cells):
            assert part.path(at) == f"rows[{part.row_at}].allotments[{part.cell_at + at}]"
            found.append((part.row_at, part.cell_at + at, one))
    return found, slices.rest


FIELDS = [
    field_of(),
    field_of(row_of()),
    field_of(row_of(cell(0, 0)), row_of(), row_of(cell(2, 1), cell(2, 2))),
    field_of({"allotments": None, "allotments_size": 0}, partitions={"edge": "0.0.1.1"}),
    field_of(row_of(*(cell(0, at) for at in range(MANY)))),
    field_of(*(row_of(cell(at, 0)) for at in range(MANY))),
]


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(
    "write",
    [
        lambda raw: json.dumps(raw, separators=(",", ":")),
        json.dumps,
        lambda raw: "\n" + json.dumps(raw, indent=1) + "\n",
    ],
)
def test_the_slices_are_the_whole(field: dict[str, Any], write: Callable[[object], str]) -> None:
    found, rest = in_slices(write(field).encode())
    assert found == [
        (row_at, cell_at, one)
        for row_at, row in enumerate(field["rows"])
        for cell_at, one in enumerate(row["allotments"] or [])
    ]
    assert {key: rest[key] for key in rest if key} == {key: field[key] for key in field if key != "rows"}


def test_a_long_row_comes_in_several_slices() -> None:
    body = json.dumps(field_of(row_of(*(cell(0, at) for at in range(MANY))))).encode()
    assert len(list(Slices(body))) > 2
    assert Field.parse(body).count == MANY


@pytest.mark.parametrize(
    "field",
    [
        {"owner": "", **field_of(row_of(cell(0, 0)))},
        {"rows": [{"allotments_size": 1, "allotments": [cell(0, 0)]}]},
        field_of(row_of(cell(0, 0, mediaType="a]b}"))),
        field_of(row_of(*(cell(0, at, mediaType='}",]"') for at in range(MANY)))),
        field_of(row_of(*(cell(0, at, more={"of": ["this"]}) for at in range(MANY)))),
        field_of({"allotments": [cell(0, 0)]}),
        field_of({"allotments": [cell(0, 0)], "allotments_size": 1, "more": 1}),
    ],
)
def test_what_is_written_in_another_way_is_read_as_a_whole(field: dict[str, Any]) -> None:
    body = json.dumps(field).encode()
    with pytest.raises(OtherOrderError):
        in_slices(body)
    expected = [one for row in field["rows"] for one in row["allotments"]]
    assert [one for part in in_whole(field) for one in part.cells] == expected
    assert Field.parse(body).count == len(expected)


@pytest.mark.parametrize(
    "body",
    [
        b'{"rows":[{"allotments":[],"allotments_size":0},]}',
        b'{"rows":[{"allotments":[CELL,],"allotments_size":1}]}',
        b'{"rows":[{"allotments":[CELL CELL],"allotments_size":2}]}',
        b'{"rows":[{"allotments":[CELL],"allotments_size":1}{"allotments":[],"allotments_size":0}]}',
        b'{"rows":[{"allotments":[CELL],"allotments_size":1}],}',
        b'{"rows":[{"allotments":[CELL],"allotments_size":1}]}}',
        b'{"rows":[{"allotments":[CELL],"allotments_size":1}]',
        b'{"rows":[{"allotments":[CELL',
        b'{"rows":[',
    ],
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    text = json.dumps(cell(0, 0)).encode()
    with pytest.raises(FormatError, match="not JSON"):
        Field.parse(body.replace(b"CELL", text))


def test_a_key_that_is_written_twice_is_refused_wherever_it_stands() -> None:
    row = json.dumps([row_of(cell(0, 0))])
    twice_in_a_cell = row.replace('"row": 0', '"row": 1, "row": 0')
    assert twice_in_a_cell != row
    for body in (
        f'{{"rows":{row},"rows":[]}}',
        f'{{"rows":{row},"r\\u006fws":[]}}',
        f'{{"rows":[],"rows":{row}}}',
        f'{{"rows":{row},"owner":"","owner":""}}',
        f'{{"rows":{twice_in_a_cell}}}',
    ):
        with pytest.raises(FormatError, match="same key twice"):
            Field.parse(body.encode())


@given(st.data())
def test_a_changed_byte_is_read_as_json_reads_it(data: st.DataObject) -> None:
    body = bytearray(json.dumps(field_of(row_of(cell(0, 0), cell(0, 1)), row_of(cell(1, 0)))).encode())
    at = data.draw(st.integers(0, len(body) - 1))
    body[at : at + 1] = data.draw(st.sampled_from((b"]", b"}", b",", b"[", b"{", b'"', b"\\", b" ", b"", b"9")))
    try:
        found, rest = in_slices(bytes(body))
    except OtherOrderError:
        return
    raw = json.loads(bytes(body))
    assert found == [
        (row_at, cell_at, one)
        for row_at, row in enumerate(raw["rows"])
        for cell_at, one in enumerate(row["allotments"])
    ]
    assert rest.get("owner") == raw.get("owner")
