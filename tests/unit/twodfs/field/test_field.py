import json
from typing import Any

import pytest

from tests.lab.work import steps_of
from twodfs.errors import FormatError, NothingSelectedError, PartitionError, TooManyLayersError
from twodfs.field.allotment import Allotment
from twodfs.field.document import write_field, write_original_field
from twodfs.field.field import MOST_SEARCHES, Field
from twodfs.field.names import parse_partitions
from twodfs.field.partition import Rectangle, Selection
from twodfs.field.selected import MOST_MERGED
from twodfs.field.slices import LongStepError
from twodfs.field.steps import finished
from twodfs.oci.digest import Digest, digest_of
from twodfs.oci.documents import FIELD_LAYER, OCI_LAYER, OCI_LAYER_GZIP

HEX = "ab" * 32


def cell(row: int, col: int, **more: object) -> dict[str, object]:
    return {"row": row, "col": col, "digest": HEX, "diffid": HEX} | more


def field_of(*rows: list[dict[str, Any]]) -> Field:
    return Field.parse(json.dumps({"rows": [{"allotments": row} for row in rows]}).encode())


def selected(field: Field, selection: str) -> list[tuple[int, int]]:
    return [(one.row, one.col) for one in field.select(Selection.parse(selection))]


GRID = field_of(*([cell(row, col) for col in range(4)] for row in range(3)))


def test_both_ends_are_inclusive() -> None:
    assert selected(GRID, "1.2.2.3") == [(1, 2), (1, 3), (2, 2), (2, 3)]


def test_a_chain_is_the_union_in_row_major_order() -> None:
    assert selected(GRID, "2.0.2.1--0.3.1.3") == [(0, 3), (1, 3), (2, 0), (2, 1)]


def test_a_rectangle_may_reach_beyond_the_field() -> None:
    assert selected(GRID, "2.3.99.99999999999999999999") == [(2, 3)]


@pytest.mark.parametrize("outside", ["3.0.9.9", "0.4.9.9", "7.7.8.8", "0.0.0.0--7.7.8.8"])
def test_a_rectangle_outside_the_field_is_an_error_that_names_the_extent(outside: str) -> None:
    with pytest.raises(NothingSelectedError, match=r"selects no allotment: .* rows 0\.\.2, columns 0\.\.3"):
        selected(GRID, outside)


def test_holes_may_be_empty_cells_or_absent() -> None:
    empty = {"row": 0, "col": 1, "digest": "", "diffid": ""}
    sparse = field_of([cell(0, 0), empty, cell(0, 2)], [], [cell(2, 1)])
    assert selected(sparse, "0.0.2.2") == [(0, 0), (0, 2), (2, 1)]
    with pytest.raises(NothingSelectedError):
        selected(sparse, "1.0.1.2")


def test_a_cell_stands_where_it_says_whatever_array_it_is_in() -> None:
    assert selected(field_of([cell(5, 5), cell(1, 1)], [cell(0, 3)]), "0.0.9.9") == [(0, 3), (1, 1), (5, 5)]


def test_null_arrays_of_go_are_empty() -> None:
    for body in (b'{"rows":null}', b'{"rows":[{"allotments":null}]}', b"{}"):
        with pytest.raises(NothingSelectedError, match="is empty"):
            selected(Field.parse(body), "0.0.0.0")


def test_an_inverted_rectangle_is_an_error() -> None:
    with pytest.raises(PartitionError, match="is inverted"):
        selected(GRID, "0.0.9.9--2.0.1.0")


def test_more_than_the_limit_is_an_error() -> None:
    whole = Selection.parse("0.0.9.9")
    assert len(GRID.select(whole, limit=12)) == 12
    with pytest.raises(TooManyLayersError, match="selects more than 11 allotments"):
        GRID.select(whole, limit=11)


def test_equal_cells_are_merged_in_bounded_time_and_short_steps() -> None:
    digest = digest_of(b"")
    field = Field.of(Allotment(0, col, digest, digest) for col in range(MOST_MERGED + 1))
    whole = Selection.parse(f"0.0.0.{MOST_MERGED}")
    assert len(field.select(whole)) == MOST_MERGED + 1
    assert [one.col for one in field.select(whole, merged=True)] == [MOST_MERGED]
    assert len(list(field.select_in_steps(whole, merged=True))) == MOST_MERGED // 2000
    with pytest.raises(PartitionError, match="more than 100000 cells, most of them with the same blobs"):
        field.select(whole, limit=5, merged=True)


