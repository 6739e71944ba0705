from hypothesis import given
from hypothesis import strategies as st

from twodfs.cli.grid import draw
from twodfs.field.allotment import Allotment
from twodfs.field.field import Field
from twodfs.field.labels import Labels
from twodfs.oci.digest import digest_of

DIGEST = digest_of(b"")


def field_of(*cells: tuple[int, int, int | None]) -> Field:
    return Field.of(Allotment(row, col, DIGEST, DIGEST, size) for row, col, size in cells)


def test_holes_are_seen() -> None:
    field = field_of((0, 0, 10), (0, 2, None), (2, 1, 2_500_000))
    assert draw(field, width=80, height=20) == [
        "      0       1  2",
        "0  10 B       ·  ?",
        "1     ·       ·  ·",
        "2     ·  2.5 MB  ·",
    ]


def test_what_does_not_fit_is_cut_and_said_so() -> None:
    field = field_of(*((row, col, 100) for row in range(30) for col in range(30)))
    lines = draw(field, width=40, height=10)
    assert len(lines) == 10
    assert lines[0].endswith(" …")
    assert lines[-1] == "… 22 more rows"


def test_a_few_cells_far_out_show_their_own_rows_and_columns() -> None:
    lines = draw(field_of((0, 0, 1), (5_000_000, 7_000, 2)), width=80, height=20)
    assert lines == [
        "           0  7000",
        "      0  1 B     ·",
        "5000000    ·   2 B",
    ]


def test_an_empty_field_says_so() -> None:
    assert draw(field_of(), width=80, height=20) == ["(no allotments)"]


@given(
    st.dictionaries(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), st.integers(0, 10**13), max_size=60),
    st.integers(40, 200),
    st.integers(3, 50),
)
def test_every_field_fits(cells: dict[tuple[int, int], int], width: int, height: int) -> None:
    lines = draw(field_of(*((*cell, size) for cell, size in cells.items())), width=width, height=height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width


def test_labels_stand_beside_rows_and_below_columns() -> None:
    labels = Labels(rows={0: "language", 11: "a rather long name"}, columns={1: "second half of it"})
    assert draw(field_of((0, 0, 1), (0, 1, 2_000), (11, 0, 3)), width=80, height=30, labels=labels)[:3] == [
        "                       0             1",
        "                          second half…",
        " 0 language          1 B          2 kB",
    ]
    last = draw(field_of((0, 0, 1), (11, 0, 3)), width=80, height=30, labels=labels)[-1]
    assert last == "11 a rather long n…  3 B"
