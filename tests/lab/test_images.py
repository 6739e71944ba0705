import hashlib
import io
import json
import tarfile
from typing import Any, get_args

import pytest

from tests.lab.documents import FIELD_LAYER, FieldStyle
from tests.lab.images import Image, Kind, build_image, push_field_image
from tests.lab.layers import tar_of
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient
from tests.lab.rootfs import apply_layers

CELLS = {(0, 0): {"a": b"00"}, (0, 2): {"dir/b": b"02"}, (2, 1): {"a": b"21"}}


def _field(image: Image) -> dict[str, Any]:
    assert image.field_blob is not None
    parsed: dict[str, Any] = json.loads(image.field_blob.content)
    return parsed


def test_a_layer_depends_on_its_files_alone() -> None:
    assert tar_of({"b/c": b"2", "a": b"1"}) == tar_of({"a": b"1", "b/c": b"2"})


def test_a_layer_has_its_directories_before_their_files_and_programs_executable() -> None:
    with tarfile.open(fileobj=io.BytesIO(tar_of({"b/c/d": b"#!/bin/sh", "a": b"1"}))) as archive:
        entries = [(entry.name, entry.isdir(), entry.mode) for entry in archive]
    assert entries == [("a", False, 0o644), ("b", True, 0o755), ("b/c", True, 0o755), ("b/c/d", False, 0o755)]


@pytest.mark.parametrize("path", ["/a", "a/../b", "./a", "a//b"])
def test_a_path_has_one_way_to_be_written(path: str) -> None:
    with pytest.raises(ValueError, match="written without leading slash"):
        tar_of({path: b""})


def test_a_hard_link_has_the_content_of_its_target() -> None:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        target, link = tarfile.TarInfo("target"), tarfile.TarInfo("link")
        target.size, link.type, link.linkname = 1, tarfile.LNKTYPE, "target"
        archive.addfile(target, io.BytesIO(b"1"))
        archive.addfile(link)
    assert apply_layers([written.getvalue()]) == {"target": b"1", "link": b"1"}


def test_a_symbolic_link_replaces_a_file_and_is_none() -> None:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        link = tarfile.TarInfo("a")
        link.type, link.linkname = tarfile.SYMTYPE, "b"
        archive.addfile(link)
    assert apply_layers([tar_of({"a/below": b"1", "b": b"2"}), written.getvalue()]) == {"b": b"2"}


def test_the_original_builders_field_has_an_empty_cell_in_every_hole() -> None:
    field = _field(build_image(CELLS))
    assert [[bool(cell["digest"]) for cell in row["allotments"]] for row in field["rows"]] == [
        [True, False, True],
        [False, False, False],
        [False, True, False],
    ]
    assert (field["rows_size"], [row["allotments_size"] for row in field["rows"]]) == (3, [3, 3, 3])
    assert field["rows"][0]["allotments"][1] == {"row": 0, "col": 1, "digest": "", "diffid": ""}
    assert set(field["rows"][0]["allotments"][0]) == {"row", "col", "digest", "diffid"}


def test_a_field_may_leave_its_holes_out_and_name_sizes_and_types() -> None:
    style = FieldStyle(holes="absent", sizes=True, media_types=True, owner="ada", more={"partitions": {}})
    image = build_image(CELLS, field_style=style, allotment_compression="none")
    field = _field(image)
    cells = [cell for row in field["rows"] for cell in row["allotments"]]
    assert [(cell["row"], cell["col"]) for cell in cells] == sorted(CELLS)
    assert cells[0]["size"] == image.allotments[0, 0].blob.size
    assert cells[0]["mediaType"] == "application/vnd.oci.image.layer.v1.tar"
    assert cells[0]["digest"] == cells[0]["diffid"]
    assert (field["owner"], field["partitions"]) == ("ada", {})


def test_a_field_may_be_larger_than_its_cells() -> None:
    field = _field(build_image({(0, 0): {"a": b"1"}}, field_style=FieldStyle(shape=(2, 3))))
    assert [row["allotments_size"] for row in field["rows"]] == [3, 3]


def test_the_field_stands_where_it_is_told() -> None:
    image = build_image(CELLS, base=[{"one": b"1"}, {"two": b"2"}], field_position=1)
    layers = json.loads(image.platform().manifest.content)["layers"]
    assert [layer["mediaType"] == FIELD_LAYER for layer in layers] == [False, True, False]
    one, two = image.platform().base
    assert image.layers([(2, 1)]) == [one, image.allotments[2, 1], two]


def test_a_selection_is_row_major_with_each_cell_once() -> None:
    image = build_image(CELLS)
    assert image.select((0, 1, 2, 2), (0, 0, 0, 2)) == [(0, 0), (0, 2), (2, 1)]
    assert image.select((1, 1, 2, 2)) == [(2, 1)]
    assert image.select((7, 7, 8, 8)) == []


def test_the_expected_files_are_those_of_the_base_and_of_the_cells_in_row_major_order() -> None:
    image = build_image(CELLS, base={"base": b"b"})
    assert image.files() == {"base": b"b"}
    assert image.files([(2, 1), (0, 0)]) == {"base": b"b", "a": b"21"}
    assert image.files(image.cells) == {"base": b"b", "a": b"21", "dir/b": b"02"}


def test_platforms_share_the_base_and_have_files_of_their_own() -> None:
    image = build_image(
        CELLS, platforms=("linux/amd64", "linux/arm64/v8"), platform_files={"linux/arm64/v8": {"arm": b"v8"}}
    )
    entries = json.loads(image.top.content)["manifests"]
    assert [entry["platform"] for entry in entries] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux", "variant": "v8"},
    ]
    assert image.files() == {"base.txt": b"base"}
    assert image.files(platform="linux/arm64/v8") == {"base.txt": b"base", "arm": b"v8"}


def test_attestations_and_the_anchor_stand_behind_the_images() -> None:
    image = build_image(CELLS, attestations=True, anchor=True)
    _, attestation, anchor = json.loads(image.top.content)["manifests"]
    unknown = {"architecture": "unknown", "os": "unknown"}
    assert attestation["annotations"]["vnd.docker.reference.type"] == "attestation-manifest"
    assert attestation["platform"] == anchor["platform"] == unknown
    layers = json.loads(image.documents[anchor["digest"]])["layers"]
    assert [layer["digest"] for layer in layers] == [image.allotments[cell].blob.digest for cell in sorted(CELLS)]


def test_more_keys_reach_the_documents() -> None:
    image = build_image(CELLS, config_more={"x": 1}, manifest_more={"y": 2}, index_more={"z": 3})
    part = image.platform()
    documents = (part.config.content, part.manifest.content, image.top.content)
    assert [json.loads(one).get(key) for one, key in zip(documents, "xyz", strict=True)] == [1, 2, 3]


@pytest.mark.parametrize("kind", get_args(Kind))
def test_a_registry_serves_every_document_as_built(registry: Registry, kind: Kind) -> None:
    pushed = push_field_image(registry.url, f"lab/documents/{kind}", "v1", cells=CELLS, kind=kind)
    with RegistryClient(registry.url) as client:
        answer = client.get_manifest(pushed.repository, "v1")
        assert answer.headers["content-type"] == pushed.top.media_type
        assert answer.headers["docker-content-digest"] == pushed.digest
        for blob in pushed.blobs:
            got = client.request("GET", f"/v2/{pushed.repository}/blobs/{blob.digest}").body
            assert f"sha256:{hashlib.sha256(got).hexdigest()}" == blob.digest
    assert answer.body == pushed.documents[pushed.digest]
