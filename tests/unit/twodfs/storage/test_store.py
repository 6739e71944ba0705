import json
import os
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from twodfs.errors import BuildError, DamagedError
from twodfs.oci.digest import Digest, digest_of
from twodfs.oci.documents import OCI_INDEX, Document
from twodfs.storage.index import REF_NAME
from twodfs.storage.store import BASE_NAME, ImageStore, default_directory

ROOT = Document.of(OCI_INDEX, {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []})


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "store")


def files(store: ImageStore) -> list[str]:
    found = (path for path in store.directory.rglob("*") if path.is_file())
    return sorted(str(path.relative_to(store.directory)) for path in found)


def begin(directory: Path, who: int) -> None:
    store = ImageStore(directory)
    with store.in_use():
        store.put(b"content %d" % who)
        store.index.tag(f"lab/{who}:v1", ROOT, {})


def begin_many(directory: Path, who: int, together: Barrier) -> None:
    for number in range(20):
        together.wait(60)
        begin(directory / str(number), who)


def begin_and_take_back(directory: Path, who: int, _: Barrier) -> None:
    store = ImageStore(directory)
    for _number in range(30):
        if who % 2:
            begin(directory, who)
        store.index.tag(f"lab/{who}:rm", ROOT, {})
        assert not store.index.untag(f"lab/{who}:rm")


