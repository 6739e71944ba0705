"""Partition requests as plain HTTP, in front of the stock registry."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.lab.documents import DOCKER, OCI, FieldStyle
from tests.lab.images import PushedImage, push, push_field_image, push_image
from tests.lab.proxy import Proxy
from tests.lab.redis import Redis
from tests.lab.registry import Registry
from tests.lab.registry_client import Answer, RegistryClient
from twodfs.flatten.validate import validate
from twodfs.oci.digest import Digest, digest_of
from twodfs.oci.documents import Document

CELLS = {
    (row, col): {f"{row}/{col}": b"%d-%d" % (row, col)} for row in range(4) for col in range(5) if (row, col) != (2, 2)
}


@pytest.fixture(scope="module")
def image(registry: Registry) -> PushedImage:
    return push_field_image(
        registry.url,
        "requests/model",
        "v1",
        cells=CELLS,
        platforms=("linux/amd64", "linux/arm64"),
        attestations=True,
        anchor=True,
        config_more={"x-unknown": {"kept": [1, "two", None]}},
    )


@pytest.fixture
def client(proxy: Proxy) -> Iterator[RegistryClient]:
    with RegistryClient(proxy.url) as connection:
        yield connection


def read(client: RegistryClient, image: PushedImage, tag: str) -> tuple[Answer, list[dict[str, Any]]]:
    """Return the top answer and the configs of a partition that was validated as a whole."""
    top = client.get_manifest(image.repository, tag)
    assert top.status == 200, top.body
    documents: dict[Digest, bytes] = {}
    parsed = orjson.loads(top.body)
    children = [client.get_manifest(image.repository, one["digest"]).body for one in parsed.get("manifests", [])]
    for manifest in children or [top.body]:
        config = orjson.loads(manifest)["config"]["digest"]
        blob = client.request("GET", f"/v2/{image.repository}/blobs/{config}")
        assert blob.status == 200
        documents |= {digest_of(manifest): manifest, digest_of(blob.body): blob.body}
    root = Document(top.headers["content-type"], digest_of(top.body), top.body)
    assert top.headers["docker-content-digest"] == root.digest
    validate(root, documents)
    return top, [one for one in map(orjson.loads, documents.values()) if "rootfs" in one]


def layers_of(client: RegistryClient, image: PushedImage, top: Answer) -> list[str]:
    entry = orjson.loads(top.body)["manifests"][0]
    manifest = orjson.loads(client.get_manifest(image.repository, entry["digest"]).body)
    return [layer["digest"] for layer in manifest["layers"]]


def expected_layers(image: PushedImage, *rectangles: tuple[int, int, int, int]) -> list[str]:
    return [layer.blob.digest for layer in image.layers(image.select(*rectangles))]


@pytest.mark.parametrize(
    ("tag", "rectangles"),
    [
        ("v1--0.0.0.0", [(0, 0, 0, 0)]),
        ("v1--0.0.3.4", [(0, 0, 3, 4)]),
        ("v1+0.0.1.2", [(0, 0, 1, 2)]),
        ("v1%2B0.0.1.2", [(0, 0, 1, 2)]),
        ("v1%2b0.0.1.2+3.0.3.1", [(0, 0, 1, 2), (3, 0, 3, 1)]),
        ("v1--3.0.3.1--0.0.1.2", [(0, 0, 1, 2), (3, 0, 3, 1)]),
        ("v1--0.0.2.2--1.1.3.3", [(0, 0, 2, 2), (1, 1, 3, 3)]),
        ("v1--000.01.0002.3", [(0, 1, 2, 3)]),
        ("v1--2.0.99999999999999999999999999.99999999999999999999999", [(2, 0, 3, 4)]),
        ("v1--2.1.2.3", [(2, 1, 2, 3)]),
        ("v1" + "--0.0.0.0" * 14, [(0, 0, 0, 0)]),
        ("v1--0.0.0." + "0" * 118, [(0, 0, 0, 0)]),
    ],
)
def test_a_partition_has_the_base_and_the_selected_cells_in_order(
    client: RegistryClient, image: PushedImage, tag: str, rectangles: list[tuple[int, int, int, int]]
) -> None:
    top, configs = read(client, image, tag)
    assert layers_of(client, image, top) == expected_layers(image, *rectangles)
    cells = image.select(*rectangles)
    for config in configs:
        made = [entry["created_by"] for entry in config["history"] if entry["created_by"].startswith("2dfs")]
        assert made == [f"2dfs allotment {row}/{col}" for row, col in cells]
        assert config["x-unknown"] == {"kept": [1, "two", None]}


def test_the_tag_above_has_exactly_128_characters() -> None:
    assert len("v1--0.0.0." + "0" * 118) == 128
    assert len("v1" + "--0.0.0.0" * 14) == 128


def test_platforms_are_kept_and_what_is_no_image_is_left_out(client: RegistryClient, image: PushedImage) -> None:
    source = orjson.loads(image.top.content)["manifests"]
    entries = orjson.loads(read(client, image, "v1--0.0.0.1")[0].body)["manifests"]
    assert [one["platform"]["architecture"] for one in entries] == ["amd64", "arm64"]
    assert len(source) == 5


@pytest.mark.parametrize(
    ("tag", "status", "code", "said"),
    [
        ("v1--4.0.4.0", 404, "MANIFEST_UNKNOWN", "requests/model:v1 has rows 0..3, columns 0..4"),
        ("v1--0.5.9.9", 404, "MANIFEST_UNKNOWN", "partition 0.5.9.9 selects no allotment"),
        ("v1--0.0.0.0--9.9.9.9", 404, "MANIFEST_UNKNOWN", "partition 9.9.9.9 selects no allotment"),
        ("v1--2.2.2.2", 404, "MANIFEST_UNKNOWN", "partition 2.2.2.2 selects no allotment"),
        ("v1--1.0.0.0", 400, "TAG_INVALID", "partition 1.0.0.0 is inverted: rows 1..0 end before they begin"),
        ("v1--0.4.3.1", 400, "TAG_INVALID", "columns 4..1 end before they begin"),
        ("v1--0.0.0." + "0" * 119, 400, "TAG_INVALID", "has 129 characters; a tag has at most 128"),
        ("v1--0.0.0", 404, "MANIFEST_UNKNOWN", "0.0.0 is no partition of requests/model:v1: a rectangle has"),
        ("nothing--0.0.0.0", 404, "MANIFEST_UNKNOWN", "manifest unknown"),
    ],
)
def test_what_cannot_be_cut_is_an_oci_error_with_a_sentence_that_helps(
    client: RegistryClient, image: PushedImage, tag: str, status: int, code: str, said: str
) -> None:
    answer = client.get_manifest(image.repository, tag)
    (error,) = orjson.loads(answer.body)["errors"]
    assert (answer.status, error["code"]) == (status, code)
    assert said in error["message"]
    head = client.request("HEAD", f"/v2/{image.repository}/manifests/{tag}", headers={"Accept": OCI.index})
    assert (head.status, head.body) == (status, b"")


def test_head_of_the_tag_is_enough_to_get_the_children_by_digest(
    registry: Registry, image: PushedImage, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with (
        Proxy.start(tmp_path_factory.mktemp("first"), registry.url) as other,
        RegistryClient(other.url) as client,
    ):
        whole = client.get_manifest(image.repository, "v1--1.0.1.1")
        child = orjson.loads(whole.body)["manifests"][1]
    target = f"/v2/{image.repository}/manifests/"
    with (
        Proxy.start(tmp_path_factory.mktemp("second"), registry.url) as fresh,
        RegistryClient(fresh.url) as client,
    ):
        head = client.request("HEAD", f"{target}v1--1.0.1.1", headers={"Accept": OCI.index})
        assert head.status == 200
        assert head.headers["docker-content-digest"] == digest_of(whole.body)
        assert head.headers["content-length"] == str(len(whole.body))
        assert head.headers["content-type"] == OCI.index
        answer = client.request("GET", target + child["digest"], headers={"Accept": OCI.manifest})
        assert (answer.status, digest_of(answer.body)) == (200, child["digest"])
        config = orjson.loads(answer.body)["config"]["digest"]
        for method in ("HEAD", "GET"):
            answer = client.request(method, f"/v2/{image.repository}/blobs/{config}")
            assert answer.status == 200
        assert digest_of(answer.body) == config


def test_a_literal_tag_that_looks_like_a_partition_is_a_tag(
    client: RegistryClient, registry: Registry, image: PushedImage
) -> None:
    plain = push_field_image(registry.url, "requests/literal", "v1--0.0.0.1", cells={(0, 0): {"a": b"b"}})
    answer = client.get_manifest(plain.repository, "v1--0.0.0.1")
    assert (answer.status, answer.body) == (200, plain.top.content)
    answer = client.get_manifest(plain.repository, "v1--0.0.0.1--0.0.0.0")
    assert orjson.loads(answer.body)["annotations"]["2dfs.source.digest"] == plain.digest
    push(image, registry.url, "requests/literal", "v1")  # now there is a v1, and the same tag is a partition of it
    answer = client.get_manifest(plain.repository, "v1--0.0.0.1")
    assert orjson.loads(answer.body)["annotations"]["2dfs.source.digest"] == image.digest


def test_a_docker_list_gives_a_client_without_lists_the_manifest_that_the_registry_picks(
    client: RegistryClient, registry: Registry
) -> None:
    image = push_field_image(
        registry.url,
        "requests/docker",
        "v1",
        cells=CELLS,
        kind="docker-list",
        platforms=("linux/arm64", "linux/amd64"),
    )
    target = f"/v2/{image.repository}/manifests/v1--0.0.0.2"
    answer = client.request("GET", target, headers={"Accept": DOCKER.manifest})
    assert (answer.status, answer.headers["content-type"]) == (200, DOCKER.manifest)
    manifest = orjson.loads(answer.body)
    assert [layer["mediaType"] for layer in manifest["layers"]] == [DOCKER.layer_type("gzip")] * 4
    picked = image.platform("linux/amd64").manifest.digest
    assert manifest["annotations"]["2dfs.source.digest"] == picked


def test_a_field_with_sizes_and_absent_holes_gives_the_same_layers(
    client: RegistryClient, registry: Registry, image: PushedImage
) -> None:
    style = FieldStyle(holes="absent", sizes=True, media_types=True)
    other = push_field_image(registry.url, "requests/sized", "v1", cells=CELLS, field_style=style)
    top, _ = read(client, other, "v1--1.1.2.3")
    assert layers_of(client, other, top) == expected_layers(image, (1, 1, 2, 3))


@pytest.fixture(scope="module")
def named(registry: Registry) -> PushedImage:
    style = FieldStyle(more={"partitions": {"edge": "0.0.1.1", "gpu": "3.0.3.1--0.0.1.2"}})
    return push_field_image(
        registry.url,
        "requests/named",
        "v1",
        cells=CELLS,
        platforms=("linux/amd64", "linux/arm64"),
        field_style=style,
    )


@pytest.mark.parametrize(
    ("tag", "rectangles"),
    [
        ("v1--edge", "v1--0.0.1.1"),
        ("v1+edge", "v1--0.0.1.1"),
        ("v1--gpu", "v1--0.0.1.2--3.0.3.1"),
        ("v1--edge--3.0.3.2", "v1--0.0.1.1--3.0.3.2"),
        ("v1--3.0.3.2--gpu--edge", "v1--3.0.3.2--0.0.1.2"),
        ("v1--all", "v1--0.0.3.4"),
        ("v1--base--edge", "v1--0.0.1.1"),
    ],
)
def test_a_named_partition_is_the_partition_of_its_rectangles(
    client: RegistryClient, named: PushedImage, tag: str, rectangles: str
) -> None:
    top, _ = read(client, named, tag)
    assert top.body == client.get_manifest(named.repository, rectangles).body
    head = client.request("HEAD", f"/v2/{named.repository}/manifests/{tag}", headers={"Accept": OCI.index})
    assert (head.status, head.headers["docker-content-digest"]) == (200, digest_of(top.body))
    child = orjson.loads(top.body)["manifests"][1]["digest"]
    assert client.get_manifest(named.repository, child).status == 200


def test_base_is_an_image_without_allotments(client: RegistryClient, named: PushedImage) -> None:
    top, _ = read(client, named, "v1--base")
    assert layers_of(client, named, top) == expected_layers(named)
    assert orjson.loads(top.body)["annotations"]["2dfs.selection"] == "base"


def test_a_tag_with_a_name_that_the_field_does_not_define_is_a_tag(
    client: RegistryClient, registry: Registry, named: PushedImage
) -> None:
    answer = client.get_manifest(named.repository, "v1--debug")
    said = b"requests/named:v1 has no partition called debug; it has edge, gpu, all and base"
    assert (answer.status, said in answer.body) == (404, True)
    plain = push_field_image(registry.url, "requests/named", "v1--debug", cells={(0, 0): {"a": b"b"}})
    answer = client.get_manifest(named.repository, "v1--debug")
    assert (answer.status, answer.body) == (200, plain.top.content)
    answer = client.get_manifest(named.repository, "v1--debug--all")
    assert orjson.loads(answer.body)["annotations"]["2dfs.source.digest"] == plain.digest


def test_a_tag_of_an_image_without_a_field_is_never_served_under_another_name(
    client: RegistryClient, registry: Registry
) -> None:
    push_image(registry.url, "requests/unfielded", "v1", kind="oci-manifest")
    target = "/v2/requests/unfielded/manifests/"
    for tag in ("v1--debug", "v1--base", "v1--0.0.0.0"):
        for accept in (OCI.manifest, OCI.index, "*/*"):
            assert client.request("GET", target + tag, headers={"Accept": accept}).status == 404
    push_image(registry.url, "requests/unfielded", "v1--debug", kind="oci-manifest")
    answer = client.request("GET", target + "v1--debug", headers={"Accept": OCI.manifest})
    assert answer.status == 200


def test_a_named_partition_can_be_pinned_after_the_proxy_forgot_it(
    registry: Registry, named: PushedImage, redis_server: Redis, tmp_path: Path
) -> None:
    environment = {"TWODFS_PROXY_CACHE_REDIS_URL": redis_server.url}
    with (
        Proxy.start(tmp_path, registry.url, environment=environment) as first,
        RegistryClient(first.url) as client,
    ):
        top = client.get_manifest(named.repository, "v1--edge")
    with redis_server.client() as store:
        partitions = list(store.scan_iter("*partition:*"))
        assert len(partitions) == store.delete(*partitions) == 2
    with (
        Proxy.start(tmp_path, registry.url, environment=environment) as second,
        RegistryClient(second.url) as client,
    ):
        again = client.get_manifest(named.repository, digest_of(top.body))
    assert (again.status, again.body) == (200, top.body)


def test_what_the_proxy_answers_itself_carries_the_id_of_its_request(
    client: RegistryClient, image: PushedImage
) -> None:
    def id_of(target: str, offered: str = "mine-1") -> str | None:
        accept = f"{OCI.index}, {OCI.manifest}"
        headers = {"X-Request-Id": offered, "Accept": accept}
        answer = client.request("GET", f"/v2/{image.repository}/{target}", headers=headers)
        return answer.headers.get("x-request-id")

    top = client.get_manifest(image.repository, "v1--0.0.0.0")
    child = orjson.loads(top.body)["manifests"][0]["digest"]
    config = orjson.loads(client.get_manifest(image.repository, child).body)["config"]["digest"]
    for target in ("manifests/v1--0.0.0.0", f"manifests/{child}", f"blobs/{config}", "manifests/v1--9.9.9.9"):
        assert id_of(target) == "mine-1"
    assert len(id_of("manifests/v1--0.0.0.0", "not sane") or "") == 32
    assert id_of("manifests/v1") is None, "what is relayed stays as it is"
    assert id_of("manifests/none") is None
