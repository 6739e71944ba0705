"""The base and the cells of images, and of partitions that name the image they were cut from."""

from typing import Any

import pytest

from tests.lab.handmade import BASE, Image, cell_blob
from twodfs.flatten.cut import SELECTION_ANNOTATION, SOURCE_ANNOTATION
from twodfs.images.source import StoredImage
from twodfs.oci.digest import Digest, digest_of
from twodfs.oci.documents import OCI_INDEX, OCI_MANIFEST, Descriptor
from twodfs.publish.cutting import FoundImage, find_image, in_store
from twodfs.storage.store import ImageStore
from twodfs.viewing.content import contents_of

AMD = {"os": "linux", "architecture": "amd64"}


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    return ImageStore(tmp_path_factory.mktemp("store"))


def stored(store: ImageStore, image: Image, content: dict[str, Any]) -> FoundImage:
    """Put an index, and all below it, into the store."""
    digest, _ = image.add(content)
    for body in image.blobs.values():
        store.put(body)
    source = StoredImage(store, Descriptor(OCI_INDEX, Digest(digest), len(image.blobs[digest]), {}))
    return FoundImage(source, source.manifest("v1"), "v1")


def index_of(image: Image, *manifests: dict[str, Any], **more: Any) -> dict[str, Any]:
    entries = [image.descriptor(OCI_MANIFEST, one, platform=AMD) for one in manifests]
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries} | more


def test_a_2dfs_image_has_all_cells_of_its_field(store: ImageStore) -> None:
    image = Image()
    (content,) = contents_of(stored(store, image, index_of(image, image.manifest())))
    assert [(one.row, one.col) for one in content.cells] == [(0, 0), (0, 1), (1, 0)]
    assert [one.digest for one in content.base] == [digest_of(BASE)]
    assert (content.layers, content.cell_bytes, content.size) == (4, None, None)


def test_a_partition_has_its_own_and_their_sizes_where_the_field_has_none(store: ImageStore) -> None:
    image = Image()
    found = stored(store, image, index_of(image, image.manifest(partitions={"edge": "0.1.0.1--1.0.1.0"})))
    store.index.tag("a/b:v1", found.root, {})
    partition = find_image(in_store(store, "a/b", lambda _: None), "v1--edge", repository="a/b")
    assert partition is not None
    (content,) = contents_of(partition)
    assert [(one.row, one.col, one.size) for one in content.cells] == [
        (row, col, len(cell_blob(row, col))) for row, col in [(0, 1), (1, 0)]
    ]
    assert content.base_bytes == len(BASE)
    assert content.size == len(BASE) + 2 * len(cell_blob(0, 1))


@pytest.mark.parametrize(
    ("source", "selection"),
    [
        (None, "0.0.0.1"),  # another selection than it has
        (None, "9.9.9.9"),
        (None, "no selection!"),
        (None, "1.1.0.0"),
        ("no digest", "0.0.0.0"),
        (digest_of(b"gone"), "0.0.0.0"),
    ],
)
def test_annotations_that_do_not_fit_are_not_believed(store: ImageStore, source: str | None, selection: str) -> None:
    image = Image()
    whole = stored(store, image, index_of(image, image.manifest()))
    base_alone = image.manifest(layers=[image.descriptor("application/vnd.oci.image.layer.v1.tar", BASE)])
    annotations = {SOURCE_ANNOTATION: source or whole.root.digest, SELECTION_ANNOTATION: selection}
    (content,) = contents_of(stored(store, image, index_of(image, base_alone, annotations=annotations)))
    assert (content.cells, [one.digest for one in content.base]) == ((), [digest_of(BASE)])
