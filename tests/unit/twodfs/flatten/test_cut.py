"""Flattening, document by document; images here are made by hand."""

from typing import Any

import orjson
import pytest

from tests.lab.cutting import cut_from, documents_of
from tests.lab.handmade import BASE, CREATED, DIFF_ID, Image, cell_blob, diff_id
from twodfs.errors import (
    FormatError,
    NothingSelectedError,
    PartitionError,
    TooLargeError,
    TooManyLayersError,
)
from twodfs.field.field import Field, Selecting
from twodfs.flatten.budget import MAX_DOCUMENT_BYTES
from twodfs.flatten.cut import FLATTEN_VERSION, Partition
from twodfs.flatten.needs import DocumentKind, DocumentNeed
from twodfs.flatten.validate import validate
from twodfs.oci.digest import digest_of
from twodfs.oci.documents import (
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    DOCKER_LAYER_ZSTD,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    FIELD_LAYER,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Document,
)

# Digests that releases gave which wrote version 1, and no other.
GOLDEN = "sha256:d496ff62b46f905ec74c25b57fd1a8fb5d86a8fe7b5ddf2bbd5fdaf0e39928b3"
GOLDEN_OF_EQUAL_CELLS = "sha256:c7ded9521a9a67bfe6fe1322795fb07df9c43d5d41628ae6279aaa42912d524e"
GOLDEN_OF_THE_FORK = "sha256:45c7bb52184feb88cf8dbbd67e15978f9b23d59d7c7d71bda8e1fbec44df29ae"


def cut(registry: Image, content: dict[str, Any], selection: str = "0.0.0.1", **options: Any) -> Partition:
    partition = cut_from(registry.blobs, registry.document(content), selection, **options)
    assert partition is not None
    return partition


def loaded(partition: Partition) -> list[dict[str, Any]]:
    return [orjson.loads(document.body) for document in partition.documents]


def test_a_single_manifest_becomes_a_single_manifest() -> None:
    image = Image()
    partition = cut(image, image.manifest())
    manifest, config = loaded(partition)
    assert partition.root.media_type == OCI_MANIFEST
    assert [layer["digest"] for layer in manifest["layers"]] == [
        digest_of(BASE),
        digest_of(cell_blob(0, 0)),
        digest_of(cell_blob(0, 1)),
    ]
    assert config["rootfs"]["diff_ids"] == [DIFF_ID, diff_id(0, 0), diff_id(0, 1)]
    assert config["history"][1:] == [
        {"created": CREATED, "created_by": "2dfs allotment 0/0"},
        {"created": CREATED, "created_by": "2dfs allotment 0/1"},
    ]
    validate(partition.root, documents_of(partition))


def test_annotations_name_the_source_and_the_canonical_selection() -> None:
    image = Image()
    source = image.manifest(annotations={"kept": "yes"})
    manifest, _ = loaded(cut(image, source, "1.0.1.0--0.0.0.1--1.0.1.0"))
    assert manifest["annotations"] == {
        "kept": "yes",
        "2dfs.source.digest": digest_of(orjson.dumps(source)),
        "2dfs.selection": "0.0.0.1--1.0.1.0",
    }


def test_docker_manifests_get_docker_layer_types() -> None:
    image = Image()
    cells = image.field([(0, 0)])
    plain = image.field([(0, 1)], mediaType=OCI_LAYER, size=15)
    base = image.descriptor(DOCKER_LAYER_GZIP, BASE)
    for field, expected in ((cells, DOCKER_LAYER_GZIP), (plain, DOCKER_LAYER)):
        partition = cut(image, image.manifest(docker=True, layers=[base, field]))
        assert partition.root.media_type == DOCKER_MANIFEST
        assert loaded(partition)[0]["layers"][1]["mediaType"] == expected
        validate(partition.root, documents_of(partition))


