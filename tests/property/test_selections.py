"""Algebraic laws of selections and of flattening."""

import random

import orjson
from hypothesis import given
from hypothesis import strategies as st

from tests.lab.cutting import cut_from, documents_of
from tests.lab.handmade import Image
from twodfs.errors import FormatError, NothingSelectedError, PartitionError
from twodfs.field.field import Field
from twodfs.field.partition import Rectangle, Selection, is_name, readings
from twodfs.flatten.validate import validate
from twodfs.oci.documents import OCI_INDEX, OCI_MANIFEST

NUMBERS = st.integers(0, 12) | st.integers(0, 10**25)
RECTANGLES = st.builds(
    lambda a, b, c, d: Rectangle(min(a, b), min(c, d), max(a, b), max(c, d)),
    NUMBERS,
    NUMBERS,
    NUMBERS,
    NUMBERS,
)
NAMES = st.from_regex(r"\A[a-z][a-z0-9_]{0,9}(-[a-z0-9_]{1,5}){0,2}\Z")
SELECTIONS = st.builds(
    lambda some, names: Selection.of(*some, names=names),
    st.lists(RECTANGLES, max_size=4),
    st.sets(NAMES, max_size=3),
)
SMALL = st.integers(0, 6)
INSIDE = st.builds(lambda a, b, c, d: Rectangle(min(a, b), min(c, d), max(a, b), max(c, d)), SMALL, SMALL, SMALL, SMALL)
CELLS = st.sets(st.tuples(SMALL, SMALL), min_size=1, max_size=20).map(lambda cells: {(6, 6), *cells})


@given(SELECTIONS)
def test_what_is_formatted_parses_to_the_same(selection: Selection) -> None:
    assert Selection.parse(str(selection)) == selection


@given(st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9._]{0,20}\Z"), SELECTIONS)
def test_a_tag_made_of_base_and_selection_reads_back(base: str, selection: Selection) -> None:
    tag = f"{base}--{selection}"
    if len(tag) <= 128:
        first = readings(tag)[0]
        assert (first.base, first.selection()) == (base, selection)


@given(NAMES, RECTANGLES)
def test_a_name_is_never_a_rectangle_and_a_rectangle_never_a_name(name: str, rectangle: Rectangle) -> None:
    assert is_name(name)
    assert not is_name(str(rectangle))
    assert Selection.parse(name).rectangles == ()
    assert Selection.parse(str(rectangle)).names == ()


@given(st.text(alphabet="ab0.-+_", max_size=12))
def test_a_link_is_a_name_or_a_rectangle_or_neither_but_never_both(link: str) -> None:
    try:
        selection = Selection.parse(link)
    except PartitionError:
        return
    links = link.split("--")
    assert all(is_name(one) != one[:1].isdigit() for one in links)
    assert set(selection.names) <= set(links)


@given(CELLS, INSIDE)
def test_a_name_gives_the_bytes_of_its_rectangle(cells: set[tuple[int, int]], rectangle: Rectangle) -> None:
    image = Image()
    source = image.document(image.manifest(sorted(cells), partitions={"edge": str(rectangle)}))
    try:
        expected = cut_from(image.blobs, source, Selection.of(rectangle))
    except NothingSelectedError:
        return
    assert cut_from(image.blobs, source, "edge") == expected
    assert cut_from(image.blobs, source, "all") == cut_from(image.blobs, source, "0.0.6.6")


@given(st.lists(RECTANGLES, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_rectangles_does_not_matter(rectangles: list[Rectangle], shuffle: random.Random) -> None:
    shuffled = [*rectangles, *rectangles]
    shuffle.shuffle(shuffled)
    assert Selection.of(*shuffled) == Selection.of(*rectangles)


@given(st.text(max_size=140))
def test_any_text_reads_as_a_partition_or_not_and_never_fails_otherwise(text: str) -> None:
    try:
        for reading in readings(text):
            assert reading.base
            assert Selection.parse(str(reading.selection())) == reading.selection()
    except PartitionError:
        assert len(text) > 128


def covers(rectangle: Rectangle, cell: tuple[int, int]) -> bool:
    row, col = cell
    return rectangle.x1 <= row <= rectangle.x2 and rectangle.y1 <= col <= rectangle.y2


@given(CELLS, st.lists(INSIDE, min_size=1, max_size=3), INSIDE)
def test_a_larger_selection_holds_a_smaller_one(
    cells: set[tuple[int, int]], rectangles: list[Rectangle], more: Rectangle
) -> None:
    image = Image()
    source = image.document(image.manifest(sorted(cells)))
    expected = {cell for cell in cells if any(covers(rectangle, cell) for rectangle in rectangles)}
    try:
        small = cut_from(image.blobs, source, Selection.of(*rectangles))
    except NothingSelectedError:
        assert not expected
        return
    large = cut_from(image.blobs, source, Selection.of(*rectangles, more))
    assert small is not None
    assert large is not None
    assert small.allotments == len(expected)
    layers = [orjson.loads(one.documents[0].body)["layers"] for one in (small, large)]
    assert all(layer in layers[1] for layer in layers[0])


@given(CELLS, CELLS, st.lists(INSIDE, min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_flattening_is_deterministic_and_valid(
    one: set[tuple[int, int]],
    other: set[tuple[int, int]],
    rectangles: list[Rectangle],
    shuffle: random.Random,
) -> None:
    image = Image()
    entries = [
        image.descriptor(OCI_MANIFEST, image.manifest(sorted(cells)), platform={"architecture": name})
        for name, cells in (("amd64", one), ("arm64", other))
    ]
    source = image.document({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    shuffled = list(rectangles)
    shuffle.shuffle(shuffled)
    try:
        first = cut_from(image.blobs, source, Selection.of(*rectangles))
    except NothingSelectedError:
        return
    assert first is not None
    assert first == cut_from(image.blobs, source, Selection.of(*shuffled))
    assert validate(first.root, documents_of(first))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)
NEARLY_CELLS = st.fixed_dictionaries(
    {},
    optional={
        "row": JSON | SMALL,
        "col": JSON | SMALL,
        "digest": JSON | st.just("ab" * 32),
        "diffid": JSON | st.just("cd" * 32),
        "size": JSON | st.integers(0, 9),
        "mediaType": JSON | st.just("x"),
    },
)
NEARLY_ROWS = st.lists(st.fixed_dictionaries({"allotments": st.lists(NEARLY_CELLS, max_size=4) | JSON}) | JSON)
NEARLY_FIELDS = st.fixed_dictionaries({"rows": NEARLY_ROWS | JSON})


@given(JSON | NEARLY_FIELDS)
def test_any_json_parses_as_a_field_or_says_where_it_does_not(document: object) -> None:
    try:
        body = orjson.dumps(document)
    except (TypeError, orjson.JSONEncodeError):  # integers of more than 64 bits, lone surrogates
        body = repr(document).encode("utf-8", "replace")
    try:
        field = Field.parse(body)
    except FormatError as error:
        whole_document = ("not JSON", "two allotments", "expected an object, found")
        assert error.path or str(error).startswith(whole_document)
        return
    assert field.count == len(list(field))


@given(st.binary(max_size=200))
def test_any_bytes_parse_as_a_field_or_are_refused(body: bytes) -> None:
    try:
        Field.parse(body)
    except FormatError:
        return
