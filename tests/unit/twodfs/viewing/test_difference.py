"""What differs between two images, and what an update moves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twodfs.field.allotment import Allotment
from twodfs.field.labels import Labels
from twodfs.images.source import StoredImage
from twodfs.oci.digest import digest_of
from twodfs.oci.documents import OCI_CONFIG, OCI_LAYER, Descriptor
from twodfs.oci.platforms import Platform
from twodfs.storage.store import ImageStore
from twodfs.viewing.content import ImageContent
from twodfs.viewing.difference import ImageDifference, Moved, differences

AMD = Platform("linux", "amd64")
ARM = Platform("linux", "arm64")


def described(name: str, size: int, media_type: str = OCI_LAYER) -> Descriptor:
    return Descriptor(media_type, digest_of(name.encode()), size, {})


def cell(row: int, col: int, content: str, size: int | None = 10) -> Allotment:
    return Allotment(row, col, digest_of(content.encode()), digest_of(content.encode()), size)


def image(
    *cells: Allotment, base: tuple[Descriptor, ...] = (), config: str = "config", platform: Platform = AMD
) -> ImageContent:
    ordered = tuple(sorted(cells, key=lambda one: (one.row, one.col)))
    named = described(config, 3, OCI_CONFIG)
    return ImageContent(platform, digest_of(repr(cells).encode()), named, base, ordered, Labels(cells={(0, 0): "head"}))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> StoredImage:
    store = ImageStore(tmp_path_factory.mktemp("store"))
    store.put(b"unsized")
    return StoredImage(store, described("none", 0))


def compared(old: ImageContent, new: ImageContent, source: StoredImage) -> ImageDifference:
    (one,) = differences([old], [new], source)
    return one


def test_cells_are_compared_by_place_and_bytes_by_blob(source: StoredImage) -> None:
    kept, lower, higher = described("kept", 100), described("lower", 50), described("higher", 70)
    old = image(cell(0, 0, "a"), cell(0, 1, "b"), cell(1, 0, "gone"), base=(kept, lower), config="old")
    new = image(cell(0, 0, "a2", 20), cell(0, 1, "b"), cell(2, 0, "gone"), base=(kept, higher), config="new")
    one = compared(old, new, source)
    assert [(change.cell.row, change.cell.col) for change in one.added] == [(2, 0)]
    assert [(change.cell.row, change.cell.col) for change in one.removed] == [(1, 0)]
    assert [(change.old, change.new, change.label) for change in one.changed] == [(old.cells[0], new.cells[0], "head")]
    assert one.unchanged == 1
    assert one.moved == Moved(blobs=3, cells=20, base=70, config=3)  # a cell that went elsewhere moves nothing
    assert (one.moved.size, one.size) == (93, 3 + 100 + 70 + 20 + 10 + 10)
    assert not one.is_empty


def test_the_same_image_moves_nothing(source: StoredImage) -> None:
    old = image(cell(0, 0, "a"), base=(described("kept", 100),))
    one = compared(old, old, source)
    assert one.is_empty
    assert (one.moved, one.unchanged) == (Moved(0, 0, 0, 0), 1)


def test_platforms_come_and_go(source: StoredImage) -> None:
    was, now = image(cell(0, 0, "a"), platform=ARM), image(cell(0, 0, "a"), platform=AMD)
    come, gone = differences([was], [now], source)
    assert (come.platform, come.old, come.new, come.moved.size) == (AMD, None, now.digest, 13)
    assert (gone.platform, gone.old, gone.new, gone.moved.blobs) == (ARM, was.digest, None, 0)
    assert not come.is_empty
    assert not gone.is_empty


def test_sizes_that_a_field_does_not_record_are_asked_for(source: StoredImage) -> None:
    one = compared(image(), image(cell(0, 0, "unsized", None)), source)
    assert one.moved.cells == len(b"unsized")


def test_a_blob_in_two_places_moves_once(source: StoredImage) -> None:
    one = compared(image(), image(cell(0, 0, "a"), cell(0, 1, "a")), source)
    assert (one.moved.blobs, one.moved.cells, len(one.added)) == (1, 10, 2)


places = st.dictionaries(st.tuples(st.integers(0, 3), st.integers(0, 3)), st.sampled_from("abcdefgh"), max_size=8)


@given(old=places, new=places)
def test_what_moves_is_what_is_lacking(
    source: StoredImage, old: dict[tuple[int, int], str], new: dict[tuple[int, int], str]
) -> None:
    before, after = (image(*(cell(*at, one) for at, one in some.items())) for some in (old, new))
    one = compared(before, after, source)
    assert one.moved.cells == 10 * len(set(new.values()) - set(old.values()))
    assert len(one.added) == len(new.keys() - old.keys())
    assert len(one.removed) == len(old.keys() - new.keys())
    assert len(one.changed) == sum(old[at] != new[at] for at in old.keys() & new.keys())