def test_a_list_keeps_its_type_order_platforms_and_other_keys() -> None:
    image = Image()
    entries = []
    for at, architecture in enumerate(("arm64", "amd64", "s390x")):
        manifest = image.manifest(docker=True, config=image.config(architecture=architecture))
        platform = {"os": "linux", "architecture": architecture}
        more = {"platform": platform, "annotations": {"at": str(at)}, "x-unknown": [at]}
        entries.append(image.descriptor(DOCKER_MANIFEST, manifest, **more))
    source = {"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": entries, "x-more": {"a": None}}
    partition = cut(image, source)
    index = loaded(partition)[0]
    assert partition.root.media_type == DOCKER_LIST
    assert index["x-more"] == {"a": None}
    changed = {"digest", "size"}
    for before, after in zip(entries, index["manifests"], strict=True):
        assert {k: v for k, v in before.items() if k not in changed} == {
            k: v for k, v in after.items() if k not in changed
        }
        assert before["digest"] != after["digest"]
    assert len(validate(partition.root, documents_of(partition))) == 3


def test_attestations_and_the_anchor_are_left_out() -> None:
    image = Image()
    amd64 = {"os": "linux", "architecture": "amd64"}
    nowhere = {"os": "unknown", "architecture": "unknown"}
    attestation = image.descriptor(
        OCI_MANIFEST,
        image.manifest(),
        platform=nowhere,
        annotations={"vnd.docker.reference.type": "attestation-manifest"},
    )
    anchor = image.descriptor(OCI_MANIFEST, image.manifest(artifactType="application/x"), platform=nowhere)
    disguised = image.descriptor(OCI_MANIFEST, image.manifest(artifactType="application/x"))
    real = image.descriptor(OCI_MANIFEST, image.manifest(), platform=amd64)
    manifests = [attestation, real, anchor, disguised]
    partition = cut(image, {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests})
    assert [entry["platform"] for entry in loaded(partition)[0]["manifests"]] == [amd64]


def test_a_platform_without_selected_allotments_is_left_out_not_silently_bare() -> None:
    image = Image()
    large = image.descriptor(OCI_MANIFEST, image.manifest([(0, 0), (5, 5)]), platform={"os": "linux"})
    small = image.descriptor(OCI_MANIFEST, image.manifest([(0, 0)]), platform={"os": "windows"})
    base = image.descriptor(OCI_LAYER_GZIP, BASE)
    bare = image.descriptor(OCI_MANIFEST, image.manifest(layers=[base]), platform={"os": "plan9"})
    source = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [small, bare, large]}
    kept = loaded(cut(image, source, "5.5.5.5"))[0]["manifests"]
    assert [entry["platform"]["os"] for entry in kept] == ["linux"]
    both = loaded(cut(image, source, "0.0.0.0"))[0]["manifests"]
    assert [entry["platform"]["os"] for entry in both] == ["windows", "linux"]
    with pytest.raises(NothingSelectedError):
        cut(image, source, "4.4.4.4")


def test_unknown_keys_of_manifest_and_config_survive() -> None:
    image = Image()
    odd = {"x-list": [1, {"y": 2.5}], "variant": "v8", "os.features": ["a"], "config": {"Env": ["A=\u00e9"]}}
    partition = cut(image, image.manifest(config=image.config(**odd)) | {"x-manifest": {"deep": [None]}})
    manifest, config = loaded(partition)
    assert {key: config[key] for key in odd} == odd
    assert manifest["x-manifest"] == {"deep": [None]}
    assert config["rootfs"]["type"] == "layers"


def test_a_field_in_the_middle_is_replaced_where_it_stands() -> None:
    image = Image()
    top, top_diff_id = b"top layer", "sha256:" + "d2" * 32
    history = [
        {"created_by": "base"},
        {"created_by": "env", "empty_layer": True},
        {"created_by": "top"},
        {"created_by": "cmd", "empty_layer": True},
    ]
    config = image.config(rootfs={"type": "layers", "diff_ids": [DIFF_ID, top_diff_id]}, history=history)
    layers = [
        image.descriptor(OCI_LAYER_GZIP, BASE),
        image.field([(0, 0)]),
        image.descriptor(OCI_LAYER_GZIP, top),
    ]
    partition = cut(image, image.manifest(config=config, layers=layers), "0.0.0.0")
    manifest, flat = loaded(partition)
    digests = [layer["digest"] for layer in manifest["layers"]]
    assert digests == [digest_of(BASE), digest_of(cell_blob(0, 0)), digest_of(top)]
    assert flat["rootfs"]["diff_ids"] == [DIFF_ID, diff_id(0, 0), top_diff_id]
    assert [entry["created_by"] for entry in flat["history"]] == [
        "base",
        "env",
        "2dfs allotment 0/0",
        "top",
        "cmd",
    ]


