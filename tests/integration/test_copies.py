"""Images and partitions copied from registry to registry, and tags set."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.documents import FieldStyle
from tests.lab.engines import DockerEngine
from tests.lab.images import PushedImage, push_field_image
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient
from tests.lab.signing import push_signatures, signature_tag
from tests.lab.workshop import Workshop

CELLS = {
    (row, col): {f"cell-{row}-{col}": f"weights of {row}/{col} ".encode() * 50} for row in range(2) for col in range(2)
}
NAME = "copies/model"


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Another registry than the one that has the images."""
    with Registry.start(tmp_path_factory.mktemp("other")) as started:
        yield started


@pytest.fixture(scope="module")
def image(registry: Registry) -> PushedImage:
    style = FieldStyle(sizes=True, more={"partitions": {"edge": "0.0.0.1"}})
    platforms = ("linux/amd64", "linux/arm64")
    return push_field_image(
        registry.url, NAME, "v1", cells=CELLS, platforms=platforms, field_style=style, anchor=True, attestations=True
    )


def digest_under(registry: Registry, repository: str, tag: str) -> str:
    with RegistryClient(registry.url) as client:
        return client.get_manifest(repository, tag).headers["docker-content-digest"]


def blobs_in(store: Path) -> list[Path]:
    return [one for one in store.glob("blobs/*/*") if one.is_file()]


def test_an_image_is_copied_with_its_field_and_anchor_and_nothing_is_stored(
    workshop: Workshop, image: PushedImage, other: Registry
) -> None:
    target = f"{other.address}/backup/model:v1"
    first = workshop.made("copy", workshop.target(NAME), target, "--json").json
    assert (first["digest"], first["reference"]) == (image.digest, target)
    assert first["uploadedBlobs"] == len({one.digest for one in image.blobs})
    assert digest_under(other, "backup/model", "v1") == image.digest
    with RegistryClient(other.url) as client:
        for one in image.manifests:
            assert client.get_manifest("backup/model", one.digest).body == one.content
        for one in image.blobs:
            assert client.request("GET", f"/v2/backup/model/blobs/{one.digest}").body == one.content
    again = workshop.made("copy", workshop.target(NAME), target, "--json").json
    assert (again["uploadedBlobs"], again["presentBlobs"]) == (0, first["uploadedBlobs"])
    assert blobs_in(workshop.store) == []


def test_within_a_registry_blobs_are_mounted(workshop: Workshop, image: PushedImage) -> None:
    done = workshop.made("copy", workshop.target(NAME), workshop.target("copies/beside"), "--json").json
    assert (done["uploadedBlobs"], done["mountedBlobs"]) == (0, len({one.digest for one in image.blobs}))
    assert digest_under(workshop.registry, "copies/beside", "v1") == image.digest


@pytest.mark.parametrize("selection", ["edge", "1.0.1.0--0.1.0.1", "all", "base"])
def test_a_partition_becomes_the_image_that_the_proxy_gives(
    workshop: Workshop, image: PushedImage, other: Registry, proxy: Proxy, selection: str
) -> None:
    target = f"{other.address}/flat/model:{selection.replace('--', '-')}"
    done = workshop.made("copy", workshop.target(image.repository, f"v1--{selection}"), target, "--json").json
    with RegistryClient(proxy.url) as client:
        seen = client.get_manifest(image.repository, f"v1--{selection}")
    assert seen.headers["docker-content-digest"] == done["digest"]
    assert digest_under(other, "flat/model", target.rpartition(":")[2]) == done["digest"]


def test_a_copied_partition_runs_without_a_proxy(
    workshop: Workshop, image: PushedImage, other: Registry, docker_engine: DockerEngine
) -> None:
    target = f"{other.address}/flat/runs:v1"
    workshop.made("copy", workshop.target(NAME, "v1--edge"), target)
    docker_engine.pull(target)
    assert docker_engine.files(target) == image.files(image.select((0, 0, 0, 1)))
    docker_engine.remove(target)


