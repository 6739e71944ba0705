"""What clients attach through a proxy that signs, in front of a registry without the referrers API."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.lab.documents import OCI, document
from tests.lab.images import PushedImage, push_field_image
from tests.lab.layers import Blob
from tests.lab.peers import require
from tests.lab.proxy import Proxy
from tests.lab.referring_registry import ReferringRegistry
from tests.lab.registry import Registry
from tests.lab.registry_client import Answer, RegistryClient
from tests.lab.signing import BUNDLE_TYPE, SIGNATURE_TYPE, KeyPair, referrer
from twodfs.oci.digest import digest_of

CELLS = {(row, col): {f"{row}/{col}": b"%d of %d" % (row, col)} for row in range(2) for col in range(2)}
NOBODY = f"sha256:{'0' * 64}"


@pytest.fixture(scope="module")
def signing_proxy(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    require("openssl")
    directory = tmp_path_factory.mktemp("proxy")
    keys = KeyPair.generate(directory, "signing")
    environment = {"TWODFS_PROXY_SIGNING_KEY": str(keys.private)}
    with Proxy.start(directory, registry.url, environment=environment) as started:
        yield started


@pytest.fixture
def client(signing_proxy: Proxy) -> Iterator[RegistryClient]:
    with RegistryClient(signing_proxy.url) as connection:
        yield connection


@pytest.fixture
def direct(registry: Registry) -> Iterator[RegistryClient]:
    with RegistryClient(registry.url) as connection:
        yield connection


@pytest.fixture(scope="module")
def image(registry: Registry) -> PushedImage:
    return push_field_image(registry.url, "attached/model", "v1", cells=CELLS)


def pull(client: RegistryClient, image: PushedImage, selection: str) -> dict[str, Any]:
    """Return the descriptor of a partition."""
    answer = client.get_manifest(image.repository, f"v1--{selection}")
    assert answer.status == 200, answer.body
    return {"mediaType": OCI.index, "digest": digest_of(answer.body), "size": len(answer.body)}


def listed(client: RegistryClient, repository: str, digest: str, query: str = "") -> list[dict[str, Any]]:
    answer = client.request("GET", f"/v2/{repository}/referrers/{digest}{query}")
    assert (answer.status, answer.headers["content-type"]) == (200, OCI.index), answer.body
    entries: list[dict[str, Any]] = json.loads(answer.body)["manifests"]
    return entries


def kinds(entries: list[dict[str, Any]]) -> list[str]:
    return [one["artifactType"] for one in entries]


def push(client: RegistryClient, repository: str, manifest: Blob, blobs: list[Blob]) -> Answer:
    for blob in blobs:
        client.push_blob(repository, blob)
    headers = {"Content-Type": manifest.media_type}
    target = f"/v2/{repository}/manifests/{manifest.digest}"
    return client.request("PUT", target, headers=headers, body=manifest.content)


def tagged(client: RegistryClient, repository: str, digest: str) -> Answer:
    return client.get_manifest(repository, digest.replace(":", "-"))


def test_every_digest_has_a_list_once_one_has(client: RegistryClient, image: PushedImage) -> None:
    """oras takes the answer for a digest of zeros as the registry's ability."""
    partition = pull(client, image, "0.0.0.0")
    assert len(listed(client, image.repository, partition["digest"])) == 2
    for digest in (NOBODY, image.top.digest, image.platforms[0].manifest.digest):
        assert listed(client, image.repository, digest) == []
    filtered = client.request("GET", f"/v2/{image.repository}/referrers/{NOBODY}?artifactType=a/b")
    assert filtered.headers["oci-filters-applied"] == "artifactType"
    head = client.request("HEAD", f"/v2/{image.repository}/referrers/{NOBODY}")
    assert (head.status, head.body) == (200, b"")