def test_a_scratch_image_is_nothing_but_allotments() -> None:
    image = Image()
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
    partition = cut(image, image.manifest(config=config, layers=[image.field([(0, 0)])]), "0.0.0.0")
    flat = loaded(partition)[1]
    assert flat["history"] == [{"created_by": "2dfs allotment 0/0"}]
    validate(partition.root, documents_of(partition))


@pytest.mark.parametrize("history", [None, []])
def test_a_base_without_history_still_gets_one_that_fits(history: list[Any] | None) -> None:
    image = Image()
    partition = cut(image, image.manifest(config=image.config(history=history)))
    assert loaded(partition)[1]["history"][0]["created_by"] == "base layer"
    validate(partition.root, documents_of(partition))


def test_an_image_without_a_field_has_no_partition() -> None:
    image = Image()
    bare = image.manifest(layers=[image.descriptor(OCI_LAYER_GZIP, BASE)])
    assert cut_from(image.blobs, image.document(bare), "0.0.0.0") is None
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [image.descriptor(OCI_MANIFEST, bare)]}
    assert cut_from(image.blobs, image.document(index), "5.5.0.0") is None
    empty = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    assert cut_from(image.blobs, image.document(empty), "0.0.0.0") is None
    schema1 = Document("application/vnd.docker.distribution.manifest.v1+prettyjws", digest_of(b"{}"), b"{}")
    assert cut_from(image.blobs, schema1, "0.0.0.0") is None


def test_layers_up_to_the_limit_and_no_further() -> None:
    image = Image()
    source = image.manifest([(0, col) for col in range(130)])
    assert len(loaded(cut(image, source, "0.0.0.123"))[0]["layers"]) == 125
    with pytest.raises(TooManyLayersError) as caught:
        cut(image, source, "0.0.0.124", image="library/model:v1")
    assert str(caught.value) == (
        "partition 0.0.0.124 of library/model:v1 needs more than 125 layers: 1 of the base and more than 124 "
        "allotments; container runtimes cannot unpack that many, select fewer"
    )
    assert len(loaded(cut(image, source, "0.0.0.129", max_layers=131))[0]["layers"]) == 131


def test_an_inverted_selection_is_an_error_only_where_there_is_a_field() -> None:
    image = Image()
    with pytest.raises(PartitionError, match="inverted"):
        cut(image, image.manifest(), "1.0.0.0")


def test_embedded_data_does_not_outlive_its_digest() -> None:
    image = Image()
    manifest = image.manifest()
    entry = image.descriptor(OCI_MANIFEST, manifest, data="ZW1iZWRkZWQ=", platform={"os": "linux"})
    partition = cut(image, {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]})
    assert "data" not in loaded(partition)[0]["manifests"][0]


def test_bytes_are_accounted_for() -> None:
    image = Image()
    field = image.field([(0, 0), (0, 1)], size=len(cell_blob(0, 0)), mediaType=OCI_LAYER)
    source = image.manifest(layers=[image.descriptor(OCI_LAYER_GZIP, BASE), field])
    partition = cut(image, source, "0.0.0.0")
    assert (partition.allotments, partition.selected_bytes, partition.left_out_bytes) == (1, 13, 13)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"config": {"mediaType": OCI_CONFIG, "digest": "sha256:0", "size": 1}},
            "'sha256:0' is not a digest; .* in 'config.digest'",
        ),
        (
            {"config": None},
            "expected an object, found NoneType|expected an object, found nothing in 'config'",
        ),
        ({"layers": {}}, "expected an array, found dict in 'layers'"),
        (
            {"layers": [{"mediaType": FIELD_LAYER}]},
            r"expected an integer, found nothing in 'layers\[0\].size'",
        ),
        ({"manifests": []}, "either 'manifests' or 'config' and 'layers', not both"),
    ],
)
def test_a_malformed_manifest_is_named_by_its_path(change: dict[str, Any], message: str) -> None:
    image = Image()
    with pytest.raises(FormatError, match=message):
        cut(image, image.manifest() | change)


def test_an_index_of_very_many_images_is_not_cut() -> None:
    image = Image()
    entries = [image.descriptor(OCI_MANIFEST, image.manifest() | {"x": number}) for number in range(65)]
    source = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    with pytest.raises(FormatError, match=r"more than 64 images is not cut in 'manifests\[64\]'"):
        cut(image, source)
    assert len(loaded(cut(image, source | {"manifests": entries[:64]}))[0]["manifests"]) == 64


