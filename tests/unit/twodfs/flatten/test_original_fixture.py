"""The image of the original builder: the original registry's selections, without its flaws."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.lab.cutting import cut_from, documents_of
from twodfs.choices import Anchor
from twodfs.errors import NothingSelectedError
from twodfs.field.field import Field
from twodfs.field.partition import readings
from twodfs.flatten.compose import Base, BaseImage, FieldContent, compose
from twodfs.flatten.cut import Partition
from twodfs.flatten.validate import validate
from twodfs.oci.digest import Digest
from twodfs.oci.documents import OCI_INDEX, OCI_MANIFEST, Document, Index, Manifest, parse_manifest
from twodfs.oci.platforms import Platform

FIXTURE = Path(__file__).parents[3] / "fixtures" / "original-2dfs"
BLOBS = {f"sha256:{file.name}": file.read_bytes() for file in (FIXTURE / "oci-layout/blobs/sha256").iterdir()}
ROOT = Digest(json.loads((FIXTURE / "oci-layout/index.json").read_bytes())["manifests"][0]["digest"])
SOURCE = Document(OCI_INDEX, ROOT, BLOBS[ROOT])
ORIGINAL: dict[str, Any] = json.loads((FIXTURE / "reference-partitions.json").read_bytes())
INSIDE = [tag for tag in ORIGINAL if tag != "v1--7.7.8.8"]


def partition_of(tag: str) -> Partition:
    partition = cut_from(BLOBS, SOURCE, readings(tag)[0].selection(), image="fix/tiny:v1")
    assert partition is not None
    return partition


@pytest.mark.parametrize("tag", INSIDE)
def test_layers_are_the_originals_each_once(tag: str) -> None:
    partition = partition_of(tag)
    manifests = validate(partition.root, documents_of(partition))
    originals = [one["manifest"]["layers"] for one in ORIGINAL[tag]["manifests"]]
    for manifest, layers in zip(manifests, originals, strict=True):
        expected = list({layer["digest"]: layer for layer in layers}.values())
        assert [dict(layer.raw) for layer in manifest.layers] == expected


@pytest.mark.parametrize("tag", INSIDE)
def test_diff_ids_are_the_originals_each_once(tag: str) -> None:
    documents = {one.digest: orjson.loads(one.body) for one in partition_of(tag).documents}
    configs = [one for one in documents.values() if "rootfs" in one]
    for config, original in zip(configs, ORIGINAL[tag]["manifests"], strict=True):
        expected = list(dict.fromkeys(original["config"]["rootfs"]["diff_ids"]))
        assert config["rootfs"]["diff_ids"] == expected
        assert len(config["history"]) == len(expected)


@pytest.mark.parametrize("tag", INSIDE)
def test_platforms_are_kept_which_the_original_drops(tag: str) -> None:
    index = orjson.loads(partition_of(tag).root.body)
    assert [entry["platform"]["architecture"] for entry in index["manifests"]] == ["amd64", "arm64"]
    assert not any("platform" in entry for entry in ORIGINAL[tag]["index"]["manifests"])


def test_overlapping_rectangles_yield_each_allotment_once() -> None:
    tag = "v1--0.0.1.1--1.0.2.2"
    assert len(ORIGINAL[tag]["manifests"][0]["manifest"]["layers"]) == 11
    assert partition_of(tag).allotments == 8


def test_a_selection_outside_the_field_names_its_extent() -> None:
    with pytest.raises(NothingSelectedError) as caught:
        partition_of("v1--7.7.8.8")
    assert str(caught.value) == (
        "partition 7.7.8.8 selects no allotment: the field of fix/tiny:v1 has rows 0..2, columns 0..2"
    )


def test_the_originals_documents_are_written_as_it_writes_them() -> None:
    index = parse_manifest(SOURCE.body, OCI_INDEX)
    assert isinstance(index, Index)
    images = []
    for entry in index.manifests:
        raw = orjson.loads(BLOBS[entry.digest])
        raw["layers"].pop()
        manifest = parse_manifest(orjson.dumps(raw), OCI_MANIFEST)
        assert isinstance(manifest, Manifest)
        images.append(BaseImage(manifest, Platform.of(entry.platform), entry))
    original = next(blob for blob in BLOBS.values() if blob.startswith(b'{"rows"'))
    bare = {key: value for key, value in index.raw.items() if key != "annotations"}
    composed = compose(
        Base(tuple(images), Index(OCI_INDEX, (), bare)),
        [FieldContent([replace(one, size=7) for one in Field.parse(original)])],
        Anchor.NONE,
    )
    assert composed.fields[0].body == original
    # But for the image's name, so that the bytes do not depend on where the image goes.
    assert composed.root == Document.of(OCI_INDEX, bare)
    assert {one.digest for one in composed.documents} <= {composed.root.digest, *BLOBS}