def test_what_is_pushed_with_a_subject_is_entered_where_the_registry_keeps_no_list(
    client: RegistryClient, direct: RegistryClient, image: PushedImage
) -> None:
    partition = pull(client, image, "0.0.0.1")
    told = {"annotations": {"by": "somebody"}}
    for subject in (partition, image.top.descriptor()):
        manifest, blobs = referrer(subject, b"an sbom", "text/sbom", **told)
        answer = push(client, image.repository, manifest, blobs)
        assert (answer.status, answer.headers["oci-subject"]) == (201, subject["digest"])
        assert push(client, image.repository, manifest, blobs).status == 201, "again"
        entry = {**manifest.descriptor(), "artifactType": "text/sbom", **told}
        assert json.loads(tagged(direct, image.repository, subject["digest"]).body)["manifests"] == [entry]
        assert listed(client, image.repository, subject["digest"], "?artifactType=text/sbom") == [entry]
    assert kinds(listed(client, image.repository, image.top.digest)) == ["text/sbom"]
    everything = ["text/sbom", SIGNATURE_TYPE, BUNDLE_TYPE]
    assert kinds(listed(client, image.repository, partition["digest"])) == everything
    merged = tagged(client, image.repository, partition["digest"])
    assert kinds(json.loads(merged.body)["manifests"]) == everything
    again = client.get_manifest(image.repository, merged.headers["docker-content-digest"])
    assert (again.status, again.body) == (200, merged.body)


def test_what_refers_to_nothing_is_entered_nowhere(client: RegistryClient, image: PushedImage) -> None:
    manifest, blobs = referrer({}, b"no subject", "text/sbom")
    answer = push(client, image.repository, manifest, blobs)
    assert (answer.status, "oci-subject" in answer.headers) == (201, False)


def test_pushes_at_the_same_time_are_all_entered(
    signing_proxy: Proxy, client: RegistryClient, image: PushedImage
) -> None:
    partition = pull(client, image, "0.1.0.1")

    def attach(number: int) -> int:
        manifest, blobs = referrer(partition, b"%d" % number, f"text/{number}")
        with RegistryClient(signing_proxy.url) as another:
            return push(another, image.repository, manifest, blobs).status

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(attach, range(12))) == [201] * 12
    found = set(kinds(listed(client, image.repository, partition["digest"])))
    assert found == {SIGNATURE_TYPE, BUNDLE_TYPE, *(f"text/{number}" for number in range(12))}


def test_what_is_deleted_is_struck_out(client: RegistryClient, image: PushedImage) -> None:
    partition = pull(client, image, "0.0.1.0")
    attached = [referrer(partition, b"%d" % number, f"text/{number}") for number in range(2)]
    for manifest, blobs in attached:
        push(client, image.repository, manifest, blobs)
    path = f"/v2/{image.repository}/manifests/{attached[0][0].digest}"
    assert client.request("DELETE", path).status == 202
    assert client.request("DELETE", path).status == 404
    left = kinds(listed(client, image.repository, partition["digest"]))
    assert left == ["text/1", SIGNATURE_TYPE, BUNDLE_TYPE]


def test_what_is_no_list_is_not_written_over(
    client: RegistryClient, direct: RegistryClient, image: PushedImage
) -> None:
    partition = pull(client, image, "1.0.1.0")
    taken, blobs = referrer({}, b"somebody's")
    for blob in blobs:
        direct.push_blob(image.repository, blob)
    tag = partition["digest"].replace(":", "-")
    direct.push_manifest(image.repository, tag, taken)
    manifest, blobs = referrer(partition, b"x", "text/x")
    answer = push(client, image.repository, manifest, blobs)
    assert answer.status == 502
    assert f"the tag {tag} is taken by what is no list" in answer.body.decode()
    assert direct.get_manifest(image.repository, tag).body == taken.content
    assert kinds(listed(client, image.repository, partition["digest"])) == [SIGNATURE_TYPE, BUNDLE_TYPE]