def test_a_manifest_that_is_listed_many_times_is_flattened_once() -> None:
    image = Image()
    entry = image.descriptor(OCI_MANIFEST, image.manifest())
    entries = [entry | {"size": size} for size in range(300)]
    partition = cut(image, {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    assert len(partition.documents) == 3
    assert len(loaded(partition)[0]["manifests"]) == 300


def test_a_config_that_cannot_be_written_again_is_an_error() -> None:
    image = Image()
    body = orjson.dumps(image.config())[:-1] + b',"x":' + b"[" * 300 + b"]" * 300 + b"}"
    manifest = image.manifest()
    manifest["config"] = image.descriptor(OCI_CONFIG, body)
    with pytest.raises(FormatError, match="nested deeper than 254 levels"):
        cut(image, manifest)


def test_a_history_longer_than_the_layers_is_an_error() -> None:
    image = Image()
    history = [{"created_by": "a"}, {"created_by": "b"}]
    with pytest.raises(FormatError, match=r"2 entries for 1 layers beside the field in .*history"):
        cut(image, image.manifest(config=image.config(history=history)))


def test_two_fields_in_one_image_are_an_error() -> None:
    image = Image()
    with pytest.raises(FormatError, match=r"has one field, this one has 2 in 'layers\[1\]'"):
        cut(image, image.manifest(layers=[image.field([(0, 0)]), image.field([(1, 1)])]))


def test_a_config_that_does_not_fit_its_layers_is_an_error() -> None:
    image = Image()
    config = image.config(rootfs={"type": "layers", "diff_ids": []})
    with pytest.raises(FormatError, match=r"0 diff ids for 1 layers beside the field in 'config .*rootfs\.diff_ids'"):
        cut(image, image.manifest(config=config))


def two_platforms(image: Image, *manifests: dict[str, Any]) -> Document:
    entries = [
        image.descriptor(OCI_MANIFEST, one, platform={"os": "linux", "architecture": name})
        for one, name in zip(manifests, ("amd64", "arm64"), strict=True)
    ]
    return image.document({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})


def test_a_name_gives_exactly_the_bytes_of_its_rectangles() -> None:
    image = Image()
    source = image.document(image.manifest(partitions={"edge": "0.1.0.1--0.0.0.0"}))
    for named, rectangles in [
        ("edge", "0.0.0.0--0.1.0.1"),
        ("edge--1.0.1.0", "0.0.0.0--0.1.0.1--1.0.1.0"),
        ("all", "0.0.1.1"),
        ("base--edge", "0.0.0.0--0.1.0.1"),
    ]:
        assert cut_from(image.blobs, source, named) == cut_from(image.blobs, source, rectangles)


def test_base_is_the_base_without_the_field() -> None:
    image = Image()
    partition = cut(image, image.manifest(), "base")
    manifest, config = loaded(partition)
    assert [layer["digest"] for layer in manifest["layers"]] == [digest_of(BASE)]
    assert config["rootfs"]["diff_ids"] == [DIFF_ID]
    assert manifest["annotations"]["2dfs.selection"] == "base"
    assert partition.allotments == 0
    validate(partition.root, documents_of(partition))


def test_a_name_that_no_field_defines_is_no_partition() -> None:
    image = Image()
    source = image.document(image.manifest(partitions={"edge": "0.0.0.0"}))
    assert cut_from(image.blobs, source, "gpu") is None
    assert cut_from(image.blobs, source, "edge--gpu--9.9.9.9") is None


def test_all_of_more_than_a_runtime_unpacks_is_refused() -> None:
    image = Image()
    with pytest.raises(TooManyLayersError, match="partition all of this image needs more than 3 layers"):
        cut(image, image.manifest(), "all", max_layers=3)


def test_each_platform_resolves_a_name_with_its_own_field() -> None:
    image = Image()
    tables = ({"edge": "0.0.0.0"}, {"edge": "0.1.0.1--1.0.1.0"})
    source = two_platforms(image, *(image.manifest(partitions=one) for one in tables))
    partition = cut_from(image.blobs, source, "edge")
    assert partition is not None
    assert str(partition.selection) == "edge"
    first, second = validate(partition.root, documents_of(partition))
    assert [one.raw["annotations"]["2dfs.selection"] for one in (first, second)] == [table["edge"] for table in tables]
    assert (len(first.layers), len(second.layers)) == (2, 3)


def test_a_platform_whose_field_does_not_define_a_name_is_left_out() -> None:
    image = Image()
    source = two_platforms(image, image.manifest(), image.manifest(partitions={"edge": "0.0.0.0"}))
    partition = cut_from(image.blobs, source, "edge")
    assert partition is not None
    index = loaded(partition)[0]
    assert [one["platform"]["architecture"] for one in index["manifests"]] == ["arm64"]
    assert index["annotations"]["2dfs.selection"] == "edge"


def test_a_base_of_more_layers_than_fit_is_told_as_such() -> None:
    image = Image()
    layers = [*[image.descriptor(OCI_LAYER_GZIP, BASE)] * 200, image.field([(0, 0)])]
    with pytest.raises(TooManyLayersError) as failed:
        cut(image, image.manifest(layers=layers), "0.0.0.0", max_layers=125)
    assert str(failed.value) == (
        "partition 0.0.0.0 of this image needs more than 125 layers: the base alone has 200; container "
        "runtimes cannot unpack that many, and no allotment fits on top"
    )


def test_platforms_that_share_a_field_are_searched_once() -> None:
    image = Image()
    entries = [
        image.descriptor(OCI_MANIFEST, image.manifest(annotations={"n": str(n)}), platform={"os": f"o{n}"})
        for n in range(5)
    ]
    source = image.document({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    searched = []

    class Watched(Field):
        def select_in_steps(self, *args: Any, **more: Any) -> Selecting:
            searched.append(args)
            return super().select_in_steps(*args, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.lab.cutting.Field", Watched)
        assert cut_from(image.blobs, source, "0.0.0.0") is not None
    assert len(searched) == 1


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"size": MAX_DOCUMENT_BYTES}, "bytes together, and at most 33554432 are read for a partition"),
        ({"size": 2**62}, "bytes together, and at most 33554432 are read for a partition"),
    ],
)
def test_documents_over_the_budget_are_not_even_asked_for(entry: dict[str, int], said: str) -> None:
    image = Image()
    descriptor = image.descriptor(OCI_MANIFEST, image.manifest(), platform={"os": "linux"}) | entry
    source = image.document({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor]})
    with pytest.raises(TooLargeError, match=said):
        cut_from({}, source, "0.0.0.0")