def test_the_image_itself_is_copied_through_a_proxy_that_gives_partitions(
    workshop: Workshop, image: PushedImage, other: Registry, tmp_path: Path
) -> None:
    settings = {"TWODFS_PROXY_PARTITION_PLAIN_TAG": "edge"}
    with Proxy.start(tmp_path, workshop.registry.url, environment=settings) as plain:
        source, target = f"{plain.address}/{NAME}:v1", f"{other.address}/plain/model"
        assert workshop.made("copy", f"{source}--image", f"{target}:image", "--json").json["digest"] == image.digest
        flat = workshop.made("copy", source, f"{target}:v1", "--json").json["digest"]
    assert flat == workshop.made("copy", workshop.target(NAME, "v1--edge"), f"{target}:v2", "--json").json["digest"]


def test_signatures_and_referrers_go_along_where_asked_for(
    workshop: Workshop, registry: Registry, other: Registry
) -> None:
    signed = push_field_image(registry.url, "copies/signed", "v1", cells=CELLS)
    with RegistryClient(registry.url) as client:
        push_signatures(client, "copies/signed", signed.digest, {b"payload": b"signature"})
    target = f"{other.address}/backup/signed:v1"
    source = workshop.target("copies/signed")
    assert workshop.made("copy", source, target, "--json").json["referrers"] == 0
    with RegistryClient(other.url) as client:
        assert client.get_manifest("backup/signed", signature_tag(signed.digest)).status == 404
    assert workshop.made("copy", source, target, "--referrers", "--json").json["referrers"] == 1
    with RegistryClient(other.url) as client:
        assert client.get_manifest("backup/signed", signature_tag(signed.digest)).status == 200


def test_a_blob_that_is_gone_is_an_error_that_names_it(workshop: Workshop, registry: Registry, other: Registry) -> None:
    image = push_field_image(registry.url, "copies/lacking", "v1", cells=CELLS)
    lost = image.allotments[1, 1].blob
    with RegistryClient(registry.url) as client:
        assert client.request("DELETE", f"/v2/copies/lacking/blobs/{lost.digest}").status == 202
    done = workshop.twodfs("copy", workshop.target("copies/lacking"), f"{other.address}/backup/lacking:v1")
    assert done.status == 1
    assert lost.digest in done.err
    with RegistryClient(other.url) as client:
        assert client.get_manifest("backup/lacking", "v1").status == 404


def test_a_tag_in_the_store_can_be_pushed(workshop: Workshop) -> None:
    old, new = workshop.target("copies/tagged"), workshop.target("copies/renamed", "v2")
    image = workshop.made("build", "scratch", old, "--json").json
    named = workshop.made("tag", old, new, "--json").json
    assert named == {"reference": new, "digest": image["digest"], "place": "store"}
    workshop.made("push", new)
    assert digest_under(workshop.registry, "copies/renamed", "v2") == image["digest"]
    assert len(workshop.made("images", "--json").json["images"]) == 2


def test_a_tag_in_the_registry_names_the_same_bytes(workshop: Workshop, image: PushedImage) -> None:
    named = workshop.made("tag", workshop.target(NAME), workshop.target(NAME, "latest"), "--json").json
    assert (named["digest"], named["place"]) == (image.digest, "registry")
    assert digest_under(workshop.registry, NAME, "latest") == image.digest
    by_digest = f"{workshop.registry.address}/{NAME}@{image.digest}"
    assert workshop.made("tag", by_digest, workshop.target(NAME, "pinned")).out.strip().endswith(image.digest)


def test_the_registry_is_asked_where_the_user_says_so(workshop: Workshop) -> None:
    old, new = workshop.target("copies/both"), workshop.target("copies/both", "v2")
    workshop.made("build", "scratch", old, "--push")
    assert workshop.made("tag", old, new, "--registry", "--json").json["place"] == "registry"
    assert digest_under(workshop.registry, "copies/both", "v2")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (f"{NAME}:v1", "copies/elsewhere:v1", "'twodfs copy' copies it"),
        (f"{NAME}:v1--edge", f"{NAME}:edge", "of a partition 'twodfs copy' makes an image"),
        (f"{NAME}:v1", f"{NAME}:v1--0.0.0.1", "a proxy reads the tag as a partition"),
    ],
)
def test_what_cannot_be_tagged_says_what_to_do(
    workshop: Workshop, image: PushedImage, old: str, new: str, said: str
) -> None:
    done = workshop.twodfs("tag", f"{workshop.registry.address}/{old}", f"{workshop.registry.address}/{new}")
    assert done.status != 0
    assert said in " ".join(done.err.split())
    assert digest_under(workshop.registry, NAME, "v1") == image.digest
