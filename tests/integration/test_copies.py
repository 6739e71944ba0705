"""Images and partitions copied from registry to registry, and tags set."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


@pytest.fixture
def user(tmp_path: Path, registry: Registry) -> Workshop:
    return Workshop(tmp_path, tmp_path / "store", registry)


def digest_under(registry: Registry, repository: str, tag: str) -> str:
    with RegistryClient(registry.url) as client:
        return client.get_manifest(repository, tag).headers["docker-content-digest"]


def blobs_in(store: Path) -> list[Path]:
    return [one for one in store.glob("blobs/*/*") if one.is_file()]


def test_an_image_is_copied_with_its_field_and_anchor_and_nothing_is_stored(
    user: Workshop, image: PushedImage, other: Registry
) -> None:
    target = f"{other.address}/backup/model:v1"
    first = user.made("copy", user.target(NAME), target, "--json").json
    assert (first["digest"], first["reference"]) == (image.digest, target)
    assert first["uploadedBlobs"] == len({one.digest for one in image.blobs})
    assert digest_under(other, "backup/model", "v1") == image.digest
    with RegistryClient(other.url) as client:
        for one in image.manifests:
            assert client.get_manifest("backup/model", one.digest).body == one.content
        for one in image.blobs:
            assert client.request("GET", f"/v2/backup/model/blobs/{one.digest}").body == one.content
    again = user.made("copy", user.target(NAME), target, "--json").json
    assert (again["uploadedBlobs"], again["presentBlobs"]) == (0, first["uploadedBlobs"])
    assert blobs_in(user.store) == []


def test_within_a_registry_blobs_are_mounted(user: Workshop, image: PushedImage) -> None:
    done = user.made("copy", user.target(NAME), user.target("copies/beside"), "--json").json
    assert (done["uploadedBlobs"], done["mountedBlobs"]) == (0, len({one.digest for one in image.blobs}))
    assert digest_under(user.registry, "copies/beside", "v1") == image.digest


@pytest.mark.parametrize("selection", ["edge", "1.0.1.0--0.1.0.1", "all", "base"])
def test_a_partition_becomes_the_image_that_the_proxy_gives(
    user: Workshop, image: PushedImage, other: Registry, proxy: Proxy, selection: str
) -> None:
    target = f"{other.address}/flat/model:{selection.replace('--', '-')}"
    done = user.made("copy", user.target(image.repository, f"v1--{selection}"), target, "--json").json
    with RegistryClient(proxy.url) as client:
        seen = client.get_manifest(image.repository, f"v1--{selection}")
    assert seen.headers["docker-content-digest"] == done["digest"]
    assert digest_under(other, "flat/model", target.rpartition(":")[2]) == done["digest"]


def test_a_copied_partition_runs_without_a_proxy(
    user: Workshop, image: PushedImage, other: Registry, docker_engine: DockerEngine
) -> None:
    target = f"{other.address}/flat/runs:v1"
    user.made("copy", user.target(NAME, "v1--edge"), target)
    docker_engine.pull(target)
    assert docker_engine.files(target) == image.files(image.select((0, 0, 0, 1)))
    docker_engine.remove(target)


def test_the_image_itself_is_copied_through_a_proxy_that_gives_partitions(
    user: Workshop, image: PushedImage, other: Registry, tmp_path: Path
) -> None:
    settings = {"TWODFS_PROXY_PARTITION_PLAIN_TAG": "edge"}
    with Proxy.start(tmp_path, user.registry.url, environment=settings) as plain:
        source, target = f"{plain.address}/{NAME}:v1", f"{other.address}/plain/model"
        assert user.made("copy", f"{source}--image", f"{target}:image", "--json").json["digest"] == image.digest
        flat = user.made("copy", source, f"{target}:v1", "--json").json["digest"]
    assert flat == user.made("copy", user.target(NAME, "v1--edge"), f"{target}:v2", "--json").json["digest"]


def test_signatures_and_referrers_go_along_where_asked_for(user: Workshop, registry: Registry, other: Registry) -> None:
    signed = push_field_image(registry.url, "copies/signed", "v1", cells=CELLS)
    with RegistryClient(registry.url) as client:
        push_signatures(client, "copies/signed", signed.digest, {b"payload": b"signature"})
    target = f"{other.address}/backup/signed:v1"
    assert user.made("copy", user.target("copies/signed"), target, "--json").json["referrers"] == 0
    with RegistryClient(other.url) as client:
        assert client.get_manifest("backup/signed", signature_tag(signed.digest)).status == 404
    assert user.made("copy", user.target("copies/signed"), target, "--referrers", "--json").json["referrers"] == 1
    with RegistryClient(other.url) as client:
        assert client.get_manifest("backup/signed", signature_tag(signed.digest)).status == 200


def test_a_blob_that_is_gone_is_an_error_that_names_it(user: Workshop, registry: Registry, other: Registry) -> None:
    image = push_field_image(registry.url, "copies/lacking", "v1", cells=CELLS)
    lost = image.allotments[1, 1].blob
    with RegistryClient(registry.url) as client:
        assert client.request("DELETE", f"/v2/copies/lacking/blobs/{lost.digest}").status == 202
    done = user.twodfs("copy", user.target("copies/lacking"), f"{other.address}/backup/lacking:v1")
    assert done.status == 1
    assert lost.digest in done.err
    with RegistryClient(other.url) as client:
        assert client.get_manifest("backup/lacking", "v1").status == 404


def built(user: Workshop, name: str) -> dict[str, Any]:
    (user.directory / "a.bin").write_bytes(os.urandom(1000))
    allotments = [{"src": "a.bin", "dst": "/a.bin", "row": 0, "col": 0}]
    (user.directory / "2dfs.json").write_text(json.dumps({"allotments": allotments}))
    done: dict[str, Any] = user.made("build", "scratch", user.target(name), "--json").json
    return done


def test_a_tag_in_the_store_can_be_pushed(user: Workshop) -> None:
    image = built(user, "copies/tagged")
    named = user.made("tag", user.target("copies/tagged"), user.target("copies/renamed", "v2"), "--json").json
    assert named == {"reference": user.target("copies/renamed", "v2"), "digest": image["digest"], "place": "store"}
    user.made("push", user.target("copies/renamed", "v2"))
    assert digest_under(user.registry, "copies/renamed", "v2") == image["digest"]
    assert len(user.made("images", "--json").json["images"]) == 2


def test_a_tag_in_the_registry_names_the_same_bytes(user: Workshop, image: PushedImage) -> None:
    named = user.made("tag", user.target(NAME), user.target(NAME, "latest"), "--json").json
    assert (named["digest"], named["place"]) == (image.digest, "registry")
    assert digest_under(user.registry, NAME, "latest") == image.digest
    by_digest = f"{user.registry.address}/{NAME}@{image.digest}"
    assert user.made("tag", by_digest, user.target(NAME, "pinned")).out.strip().endswith(image.digest)


def test_the_registry_is_asked_where_the_user_says_so(user: Workshop) -> None:
    built(user, "copies/both")
    user.made("push", user.target("copies/both"))
    old, new = user.target("copies/both"), user.target("copies/both", "v2")
    assert user.made("tag", old, new, "--registry", "--json").json["place"] == "registry"
    assert digest_under(user.registry, "copies/both", "v2")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (f"{NAME}:v1", "copies/elsewhere:v1", "'twodfs copy' copies it"),
        (f"{NAME}:v1--edge", f"{NAME}:edge", "of a partition 'twodfs copy' makes an image"),
        (f"{NAME}:v1", f"{NAME}:v1--0.0.0.1", "a proxy reads the tag as a partition"),
    ],
)
def test_what_cannot_be_tagged_says_what_to_do(
    user: Workshop, image: PushedImage, old: str, new: str, said: str
) -> None:
    done = user.twodfs("tag", f"{user.registry.address}/{old}", f"{user.registry.address}/{new}")
    assert done.status != 0
    assert said in " ".join(done.err.split())
    assert digest_under(user.registry, NAME, "v1") == image.digest