def test_fields_have_a_budget_of_their_own() -> None:
    image = Image()
    fields = [image.field([(n, n)]) for n in range(3)]
    base = image.descriptor(OCI_LAYER_GZIP, BASE)
    entries = [
        image.descriptor(OCI_MANIFEST, image.manifest(layers=[base, field]), platform={"os": f"o{at}"})
        for at, field in enumerate(fields)
    ]
    source = image.document({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    with pytest.raises(TooLargeError, match=r"the fields of this image have \d+ bytes together"):
        cut_from(image.blobs, source, "0.0.0.0", max_fields=sum(field["size"] for field in fields) - 1)
    assert cut_from(image.blobs, source, "0.0.0.0", max_fields=2**20) is not None


def with_equal_cells(image: Image) -> dict[str, Any]:
    """A field of three rows: A, B and A again."""
    blobs = (b"A", b"B", b"A")
    cells = []
    for row, blob in enumerate(blobs):
        digest, _ = image.add(blob)
        cells.append({"row": row, "col": 0, "digest": digest[7:], "diffid": digest_of(b"plain " + blob)[7:]})
    field = image.descriptor(FIELD_LAYER, {"rows": [{"allotments": cells}]})
    return image.manifest(layers=[image.descriptor(OCI_LAYER_GZIP, BASE), field])


def test_cells_with_the_same_blob_are_one_layer_where_the_last_of_them_stands() -> None:
    image = Image()
    partition = cut(image, with_equal_cells(image), "0.0.2.0")
    manifest, config = loaded(partition)
    assert [layer["digest"] for layer in manifest["layers"]] == list(map(digest_of, (BASE, b"B", b"A")))
    assert config["rootfs"]["diff_ids"] == [DIFF_ID, digest_of(b"plain B"), digest_of(b"plain A")]
    assert [entry["created_by"] for entry in config["history"][1:]] == [
        "2dfs allotment 1/0",
        "2dfs allotment 2/0",
    ]
    assert partition.allotments == 2
    validate(partition.root, documents_of(partition))
    first_two = loaded(cut(image, with_equal_cells(image), "0.0.1.0"))[1]
    assert [one["created_by"] for one in first_two["history"][1:]] == [
        "2dfs allotment 0/0",
        "2dfs allotment 1/0",
    ]


def test_the_limit_of_layers_counts_equal_cells_once() -> None:
    image = Image()
    digest, _ = image.add(b"A")
    cells = [{"row": 0, "col": col, "digest": digest[7:], "diffid": digest[7:]} for col in range(300)]
    field = image.descriptor(FIELD_LAYER, {"rows": [{"allotments": cells}]})
    source = image.manifest(layers=[image.descriptor(OCI_LAYER_GZIP, BASE), field])
    assert len(loaded(cut(image, source, "all", max_layers=2))[0]["layers"]) == 2
    with pytest.raises(TooManyLayersError, match="more than 125 layers"):
        cut(image, source, "all", version=1)


def test_version_1_has_a_layer_for_each_cell() -> None:
    """What was pinned then can be made again: the digest is that of the release that wrote version 1."""
    image = Image()
    partition = cut(image, with_equal_cells(image), "0.0.2.0", version=1)
    assert [layer["digest"] for layer in loaded(partition)[0]["layers"]] == list(
        map(digest_of, (BASE, b"A", b"B", b"A"))
    )
    assert partition.root.digest == GOLDEN_OF_EQUAL_CELLS


def test_without_equal_cells_the_bytes_are_those_of_version_1() -> None:
    image = Image()
    for docker in (False, True):
        source = image.manifest(docker=docker)
        assert cut(image, source, "all") == cut(image, source, "all", version=1)
    assert cut(image, image.manifest(), "all").root.digest == GOLDEN


def of_the_fork(image: Image) -> dict[str, Any]:
    toc = digest_of(b"toc")
    field = image.field([(0, 0)], compressedSize=13, compression="zstd", tocDigest=toc)
    return image.manifest(layers=[image.descriptor(OCI_LAYER_GZIP, BASE), field])


def test_what_the_fork_says_of_a_cell_is_not_asked_again() -> None:
    image = Image()
    source = image.document(of_the_fork(image))
    asked: list[DocumentNeed] = []
    layers = []
    for version in (1, FLATTEN_VERSION):
        partition = cut_from(image.blobs, source, "0.0.0.0", asked=asked, version=version)
        assert partition is not None
        layers.append(loaded(partition)[0]["layers"][1])
        if version == 1:
            assert partition.root.digest == GOLDEN_OF_THE_FORK
    assert [one.kind for one in asked if one.kind is DocumentKind.SIZE] == []
    assert [(one["size"], one["mediaType"]) for one in layers] == [(13, OCI_LAYER_GZIP), (13, OCI_LAYER_ZSTD)]


def test_a_docker_image_gets_ocis_media_types_where_a_layer_is_in_zstd() -> None:
    """Docker's name for zstd is refused by podman and skopeo; images without it stay what they are."""
    image = Image()
    base = image.descriptor(DOCKER_LAYER_GZIP, BASE)
    zstd = image.field([(0, 0)], mediaType=OCI_LAYER_ZSTD, size=15)
    manifest = image.manifest(docker=True, layers=[base, zstd])
    entry = image.descriptor(DOCKER_MANIFEST, manifest, platform={"os": "linux", "architecture": "amd64"})
    source = {"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": [entry]}
    index, flat, _ = loaded(partition := cut(image, source, "0.0.0.0"))
    assert (partition.root.media_type, index["mediaType"]) == (OCI_INDEX, OCI_INDEX)
    assert [one["mediaType"] for one in index["manifests"]] == [flat["mediaType"]] == [OCI_MANIFEST]
    assert flat["config"]["mediaType"] == OCI_CONFIG
    assert [one["mediaType"] for one in flat["layers"]] == [OCI_LAYER_GZIP, OCI_LAYER_ZSTD]
    validate(partition.root, documents_of(partition))
    assert cut(image, source, "base").root.media_type == DOCKER_LIST
    before = loaded(cut(image, source, "0.0.0.0", version=1))
    assert [one["mediaType"] for one in before[1]["layers"]] == [DOCKER_LAYER_GZIP, DOCKER_LAYER_ZSTD]