def test_a_selection_that_would_search_for_long_is_refused_where_time_matters() -> None:
    digest = digest_of(b"")
    tall = Field.of(Allotment(row, 2 * (row % 2), digest, digest) for row in range(2 * MOST_SEARCHES + 4))
    between = Selection.parse("0.1.999999.1")
    with pytest.raises(PartitionError, match="spans too many rows of the field of this image"):
        tall.select(between, limit=5)
    with pytest.raises(NothingSelectedError):
        tall.select(between)
    with pytest.raises(NothingSelectedError):
        tall.select(Selection.parse("0.1.9999.1"), limit=5)


def test_size_and_media_type_default_to_unknown_and_gzip() -> None:
    (plain, ours) = field_of([cell(0, 0), cell(0, 1, size=7, mediaType=OCI_LAYER)])
    assert (plain.size, plain.media_type) == (None, OCI_LAYER_GZIP)
    assert (ours.size, ours.media_type) == (7, OCI_LAYER)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (
            cell(0, 0, digest="abc"),
            "'abc' is not a digest; expected sha256:<64 lower-case hex digits> in {}.digest",
        ),
        (cell(0, 0, diffid=None), "expected a string, found nothing in {}.diffid"),
        (cell(-1, 0), "-1 is outside 0..2147483647 in {}.row"),
        (cell(0, 2**31), "2147483648 is outside 0..2147483647 in {}.col"),
        (cell(0, 0) | {"row": "0"}, "expected an integer, found str in {}.row"),
        (cell(0, 0) | {"row": True}, "expected an integer, found bool in {}.row"),
        (cell(0, 0, size=-1), "size -1 is outside 0..9223372036854775807 in {}.size"),
        (cell(0, 0, mediaType=5), "expected a string, found int in {}.mediaType"),
        ([], "expected an object, found list in {}"),
    ],
)
def test_a_malformed_cell_is_named_by_its_path(broken: object, message: str) -> None:
    place = "rows[1].allotments[0]"
    body = json.dumps({"rows": [{"allotments": []}, {"allotments": [broken]}]}).encode()
    with pytest.raises(FormatError) as caught:
        Field.parse(body)
    said, _, path = message.partition(" in {}")
    assert str(caught.value) == f"{said} in '{place}{path}'"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not JSON"),
        (b"[]", "expected an object, found list"),
        (b'{"rows":5}', "expected an array, found int in 'rows'"),
        (b'{"rows":[5]}', r"expected an object, found int in 'rows\[0\]'"),
        (b'{"rows":[{"allotments":5}]}', r"expected an array, found int in 'rows\[0\].allotments'"),
        (b'{"rows":' + b"[" * 2000 + b"]" * 2000 + b"}", "not JSON|expected"),
    ],
)
def test_a_malformed_field_is_an_error_with_a_path(body: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        Field.parse(body)


def test_a_size_of_zero_is_no_size() -> None:
    """No layer is empty; it is how Go writes a number that nobody set."""
    assert [one.size for one in field_of([cell(0, 0, size=0)])] == [None]


def test_two_allotments_on_one_cell_are_an_error() -> None:
    with pytest.raises(FormatError, match="two allotments stand on row 1, column 2"):
        field_of([cell(1, 2)], [cell(1, 2)])


def test_what_is_written_parses_to_the_same_cells() -> None:
    digest = Digest(f"sha256:{HEX}")
    cells = [Allotment(4, 0, digest, digest, 9, OCI_LAYER), Allotment(0, 7, digest, digest)]
    written = write_field(cells)
    assert list(Field.parse(json.dumps(written).encode())) == sorted(cells, key=lambda one: one.row)
    assert list(written) == ["rows", "rows_size", "owner"]


@pytest.mark.parametrize(
    ("partitions", "sentence"),
    [
        ({"edge": "0.0.1"}, "'0.0.1' is no selection"),
        ({"all": "0.0.1.1"}, "'all' is reserved"),
        ({"base": "0.0.1.1"}, "'base' is reserved"),
        ({"Edge": "0.0.1.1"}, "'Edge' is no name"),
        ({"a--b": "0.0.1.1"}, "'a--b' is no name"),
        ({"edge": "gpu"}, "'gpu' is a name; expected rectangles"),
        ({"edge": "base"}, "'base' is a name; expected rectangles"),
        ({"edge": "1.0.0.0"}, "is inverted"),
        ({"edge": 1}, "expected a string, found int in 'partitions.edge'"),
        ([], "expected an object, found list in 'partitions'"),
    ],
)
def test_a_table_of_names_that_breaks_the_grammar_is_refused(partitions: object, sentence: str) -> None:
    with pytest.raises(FormatError) as failed:
        Field.parse(json.dumps({"rows": [], "partitions": partitions}).encode())
    assert sentence in str(failed.value)


def test_names_are_written_sorted_and_read_back() -> None:
    named = {"gpu": Selection.parse("1.0.2.0--0.0.0.0"), "edge": Selection.parse("0.0.1.1")}
    written = write_field(GRID, partitions=named)
    assert json.dumps(written["partitions"]) == '{"edge": "0.0.1.1", "gpu": "0.0.0.0--1.0.2.0"}'
    assert Field.parse(json.dumps(written).encode()).partitions == named


def test_a_field_without_names_has_no_table() -> None:
    assert list(write_field(GRID)) == ["rows", "rows_size", "owner"]


def test_holes_are_written_as_the_original_writes_them() -> None:
    digest = digest_of(b"")
    written = write_original_field([Allotment(2, 2, digest, digest, 1), Allotment(0, 0, digest, digest)])
    bare = digest.removeprefix("sha256:")
    hole = {"row": 2, "col": 2, "digest": "", "diffid": ""}
    assert written == {
        "rows": [
            {"allotments": [{"row": 0, "col": 0, "digest": bare, "diffid": bare}], "allotments_size": 1},
            {"allotments": [], "allotments_size": 0},
            {"allotments": [hole, hole, hole | {"digest": bare, "diffid": bare}], "allotments_size": 3},
        ],
        "rows_size": 3,
        "owner": "",
    }
    assert [(one.row, one.col) for one in Field.parse(json.dumps(written).encode())] == [(0, 0), (2, 2)]


def test_a_field_with_too_many_holes_is_not_for_the_original() -> None:
    with pytest.raises(FormatError, match="the original format writes each hole"):
        write_original_field([Allotment(0, 2_000_000, digest_of(b""), digest_of(b""))])


def test_names_cannot_make_a_field_expensive() -> None:
    long = "--".join(f"{n}.0.{n}.0" for n in range(257))
    with pytest.raises(FormatError, match=r"more than 256 rectangles in 'partitions\.edge'"):
        parse_partitions({"edge": long})
    many = {f"n{n}": "0.0.0.0--1.1.1.1" for n in range(8193)}
    with pytest.raises(FormatError, match=r"more than 16384 rectangles in 'partitions'"):
        parse_partitions(many)
    with pytest.raises(FormatError, match="is no selection"):
        parse_partitions({"edge": "9" * 5000 + ".0.0.0"})


def chained(count: int) -> Field:
    """Return a field of one cell, and of `count` names of 256 rectangles each that all cover it."""
    names = {
        f"n{at}": "--".join(f"{n}.{999 - n}.{2000 - n}.{1001 + n}" for n in range(at, at + 256)) for at in range(count)
    }
    return Field.parse(json.dumps({"rows": [{"allotments": [cell(999, 1000)]}], "partitions": names}).encode())


def test_a_selection_stands_for_a_bounded_number_of_rectangles() -> None:
    field = chained(5)
    four = field.resolve(Selection.parse("n0--n1--n2--n3"))
    assert four is not None
    assert selected(field, str(four)) == [(999, 1000)]
    with pytest.raises(PartitionError, match=r"stands for 1025 rectangles, and at most 1024 are joined"):
        field.resolve(Selection.parse("n0--n1--n2--n3--0.0.0.0"))
    assert field.resolve(Selection.parse("n0--n1--n2--n3--n4--unknown")) is None


def test_resolving_and_selecting_by_many_rectangles_is_done_in_short_steps() -> None:
    field = chained(4)
    count, longest = steps_of(field.resolve_in_steps(Selection.parse("n0--n1--n2--n3")))
    assert count == 4
    assert longest < 0.1  # 5 ms; it took seconds
    digest = digest_of(b"")
    tall = Field.of(Allotment(row, 2 * (row % 2), digest, digest) for row in range(40_000))
    crossing = Selection.of(*(Rectangle(n, 1, 39_000 + n, 1) for n in range(100)), Rectangle(0, 0, 0, 0))
    count, longest = steps_of(tall.select_in_steps(crossing, limit=5))
    assert count >= 10
    more = Selection.of(*(Rectangle(n, 1, 39_000 + n, 1) for n in range(1000)), Rectangle(0, 0, 0, 0))
    with pytest.raises(PartitionError, match="and 997 more spans too many rows"):
        tall.select(more, limit=5)
    assert longest < 0.1


def test_a_selection_costs_its_rows_once_however_many_rectangles_there_are() -> None:
    """Whoever goes over the cells of each rectangle anew takes a thousand times as many searches."""
    digest = digest_of(b"")
    field = Field.of(Allotment(row, col, digest, digest, 1) for row in range(400) for col in range(5))
    shifted = Selection.of(*(Rectangle(n, 0, 1000 + n, 3 + n) for n in range(300)))
    whole = field.measure(shifted, 1_000_000)
    assert whole is not None
    assert (whole.allotments, whole.size) == (len(field.select(shifted)), len(field.select(shifted)))
    assert whole.searches < 30_000
    assert field.measure(shifted, 10) is None


def test_names_are_read_in_steps() -> None:
    names = {f"n{at}": "--".join(f"{n}.0.{n}.0" for n in range(256)) for at in range(60)}
    body = json.dumps({"rows": [], "partitions": names}).encode()
    count, longest = steps_of(Field.parse_in_steps(body))
    assert count >= 60
    assert longest < 0.1


@pytest.mark.parametrize("order", ["usual", "other"])
@pytest.mark.parametrize(
    "media_type",
    ["", "a\nb", "a\x1b[2J", "\x7f", "\x9b", "x" * 256, FIELD_LAYER, FIELD_LAYER.upper()],
)
def test_a_media_type_that_is_none_or_the_fields_own_is_refused(media_type: str, order: str) -> None:
    rows = [{"allotments": [cell(0, 0), cell(0, 1, mediaType=media_type)], "allotments_size": 2}]
    content = {"rows": rows} if order == "usual" else {"owner": "", "rows": rows}
    with pytest.raises(FormatError) as failed:
        Field.parse(json.dumps(content).encode())
    assert failed.value.path == "rows[0].allotments[1].mediaType"
    own = media_type.lower() == FIELD_LAYER
    assert ("is the field's own type" if own else "is no media type") in failed.value.problem


def test_what_is_told_in_the_head_of_a_packed_field_is_bounded() -> None:
    other = {"digest": "sha512:" + "ab" * 64}
    with pytest.raises(FormatError, match="more than 4096 allotments have digests other than SHA-256"):
        field_of([cell(0, col) | other for col in range(4097)])
    with pytest.raises(FormatError, match="more than 4096 media types"):
        field_of([cell(0, col, mediaType=f"t{col}") for col in range(4097)])


def test_a_long_step_is_refused_where_time_matters() -> None:
    rows = [{"allotments": [cell(0, col) for col in range(100)], "allotments_size": 100}]
    usual = json.dumps({"rows": rows}).encode()
    other = json.dumps({"owner": "", "rows": rows}).encode()
    more = json.dumps({"rows": rows, "owner": "x" * 1000}).encode()
    assert finished(Field.parse_in_steps(usual, at_once=500)).count == 100
    for body in (other, more):
        assert Field.parse(body).count == 100
        with pytest.raises(LongStepError):
            finished(Field.parse_in_steps(body, at_once=500))
