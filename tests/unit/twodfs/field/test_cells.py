import pytest
from hypothesis import given
from hypothesis import strategies as st

from twodfs.errors import FormatError
from twodfs.field.allotment import Allotment
from twodfs.field.cells import Cells, PackedError
from twodfs.field.packer import Packer
from twodfs.field.rectangle import Rectangle
from twodfs.oci.digest import Digest, digest_of
from twodfs.oci.documents import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD

HEX = "ab" * 32
SHA512 = Digest("sha512:" + "cd" * 64)
COORDINATES = st.integers(0, 5) | st.integers(0, 2**31 - 1)
ALLOTMENTS = st.builds(
    Allotment,
    COORDINATES,
    COORDINATES,
    st.binary(max_size=2).map(digest_of) | st.just(SHA512),
    st.binary(max_size=2).map(digest_of) | st.just(SHA512),
    st.none() | st.integers(1, 2**63 - 1),
    st.sampled_from((OCI_LAYER, OCI_LAYER_GZIP, "text/plain")),
)
FIELDS = st.lists(ALLOTMENTS, max_size=30, unique_by=lambda one: (one.row, one.col))


def packed(*allotments: Allotment) -> Cells:
    packer = Packer()
    for one in allotments:
        packer.add(one)
    return packer.finish({})


def in_order(allotments: list[Allotment]) -> list[Allotment]:
    return sorted(allotments, key=lambda one: (one.row, one.col))


@given(FIELDS)
def test_what_is_packed_in_any_order_comes_back_in_row_major_order(allotments: list[Allotment]) -> None:
    cells = packed(*allotments)
    assert list(cells) == list(Cells.open(cells.packed)) == in_order(allotments)
    assert cells.last_row == max((one.row for one in allotments), default=-1)
    assert cells.last_col == max((one.col for one in allotments), default=-1)
    assert cells.total_bytes == sum(one.size or 0 for one in allotments)


UPRIGHT = st.builds(
    lambda a, b, c, d: Rectangle(min(a, b), min(c, d), max(a, b), max(c, d)),
    *[COORDINATES | st.integers(0, 10**25)] * 4,
)


@given(FIELDS, st.lists(UPRIGHT, max_size=5))
def test_rectangles_find_what_lies_in_any_of_them(allotments: list[Allotment], rectangles: list[Rectangle]) -> None:
    cells = packed(*allotments)
    inside = [one for one in allotments if any(r.x1 <= one.row <= r.x2 and r.y1 <= one.col <= r.y2 for r in rectangles)]
    found = [places for places in cells.covered(rectangles) if places is not None]
    assert [cells[at] for places in found for at in places] == in_order(inside)
    assert [size for places in found for size in cells.sizes_of(places)] == [one.size or 0 for one in in_order(inside)]


VALUES: st.SearchStrategy[object] = st.sampled_from(
    (0, 1, 7, -1, 2**31, 2**63, True, None, "", "1", 1.0, "zstd", HEX, HEX.upper(), "é" * 64, [])
)
RAW = st.lists(
    st.builds(
        lambda known, odd: known | odd,
        st.builds(
            lambda row, digest: {"row": row, "col": 0, "digest": digest, "diffid": HEX},
            st.integers(0, 3),
            st.sampled_from((HEX, "", f"sha256:{HEX}")),
        ),
        st.dictionaries(st.sampled_from(("row", "col", "digest", "diffid", "size", "mediaType")), VALUES, max_size=1)
        | st.dictionaries(st.sampled_from(("size", "mediaType", "compressedSize", "compression", "tocDigest")), VALUES),
    )
    | VALUES,
    max_size=4,
)


@given(RAW)
def test_many_cells_at_once_are_read_as_one_by_one(raw: list[object]) -> None:
    """What it refuses to add at once is left to `from_dict`, and nothing of it was added."""
    packer = Packer()
    at_once = packer.add_raw(raw)
    try:
        one_by_one = [one for cell in raw if (one := Allotment.from_dict(cell)) is not None]
    except FormatError:
        assert not at_once
        return
    try:
        found = list(packer.finish({}))
    except FormatError:
        assert len({(one.row, one.col) for one in one_by_one}) < len(one_by_one)
        return
    assert found == (in_order(one_by_one) if at_once else [])


def test_a_usual_slice_is_added_at_once() -> None:
    cell = {"row": 3, "col": 1, "digest": HEX, "diffid": HEX, "size": 9, "mediaType": OCI_LAYER}
    hole = {"row": 3, "col": 0, "digest": "", "diffid": ""}
    packer = Packer()
    assert packer.add_raw([hole, cell])
    digest = Digest(f"sha256:{HEX}")
    assert list(packer.finish({})) == [Allotment(3, 1, digest, digest, 9, OCI_LAYER)]


def test_cells_of_the_fork_are_added_at_once() -> None:
    cell = {"row": 3, "col": 0, "digest": HEX, "diffid": HEX, "compressedSize": 9}
    zstd = cell | {"col": 1, "tocDigest": f"sha256:{HEX}", "compression": "zstd"}
    stargz = zstd | {"col": 2, "compression": "stargz"}
    ours = zstd | {"col": 3, "size": 7, "mediaType": OCI_LAYER}
    unset = cell | {"col": 4, "compressedSize": "nine", "size": 0}
    packer = Packer()
    assert packer.add_raw([cell, zstd, stargz, ours, unset])
    found = list(packer.finish({}))
    assert [(one.size, one.media_type, one.is_inferred) for one in found] == [
        (9, OCI_LAYER_GZIP, False),
        (9, OCI_LAYER_ZSTD, True),
        (9, OCI_LAYER_GZIP, False),
        (7, OCI_LAYER, False),
        (None, OCI_LAYER_GZIP, False),
    ]
    assert found == [Allotment.from_dict(one) for one in (cell, zstd, stargz, ours, unset)]


def test_a_type_that_was_inferred_counts_with_those_that_were_told() -> None:
    digest = digest_of(b"")
    told, inferred = (Allotment(0, at, digest, digest, 5, OCI_LAYER_ZSTD, bool(at)) for at in range(2))
    cells = packed(told, inferred, Allotment(1, 0, digest, digest))
    assert cells.media_types() == {OCI_LAYER_ZSTD: 2, OCI_LAYER_GZIP: 1}
    assert list(cells)[:2] == [told, inferred]


def test_a_million_cells_would_take_eighty_megabytes() -> None:
    digest = digest_of(b"")
    cells = packed(*(Allotment(at, at, digest, digest, 5) for at in range(1000)))
    assert len(cells.packed) < 80.5 * 1000


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"\n",
        b"{}\n",
        b"[]\n",
        packed(Allotment(0, 0, SHA512, SHA512)).packed[:-1],
        packed().packed + b"0",
        packed().packed.replace(b'"2-', b'"0-'),
        packed().packed.replace(b'"2-', b'"1-'),
    ],
)
def test_bytes_that_are_no_packed_field_are_not_opened(broken: bytes) -> None:
    with pytest.raises(PackedError):
        Cells.open(broken)
