import os
from pathlib import Path

import pytest

from twodfs.build.housekeeping import list_images, prune, remove_images
from twodfs.choices import Anchor
from twodfs.errors import BuildError
from twodfs.field.allotment import Allotment
from twodfs.flatten.compose import Base, FieldContent, compose, scratch_config, scratch_image
from twodfs.oci.digest import Digest
from twodfs.oci.platforms import Platform
from twodfs.storage.store import ImageStore

LINUX = Platform("linux", "amd64")


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "store")


def blob(store: ImageStore, content: bytes, used: int) -> Digest:
    digest = store.put(content)
    os.utime(store.path(digest), ns=(used, 0))
    return digest


def image(store: ImageStore, name: str, *allotments: Digest, used: int = 10**9) -> None:
    store.put(scratch_config(LINUX).body)
    cells = [
        Allotment(0, col, digest, digest, store.path(digest).stat().st_size) for col, digest in enumerate(allotments)
    ]
    composed = compose(Base((scratch_image(LINUX),)), [FieldContent(cells)], Anchor.NONE)
    for document in composed.documents:
        blob(store, document.body, used)
    store.index.tag(name, composed.root, {})


def size(store: ImageStore) -> int:
    return sum(one.st_size for _, one in store.blobs())


def test_images_are_listed_with_what_they_take(store: ImageStore) -> None:
    image(store, "lab/b:v1", blob(store, b"b" * 1000, 1), blob(store, b"c" * 500, 1))
    image(store, "lab/a:v1", blob(store, b"b" * 1000, 1))
    first, second = list_images(store)
    assert (first.reference, first.allotments) == ("lab/a:v1", 1)
    assert (second.reference, second.allotments) == ("lab/b:v1", 2)
    assert 1500 < second.size < size(store)


def test_a_removed_image_leaves_its_allotments(store: ImageStore) -> None:
    digest = blob(store, b"b" * 1000, 1)
    image(store, "lab/a:v1", digest)
    remove_images(store, ["lab/a:v1"])
    assert list_images(store) == []
    assert store.has(digest, 1000)
    with pytest.raises(BuildError, match=r"has no image lab/a:v1; 'twodfs images' lists them"):
        remove_images(store, ["lab/a:v1"])


def test_several_images_are_removed_together_or_not_at_all(store: ImageStore) -> None:
    for name in ("lab/a:v1", "lab/b:v1"):
        image(store, name)
    with pytest.raises(BuildError, match=r"has no image lab/c:v1; nothing was removed; 'twodfs images'"):
        remove_images(store, ["lab/a:v1", "lab/c:v1"])
    assert len(store.index.images()) == 2
    remove_images(store, ["lab/a:v1", "lab/b:v1"])
    assert store.index.images() == []


def test_what_was_used_longest_ago_goes_first(store: ImageStore) -> None:
    for number in range(5):
        blob(store, bytes([number]) * 100, used=number)
    used = blob(store, bytes([0]) * 100, used=99)
    pruned = prune(store, 250, images=False)
    assert (pruned.blobs, pruned.freed, pruned.left) == (3, 300, 200)
    assert {digest for digest, _ in store.blobs()} == {used, store.put(bytes([4]) * 100)}


def test_being_found_by_a_build_counts_as_use(store: ImageStore) -> None:
    first, second = blob(store, b"1" * 100, used=1), blob(store, b"2" * 100, used=2)
    assert store.has(first, 100)
    prune(store, 100, images=False)
    assert (store.has(first, 100), store.has(second, 100)) == (True, False)


def test_what_an_image_needs_stays(store: ImageStore) -> None:
    needed, spare = blob(store, b"n" * 1000, 1), blob(store, b"s" * 1000, 2)
    image(store, "lab/a:v1", needed)
    pruned = prune(store, 0, images=False)
    assert (pruned.blobs, pruned.freed) == (1, 1000)
    assert (store.has(needed, 1000), store.has(spare, 1000)) == (True, False)
    assert pruned.left == size(store) > 1000


def test_images_go_where_that_is_asked_for(store: ImageStore) -> None:
    shared = blob(store, b"s" * 1000, 1)
    image(store, "lab/old:v1", shared, blob(store, b"o" * 1000, 1), used=1)
    image(store, "lab/new:v1", shared, blob(store, b"n" * 1000, 1), used=2)
    pruned = prune(store, 3500, images=True)
    assert pruned.images == ("lab/old:v1",)
    assert [one.reference for one in list_images(store)] == ["lab/new:v1"]
    assert store.has(shared, 1000)
    assert prune(store, 0, images=True).left == 0


def rot(store: ImageStore, digest: Digest) -> None:
    path = store.path(digest)
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    os.utime(path, ns=(0, 0))


def test_a_damaged_image_is_listed_beside_the_others(store: ImageStore) -> None:
    for name in ("lab/a:v1", "lab/b:v1"):
        image(store, name, blob(store, name.encode() * 100, 1))
    rot(store, store.index.images()[0][1].digest)
    damaged, well = list_images(store)
    assert (damaged.reference, well.reference, well.problem, well.allotments) == (
        "lab/a:v1",
        "lab/b:v1",
        "",
        1,
    )
    assert f"the store {store.directory} has {damaged.digest} damaged" in damaged.problem
    assert damaged.to_dict()["problem"] == damaged.problem


def test_a_damaged_image_keeps_no_prune_from_the_others(store: ImageStore) -> None:
    lost, kept, spare = (blob(store, letter * 1000, 1) for letter in (b"l", b"k", b"s"))
    image(store, "lab/a:v1", lost)
    image(store, "lab/b:v1", kept)
    rot(store, store.index.images()[0][1].digest)
    pruned = prune(store, 0, images=False)
    assert [one.reference for one in pruned.damaged] == ["lab/a:v1"]
    assert (store.has(kept, 1000), store.has(spare, 1000)) == (True, False)
    assert prune(store, 0, images=True).damaged == ()
    assert (store.index.images(), list(store.blobs())) == ([], [])