def test_a_list_with_ours_in_it_can_be_pushed_back(
    client: RegistryClient, direct: RegistryClient, image: PushedImage
) -> None:
    partition = pull(client, image, "1.0.1.1")
    before = json.loads(tagged(client, image.repository, partition["digest"]).body)
    assert kinds(before["manifests"]) == [SIGNATURE_TYPE, BUNDLE_TYPE]
    assert tagged(direct, image.repository, partition["digest"]).status == 404
    tag = partition["digest"].replace(":", "-")
    longer = document(before | {"annotations": {"by": "a client"}}, OCI.index)
    client.push_manifest(image.repository, tag, longer)
    assert direct.get_manifest(image.repository, tag).body == longer.content
    assert kinds(listed(client, image.repository, partition["digest"])) == [SIGNATURE_TYPE, BUNDLE_TYPE]
    for one in before["manifests"]:
        assert direct.get_manifest(image.repository, one["digest"]).status == 200, "so the registry keeps it"


@pytest.mark.parametrize("has_api", [True, False])
def test_who_may_not_read_the_repository_sees_neither_list_nor_entry(tmp_path: Path, *, has_api: bool) -> None:
    ann = ("ann", "right")
    keys = KeyPair.generate(tmp_path, "signing")
    environment = {"TWODFS_PROXY_SIGNING_KEY": str(keys.private)}
    with (
        Registry.start(tmp_path, htpasswd=dict([ann])) as stock,
        ReferringRegistry.start(tmp_path, stock.url) as referring,
        Proxy.start(tmp_path, (referring if has_api else stock).url, environment=environment) as proxy,
    ):
        private = push_field_image(stock.url, "attached/private", "v1", cells=CELLS, credentials=ann)
        with RegistryClient(proxy.url, ann) as client:
            partition = pull(client, private, "0.0.0.1")
            manifest, blobs = referrer(partition, b"a secret", "text/sbom")
            assert push(client, private.repository, manifest, blobs).status == 201
            entries = listed(client, private.repository, partition["digest"])
            assert kinds(entries) == ["text/sbom", SIGNATURE_TYPE, BUNDLE_TYPE]
        targets = [f"manifests/{one['digest']}" for one in entries]
        targets += [f"referrers/{digest}" for digest in (partition["digest"], private.top.digest, NOBODY)]
        targets += [f"manifests/{partition['digest'].replace(':', '-')}{end}" for end in ("", ".sig")]
        for credentials in (None, ("ann", "wrong"), ("eve", "right")):
            with RegistryClient(proxy.url, credentials) as stranger:
                for target in targets:
                    answer = stranger.request("GET", f"/v2/{private.repository}/{target}")
                    assert (answer.status, "www-authenticate" in answer.headers) == (401, True), target
                    assert not any(one["digest"].encode() in answer.body for one in entries), target


def test_a_list_that_says_no_kind_is_filtered_by_the_manifests_own(
    client: RegistryClient, direct: RegistryClient, image: PushedImage
) -> None:
    """cosign writes the type of the empty config into the lists that it keeps by tag."""
    subject = image.platforms[0].manifest.descriptor()
    manifest, blobs = referrer(subject, b"a bundle")
    for blob in blobs:
        direct.push_blob(image.repository, blob)
    direct.push_manifest(image.repository, manifest.digest, manifest)
    entry = {**manifest.descriptor(), "artifactType": "application/vnd.oci.empty.v1+json"}
    index = document({"schemaVersion": 2, "mediaType": OCI.index, "manifests": [entry]}, OCI.index)
    direct.push_manifest(image.repository, subject["digest"].replace(":", "-"), index)
    (found,) = listed(client, image.repository, subject["digest"], f"?artifactType={BUNDLE_TYPE}")
    assert found == entry | {"artifactType": BUNDLE_TYPE}
    assert tagged(client, image.repository, subject["digest"]).body == index.content, "not ours: as it is"