def at_once(work: Callable[[Path, int, Barrier], None], directory: Path, count: int) -> None:
    spawn = get_context("spawn")
    together = spawn.Barrier(count)
    processes = [spawn.Process(target=work, args=(directory, who, together)) for who in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * count


def ingest_half(store: ImageStore) -> None:
    with store.ingest() as blob:
        blob.file.write(b"half")
        raise ZeroDivisionError


def tag_many(directory: Path, who: int, _: Barrier) -> None:
    store = ImageStore(directory)
    for number in range(20):
        store.index.tag(f"lab/{who}:{number}", ROOT, {})


def test_a_new_store_is_an_empty_oci_layout(store: ImageStore) -> None:
    assert json.loads((store.directory / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    assert store.index.find("lab/a:v1") is None


def test_content_is_found_by_its_digest(store: ImageStore) -> None:
    digest = store.put(b"content")
    assert digest == digest_of(b"content")
    assert store.read(digest, limit=7) == b"content"
    assert (store.has(digest, 7), store.has(digest, 8)) == (True, False)
    assert store.path(digest) == store.directory / "blobs" / "sha256" / digest.removeprefix("sha256:")


def test_damaged_content_is_not_handed_out(store: ImageStore) -> None:
    digest = store.put(b"content")
    store.path(digest).write_bytes(b"CONTENT")
    with pytest.raises(DamagedError, match=rf"the store {store.directory} has {digest} damaged.*; build the image"):
        store.read(digest, limit=100)


def test_content_that_is_stored_again_mends_what_is_damaged(store: ImageStore) -> None:
    digest = store.put(b"content")
    store.path(digest).write_bytes(b"CONTENT")
    os.utime(store.path(digest), ns=(0, 0))  # a rotten disk touches no times
    assert store.has(digest, 7)
    store.put(b"content")
    assert store.read(digest, limit=7) == b"content"


def test_missing_content_says_what_to_do(store: ImageStore) -> None:
    with pytest.raises(BuildError, match=r"lacks sha256:.*; build the image again"):
        store.read(digest_of(b"never stored"), limit=100)


def test_content_beyond_the_limit_is_not_read(store: ImageStore) -> None:
    digest = store.put(b"content")
    with pytest.raises(BuildError, match="more than 6 bytes"):
        store.read(digest, limit=6)


def test_a_blob_that_is_not_committed_leaves_nothing(store: ImageStore) -> None:
    before = files(store)
    with store.ingest() as blob:
        blob.file.write(b"half")
    with pytest.raises(ZeroDivisionError):
        ingest_half(store)
    assert files(store) == before


def test_a_blob_shows_only_when_it_is_whole(store: ImageStore) -> None:
    digest = digest_of(b"whole")
    with store.ingest() as blob:
        blob.file.write(b"whole")
        assert not store.path(digest).exists()
        blob.commit(digest)
        assert store.path(digest).read_bytes() == b"whole"
    assert store.read(digest, limit=5) == b"whole"


def test_sha512_has_a_folder_of_its_own(store: ImageStore) -> None:
    digest = Digest("sha512:" + "ab" * 64)
    with store.ingest() as blob:
        blob.commit(digest)
    assert store.path(digest).parent.name == "sha512"


def test_a_tag_names_the_last_image_it_was_given(store: ImageStore) -> None:
    other = Document.of(OCI_INDEX, {"schemaVersion": 2, "manifests": []})
    store.index.tag("lab/a:v1", ROOT, {})
    store.index.tag("lab/a:v2", ROOT, {})
    store.index.tag("lab/a:v1", other, {BASE_NAME: "docker.io/library/busybox:latest"})
    found = store.index.find("lab/a:v1")
    assert found is not None
    assert (found.digest, found.size, found.media_type) == (other.digest, len(other.body), OCI_INDEX)
    index = json.loads((store.directory / "index.json").read_bytes())
    assert [entry["annotations"] for entry in index["manifests"]] == [
        {REF_NAME: "lab/a:v2"},
        {BASE_NAME: "docker.io/library/busybox:latest", REF_NAME: "lab/a:v1"},
    ]


def test_several_processes_tag_at_the_same_time(store: ImageStore) -> None:
    at_once(tag_many, store.directory, 2)
    assert all(store.index.find(f"lab/{who}:{number}") for who in (0, 1) for number in range(20))
    assert not list((store.directory / "tmp").iterdir())


def test_several_processes_begin_on_a_store_that_is_not_there(tmp_path: Path) -> None:
    at_once(begin_many, tmp_path, 8)
    for number in range(20):
        store = ImageStore(tmp_path / str(number))
        assert len(store.index.images()) == len(list(store.blobs())) == 8


def test_names_are_taken_back_while_others_begin(store: ImageStore) -> None:
    at_once(begin_and_take_back, store.directory, 4)
    assert sorted(name for name, _ in store.index.images()) == ["lab/1:v1", "lab/3:v1"]


def test_a_damaged_index_is_named(store: ImageStore) -> None:
    (store.directory / "index.json").write_text('{"manifests": [{}]}')
    with pytest.raises(BuildError, match=r"index\.json: expected an integer, found nothing in 'manifests\[0\]"):
        store.index.find("lab/a:v1")


def test_a_layout_of_another_version_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "oci-layout").write_text('{"imageLayoutVersion": "9"}')
    with pytest.raises(BuildError, match="layout of version 9; TWODFS_STORE names another"):
        ImageStore(tmp_path)


def test_a_place_that_is_no_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BuildError, match=r"cannot use .*/file as a store"):
        ImageStore(tmp_path / "file")


def test_the_environment_says_where_the_store_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("TWODFS_STORE", raising=False)
    assert default_directory() == Path("/home/ann/.cache/twodfs")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert default_directory() == Path("/cache/twodfs")
    monkeypatch.setenv("TWODFS_STORE", "/models")
    assert default_directory() == Path("/models")


def test_what_a_killed_run_left_is_swept_when_nobody_uses_the_store(store: ImageStore) -> None:
    left = store.directory / "tmp" / "left"
    left.write_bytes(b"half a blob")
    (store.temporary / "unpacked" / "deep").mkdir(parents=True)
    with store.in_use():
        assert not list(store.temporary.iterdir())
        left.write_bytes(b"another run's")
        with ImageStore(store.directory).in_use():
            assert left.exists()


def test_a_blob_that_was_written_to_counts_as_absent(store: ImageStore) -> None:
    digest = store.put(b"content")
    store.path(digest).write_bytes(b"CONTENT")
    assert not store.has(digest, 7)
    assert store.put(b"content") == digest
    assert store.is_sound(digest, 7)


def test_a_reference_can_be_taken_back(store: ImageStore) -> None:
    store.index.tag("lab/a:v1", ROOT, {})
    assert [name for name, _ in store.index.images()] == ["lab/a:v1"]
    assert (store.index.untag("lab/a:v1"), store.index.untag("lab/a:v1")) == ((), ("lab/a:v1",))
    assert store.index.find("lab/a:v1") is None


def test_the_same_tag_again_writes_nothing(store: ImageStore) -> None:
    store.index.tag("lab/a:v1", ROOT, {})
    before = (store.directory / "index.json").stat()
    store.index.tag("lab/a:v1", ROOT, {})
    assert (store.directory / "index.json").stat() == before
