"""``index.json``; ``tests/integration/test_edge_store.py`` reads it with skopeo."""

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.edge.disk.listing import NAME, listed_name
from proxy.edge.disk.store import EdgeStore
from proxy.repository import DEFAULT_UPSTREAM, Repository
from tests.lab.edge import stored, unkept_store
from tests.lab.fake_registry import until
from twodfs.oci.documents import OCI_MANIFEST

MODEL = Repository(DEFAULT_UPSTREAM, "library/model")
FOREIGN = {"mediaType": OCI_MANIFEST, "size": 7}


def listed(store: EdgeStore) -> dict[str, Any]:
    index = json.loads(store.directory.index.read_bytes())
    assert index["schemaVersion"] == 2
    return {one["annotations"][NAME]: one["digest"] for one in index["manifests"]}


async def test_tags_are_listed_as_long_as_their_content_is_there(tmp_path: Path) -> None:
    async with unkept_store(tmp_path) as store:
        first, second = await stored(store, b"first"), await stored(store, b"second")
        await store.listing.named(MODEL, "v1", first, OCI_MANIFEST, 5)
        await store.listing.named(MODEL, "v1--0.0.0.1", second, OCI_MANIFEST, 6)
        await store.listing.write()
        assert listed(store) == {"library/model:v1": first, "library/model:v1--0.0.0.1": second}
        await store.listing.named(MODEL, "v1", second, OCI_MANIFEST, 6)
        await store.listing.forgotten(MODEL, "v1--0.0.0.1")
        await store.listing.write()
        assert listed(store) == {"library/model:v1": second}
        assert await store.blobs.remove(second)
        await store.listing.write()
        assert listed(store) == {}
        await stored(store, b"second")
        await store.listing.write()
        assert listed(store) == {"library/model:v1": second}


async def test_changes_are_written_soon_without_being_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.edge.disk.listing._PAUSE", 0)
    async with unkept_store(tmp_path) as store:
        digest = await stored(store, b"first")
        await store.listing.named(MODEL, "v1", digest, OCI_MANIFEST, 5)
        await until(lambda: store.directory.index.exists() and listed(store) == {"library/model:v1": digest})


@pytest.mark.parametrize(
    "damage", [None, b"", b"{", b"[]", b'{"manifests": 7}', b'{"manifests": [7, {"digest": "x"}]}']
)
async def test_a_layout_that_is_missing_or_damaged_is_written_anew(tmp_path: Path, damage: bytes | None) -> None:
    async with unkept_store(tmp_path) as store:
        digest = await stored(store, b"first")
        await store.listing.named(MODEL, "v1", digest, OCI_MANIFEST, 5)
        await store.listing.write()
        store.directory.index.unlink()
        if damage is not None:
            store.directory.index.write_bytes(damage)
        await store.listing.write()
        assert listed(store) == {"library/model:v1": digest}


async def test_images_that_others_added_stay_listed(tmp_path: Path) -> None:
    async with unkept_store(tmp_path) as store:
        ours, theirs, gone = [await stored(store, content) for content in (b"ours", b"theirs", b"gone")]
        await store.listing.named(MODEL, "v1", ours, OCI_MANIFEST, 4)
        await store.listing.write()
        index = json.loads(store.directory.index.read_bytes())
        index["manifests"] += [
            {**FOREIGN, "digest": theirs, "annotations": {NAME: "mine"}},
            {**FOREIGN, "digest": gone, "annotations": {NAME: "lost"}},
            {**FOREIGN, "digest": theirs, "annotations": {NAME: "library/model:v1"}},
            {**FOREIGN, "digest": theirs},
            {**FOREIGN, "digest": theirs, "annotations": {NAME: ["no name"]}},
        ]
        store.directory.index.write_text(json.dumps(index))
        await store.blobs.remove(gone)
        await store.listing.write()
        entries = json.loads(store.directory.index.read_bytes())["manifests"]
        assert [(one["digest"], one.get("annotations", {}).get(NAME)) for one in entries] == [
            (ours, "library/model:v1"),
            (theirs, "mine"),
            (theirs, None),
            (theirs, ["no name"]),
        ]
        await store.listing.forgotten(MODEL, "v1")
        await store.listing.write()
        assert len(json.loads(store.directory.index.read_bytes())["manifests"]) == 3


async def test_an_unchanged_file_is_not_written_again(tmp_path: Path) -> None:
    async with unkept_store(tmp_path) as store:
        await store.listing.named(MODEL, "v1", await stored(store, b"first"), OCI_MANIFEST, 5)
        await store.listing.write()
        before = store.directory.index.stat().st_ino
        await store.listing.write()
        assert store.directory.index.stat().st_ino == before


def test_images_of_two_upstreams_have_two_names() -> None:
    assert listed_name(MODEL, "v1") == "library/model:v1"
    assert listed_name(Repository("up", "library/model"), "v1") == "up@library/model:v1"
