"""A partition pushed back through the proxy: the registry gets what only the proxy had, and nothing else."""

import subprocess

import orjson
import pytest

from tests.lab.engines import DockerEngine, Skopeo
from tests.lab.images import PushedImage, push_field_image
from tests.lab.layers import Blob
from tests.lab.programs import environment, program
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry
from tests.lab.registry_client import Answer, RegistryClient
from twodfs.oci.digest import digest_of
from twodfs.oci.documents import OCI_INDEX, OCI_MANIFEST

CELLS = {(row, 0): {f"row{row}": b"weights of row %d" % row * 100} for row in range(3)}
PARTITION = "v1--0.0.1.0"


@pytest.fixture
def image(registry: Registry, request: pytest.FixtureRequest) -> PushedImage:
    repository = f"deposits/{digest_of(request.node.name.encode())[7:19]}"
    return push_field_image(registry.url, repository, "v1", cells=CELLS, platforms=("linux/amd64", "linux/arm64"))


def put(address: str, repository: str, reference: str, content: bytes, media_type: str) -> Answer:
    with RegistryClient(address) as client:
        target = f"/v2/{repository}/manifests/{reference}"
        return client.request("PUT", target, headers={"Content-Type": media_type}, body=content)


def partition(proxy: Proxy, image: PushedImage) -> bytes:
    """Return the index of the partition; its children and configs are in no registry."""
    with RegistryClient(proxy.url) as client:
        return client.get_manifest(image.repository, PARTITION).body


def test_docker_pushes_a_partition_that_it_pulled(
    registry: Registry, proxy: Proxy, docker_engine: DockerEngine, image: PushedImage
) -> None:
    pulled, pushed = image.reference(proxy.address, PARTITION), image.reference(proxy.address, "part")
    docker_engine.pull(pulled)
    docker_engine.tag(pulled, pushed)
    docker_engine.push(pushed)
    docker_engine.remove(pulled)
    docker_engine.remove(pushed)
    from_the_registry = image.reference(registry.address, "part")
    docker_engine.pull(from_the_registry)
    assert docker_engine.files(from_the_registry) == image.files(image.select((0, 0, 1, 0)))
    docker_engine.remove(from_the_registry)


def test_skopeo_copies_every_platform_back(
    registry: Registry, proxy: Proxy, skopeo_engine: Skopeo, image: PushedImage
) -> None:
    places = (f"docker://{image.reference(proxy.address, tag)}" for tag in (PARTITION, "part"))
    tls = ("--src-tls-verify=false", "--dest-tls-verify=false")
    argv = (program("skopeo"), "--insecure-policy", "copy", "--all", *tls, *places)
    subprocess.run(argv, env=environment(), check=True, capture_output=True, timeout=60)
    for platform in ("linux/amd64", "linux/arm64"):
        reference = image.reference(registry.address, "part")
        skopeo_engine.pull(reference, platform)
        assert skopeo_engine.files(reference) == image.files(image.select((0, 0, 1, 0)), platform)
        skopeo_engine.remove(reference)


def test_an_index_whose_parts_the_registry_never_saw_is_taken_with_all_of_them(
    registry: Registry, proxy: Proxy, image: PushedImage
) -> None:
    index = partition(proxy, image)
    answer = put(proxy.url, image.repository, "part", index, OCI_INDEX)
    assert answer.status == 201
    assert answer.headers["docker-content-digest"] == digest_of(index)
    with RegistryClient(registry.url) as client:
        assert client.get_manifest(image.repository, "part").body == index
        for entry in orjson.loads(index)["manifests"]:
            child = client.get_manifest(image.repository, entry["digest"])
            assert digest_of(child.body) == entry["digest"]
            config = orjson.loads(child.body)["config"]["digest"]
            blob = client.request("GET", f"/v2/{image.repository}/blobs/{config}")
            assert digest_of(blob.body) == config


def test_the_registrys_no_comes_through_where_we_made_nothing_of_it(
    registry: Registry, proxy: Proxy, image: PushedImage
) -> None:
    missing = Blob(b"in no registry", "application/vnd.oci.image.config.v1+json").descriptor()
    manifest = orjson.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": missing, "layers": []})
    refusals = []
    for address in (registry.url, proxy.url):
        for content in (manifest, b"no manifest"):
            answer = put(address, image.repository, "odd", content, OCI_MANIFEST)
            refusals.append((answer.status, answer.body))
    assert refusals[:2] == refusals[2:]
    assert {status for status, _ in refusals} == {400}


def test_another_repository_gets_nothing_of_an_image_that_it_does_not_have(proxy: Proxy, image: PushedImage) -> None:
    index = partition(proxy, image)
    answer = put(proxy.url, f"{image.repository}-foreign", "part", index, OCI_INDEX)
    assert answer.status in (400, 404)
    with RegistryClient(proxy.url) as client:
        for entry in orjson.loads(index)["manifests"]:
            assert client.get_manifest(f"{image.repository}-foreign", entry["digest"]).status == 404
