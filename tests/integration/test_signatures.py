"""What the proxy signs, checked by openssl and skopeo."""

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from proxy.partitions.records import CutPartition, Provenance, ProvenanceKey, Provenances
from proxy.repository import DEFAULT_UPSTREAM, Repository
from proxy.store.records import Record, RecordKey, seal
from tests.lab import command
from tests.lab.documents import OCI, document
from tests.lab.images import Image, PushedImage, build_image, push, push_field_image
from tests.lab.layers import Blob
from tests.lab.peers import require
from tests.lab.programs import environment, program
from tests.lab.proxy import Proxy
from tests.lab.redis import Redis
from tests.lab.registry import Registry
from tests.lab.registry_client import Answer, RegistryClient, basic
from tests.lab.signing import (
    ANNOTATION,
    BUNDLE_TYPE,
    PAYLOAD_TYPE,
    SIGNATURE_TYPE,
    Fetched,
    KeyPair,
    fetch_signature,
    payload_of,
    push_signatures,
    signature_tag,
)
from tests.lab.token_server import LOGIN, SERVICE, TokenServer, token_server
from twodfs.field.partition import Selection
from twodfs.oci.digest import Digest, digest_of
from twodfs.oci.documents import Document

CELLS = {(row, col): {f"{row}/{col}": b"%d of %d" % (row, col)} for row in range(3) for col in range(3)}
PLATFORMS = ("linux/amd64", "linux/arm64")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    require("openssl")
    return KeyPair.generate(tmp_path_factory.mktemp("keys"), "signing")


@pytest.fixture(scope="module")
def signing_proxy(registry: Registry, keys: KeyPair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with start(tmp_path_factory.mktemp("proxy"), registry.url, keys) as started:
        yield started


@pytest.fixture
def client(signing_proxy: Proxy) -> Iterator[RegistryClient]:
    with RegistryClient(signing_proxy.url) as connection:
        yield connection


@pytest.fixture(scope="module")
def image(registry: Registry) -> PushedImage:
    return push_field_image(registry.url, "signed/model", "v1", cells=CELLS, platforms=PLATFORMS)


def start(directory: Path, upstream: str, keys: KeyPair, *extra: str, **settings: str) -> Proxy:
    directory.mkdir(exist_ok=True)
    variables = {"SIGNING_KEY": str(keys.private), "SIGNING_REGISTRY": "registry.example.org"} | settings
    return Proxy.start(directory, upstream, *extra, environment={f"TWODFS_PROXY_{n}": v for n, v in variables.items()})


def pull(client: RegistryClient, image: PushedImage, selection: str) -> tuple[str, list[str]]:
    """Return the digests of a partition's index and of its manifests."""
    answer = client.get_manifest(image.repository, f"{image.tag}--{selection}")
    assert answer.status == 200, answer.body
    entries = json.loads(answer.body).get("manifests", [])
    return digest_of(answer.body), [entry["digest"] for entry in entries]


def referrers(client: RegistryClient, repository: str, digest: str, query: str = "") -> list[dict[str, object]]:
    answer = client.request("GET", f"/v2/{repository}/referrers/{digest}{query}")
    assert (answer.status, answer.headers["content-type"]) == (200, OCI.index)
    listed: list[dict[str, object]] = json.loads(answer.body)["manifests"]
    return listed


def changed(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def test_index_and_manifests_are_signed_with_source_and_selection(
    client: RegistryClient, image: PushedImage, keys: KeyPair
) -> None:
    index, manifests = pull(client, image, "0.0.1.1")
    assert len(manifests) == 2
    for digest in (index, *manifests):
        found = fetch_signature(client, image.repository, digest)
        assert keys.verifies(found.payload, found.signature)
        assert found.vouches_for == digest
        assert found.optional == {
            "2dfs.selection": "0.0.1.1",
            "2dfs.source.digest": image.top.digest,
            "creator": "twodfs-proxy",
        }
        critical = json.loads(found.payload)["critical"]
        assert critical["identity"] == {"docker-reference": "registry.example.org/signed/model"}
        assert critical["type"] == "cosign container image signature"


def test_a_signature_is_a_manifest_like_any_other(client: RegistryClient, image: PushedImage) -> None:
    index, _ = pull(client, image, "0.0.1.2")
    found = fetch_signature(client, image.repository, index)
    assert found.manifest["layers"][0]["mediaType"] == PAYLOAD_TYPE
    assert found.manifest["layers"][0]["digest"] == digest_of(found.payload)
    assert found.manifest["config"]["digest"] == digest_of(found.config)
    assert json.loads(found.config)["rootfs"]["diff_ids"] == [digest_of(found.payload)]
    assert found.manifest["subject"]["digest"] == index
    by_tag = client.get_manifest(image.repository, signature_tag(index))
    by_digest = client.get_manifest(image.repository, found.digest)
    assert (by_digest.status, by_digest.body) == (200, by_tag.body)
    for target in (
        f"manifests/{signature_tag(index)}",
        f"manifests/{found.digest}",
        f"blobs/{digest_of(found.config)}",
        f"blobs/{digest_of(found.payload)}",
    ):
        head = client.request("HEAD", f"/v2/{image.repository}/{target}", headers={"Accept": OCI.manifest})
        whole = client.request("GET", f"/v2/{image.repository}/{target}", headers={"Accept": OCI.manifest})
        assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(whole.body)))


def test_openssl_refuses_every_signature_when_one_byte_changes(
    client: RegistryClient, image: PushedImage, keys: KeyPair
) -> None:
    index, _ = pull(client, image, "1.0.1.2")
    found = fetch_signature(client, image.repository, index)
    for at in range(0, len(found.payload), 40):
        assert not keys.verifies(changed(found.payload, at), found.signature)
    for at in range(10, len(found.signature), 20):
        assert not keys.verifies(found.payload, changed(found.signature, at))


def test_another_selection_has_another_signature(client: RegistryClient, image: PushedImage) -> None:
    digests = [pull(client, image, selection)[0] for selection in ("0.0.0.0", "2.2.2.2")]
    one, two = (fetch_signature(client, image.repository, digest) for digest in digests)
    assert one.payload != two.payload
    assert one.signature != two.signature


def test_two_proxies_with_one_key_give_the_same_bytes(
    client: RegistryClient, image: PushedImage, registry: Registry, keys: KeyPair, tmp_path: Path
) -> None:
    index, _ = pull(client, image, "0.0.2.2")
    here = fetch_signature(client, image.repository, index)
    with start(tmp_path / "other", registry.url, keys) as other, RegistryClient(other.url) as elsewhere:
        assert pull(elsewhere, image, "0.0.2.2")[0] == index
        assert fetch_signature(elsewhere, image.repository, index) == here


def test_any_replica_finds_a_signature_by_digest(
    image: PushedImage, registry: Registry, keys: KeyPair, redis_server: Redis, tmp_path: Path
) -> None:
    shared = {"CACHE_REDIS_URL": redis_server.url, "CACHE_REDIS_TIMEOUT": "2"}
    with start(tmp_path / "one", registry.url, keys, **shared) as one, RegistryClient(one.url) as client:
        index, _ = pull(client, image, "0.0.0.1")
        found = fetch_signature(client, image.repository, index)
    with start(tmp_path / "two", registry.url, keys, **shared) as two, RegistryClient(two.url) as client:
        assert client.get_manifest(image.repository, found.digest).status == 200
        for digest, body in (
            (digest_of(found.config), found.config),
            (digest_of(found.payload), found.payload),
        ):
            blob = client.request("GET", f"/v2/{image.repository}/blobs/{digest}")
            assert (blob.status, blob.body) == (200, body)
        assert fetch_signature(client, image.repository, index) == found


def test_who_can_write_to_redis_gets_no_signature_for_it(
    image: PushedImage, registry: Registry, keys: KeyPair, redis_server: Redis, tmp_path: Path
) -> None:
    """Redis is trusted with what a tag gives. It is not trusted with what the proxy puts its name to."""
    recipe = Provenance(Digest(image.top.digest), Selection.parse("0.0.2.1"))
    told = {"2dfs.selection": "0.0.2.1", "2dfs.source.digest": image.top.digest}
    forged = Document.of(OCI.index, {"schemaVersion": 2, "manifests": [], "annotations": told})
    records: dict[RecordKey[Any], Record] = {
        recipe.key(Repository(DEFAULT_UPSTREAM, image.repository)): CutPartition.of(recipe, forged.digest, [forged]),
        ProvenanceKey(forged.digest): Provenances((recipe,)),
    }
    with redis_server.client() as writer:
        for key, record in records.items():
            writer.set(f"twodfs:{key}", seal(key, record))
    shared = {"CACHE_REDIS_URL": redis_server.url, "CACHE_REDIS_TIMEOUT": "2"}
    with (
        start(tmp_path / "proxy", registry.url, keys, **shared) as proxy,
        RegistryClient(proxy.url) as client,
    ):
        assert client.get_manifest(image.repository, "v1--0.0.2.1").body == forged.body
        assert client.get_manifest(image.repository, signature_tag(forged.digest)).status == 404
        assert referrers(client, image.repository, forged.digest) == []
        # Looking closer has put the real one in its place.
        index, _ = pull(client, image, "0.0.2.1")
        assert index != forged.digest
        assert fetch_signature(client, image.repository, index).vouches_for == index


def test_who_can_write_to_redis_but_lacks_the_secret_forges_nothing(
    image: PushedImage, registry: Registry, keys: KeyPair, redis_server: Redis, tmp_path: Path
) -> None:
    recipe = Provenance(Digest(image.top.digest), Selection.parse("0.0.2.0"))
    forged = Document.of(OCI.index, {"schemaVersion": 2, "manifests": []})
    records: dict[RecordKey[Any], Record] = {
        recipe.key(Repository(DEFAULT_UPSTREAM, image.repository)): CutPartition.of(recipe, forged.digest, [forged]),
        ProvenanceKey(forged.digest): Provenances((recipe,)),
    }
    with redis_server.client() as writer:
        for key, record in records.items():
            writer.set(f"twodfs:{key}", seal(key, record))
    shared = {
        "CACHE_REDIS_URL": redis_server.url,
        "CACHE_REDIS_TIMEOUT": "2",
        "CACHE_SECRET": "known to the replicas alone",
    }
    with (
        start(tmp_path / "one", registry.url, keys, **shared) as one,
        start(tmp_path / "two", registry.url, keys, **shared) as two,
        RegistryClient(one.url) as client,
        RegistryClient(two.url) as another,
    ):
        index, _ = pull(client, image, "0.0.2.0")
        assert index != forged.digest
        assert client.get_manifest(image.repository, forged.digest).status == 404
        assert another.get_manifest(image.repository, index).status == 200, "replicas share it all the same"


def test_what_another_replica_cut_is_cut_again_before_it_is_signed(
    image: PushedImage, registry: Registry, keys: KeyPair, redis_server: Redis, tmp_path: Path
) -> None:
    shared = {"CACHE_REDIS_URL": redis_server.url, "CACHE_REDIS_TIMEOUT": "2"}
    with start(tmp_path / "one", registry.url, keys, **shared) as one, RegistryClient(one.url) as client:
        index, manifests = pull(client, image, "1.0.2.2")
    with start(tmp_path / "two", registry.url, keys, **shared) as two, RegistryClient(two.url) as client:
        for digest in (index, *manifests):
            assert fetch_signature(client, image.repository, digest).vouches_for == digest


def test_signatures_upstream_come_first_and_ours_behind_them(
    client: RegistryClient, image: PushedImage, registry: Registry, keys: KeyPair
) -> None:
    index, _ = pull(client, image, "2.0.2.1")
    ours = fetch_signature(client, image.repository, index)
    payload = payload_of(index)
    with RegistryClient(registry.url) as direct:
        push_signatures(direct, image.repository, index, {payload: keys.sign(payload)})
        stored = direct.get_manifest(image.repository, signature_tag(index))
    merged = fetch_signature(client, image.repository, index)
    assert merged.payload == payload
    theirs = json.loads(stored.body)
    assert merged.manifest["layers"] == [*theirs["layers"], ours.manifest["layers"][0]]
    assert client.get_manifest(image.repository, merged.digest).status == 200, "by its digest, too"
    config = client.request("GET", f"/v2/{image.repository}/blobs/{merged.manifest['config']['digest']}")
    assert (config.status, digest_of(config.body)) == (200, merged.manifest["config"]["digest"])
    # Who read that and adds to it pushes what only we have; then the registry has all of it.
    another = Blob(b'{"rootfs":{"type":"layers","diff_ids":[]},"by":"a client"}', OCI.config)
    client.push_blob(image.repository, another)
    longer = document(merged.manifest | {"config": another.descriptor()}, OCI.manifest)
    client.push_manifest(image.repository, signature_tag(index), longer)
    assert client.get_manifest(image.repository, signature_tag(index)).body == longer.content


def test_the_referrers_of_a_partition_are_its_signature_in_both_forms(
    client: RegistryClient, image: PushedImage
) -> None:
    index, manifests = pull(client, image, "1.1.2.2")
    for digest in (index, *manifests):
        signature = fetch_signature(client, image.repository, digest)
        entry, bundle = referrers(client, image.repository, digest)
        assert (entry["digest"], entry["artifactType"]) == (signature.digest, SIGNATURE_TYPE)
        assert entry["mediaType"] == bundle["mediaType"] == OCI.manifest
        assert bundle["artifactType"] == BUNDLE_TYPE
        assert referrers(client, image.repository, digest, f"?artifactType={BUNDLE_TYPE}") == [bundle]
        for written in (SIGNATURE_TYPE, SIGNATURE_TYPE.replace("+", "%2B").replace("/", "%2F")):
            assert referrers(client, image.repository, digest, f"?artifactType={written}") == [entry]
        assert referrers(client, image.repository, digest, "?artifactType=other/type") == []


def test_what_is_not_ours_is_answered_by_the_registry_alone(
    client: RegistryClient, image: PushedImage, registry: Registry
) -> None:
    index, _ = pull(client, image, "1.0.2.0")
    signature = fetch_signature(client, image.repository, index)
    config = f"sha256:{'0' * 64}"
    with RegistryClient(registry.url) as direct:
        for digest in (image.top.digest, signature.digest, digest_of(signature.config), config):
            assert referrers(client, image.repository, digest) == [], "as all registries with the API say"
            for path in (f"manifests/{signature_tag(digest)}", f"manifests/{digest.replace(':', '-')}"):
                target = f"/v2/{image.repository}/{path}"
                passed_on, asked = client.request("GET", target), direct.request("GET", target)
                assert (passed_on.status, passed_on.body) == (asked.status, asked.body)


def test_a_proxy_without_a_key_signs_nothing(proxy: Proxy, image: PushedImage) -> None:
    with RegistryClient(proxy.url) as client:
        index, _ = pull(client, image, "0.1.1.1")
        assert client.get_manifest(image.repository, signature_tag(index)).status == 404
        assert client.request("GET", f"/v2/{image.repository}/referrers/{index}").status == 404


def test_who_may_not_read_the_source_gets_no_part_of_a_signature(
    keys: KeyPair, redis_server: Redis, tmp_path: Path
) -> None:
    (tmp_path / "registry").mkdir()
    users = {"ann": "right", "bob": "also"}
    with Registry.start(tmp_path / "registry", htpasswd=users) as private:
        image = push_field_image(
            private.url, "secret/model", "v1", cells=CELLS, platforms=PLATFORMS, credentials=("ann", "right")
        )
        shared = {"CACHE_REDIS_URL": redis_server.url, "CACHE_REDIS_TIMEOUT": "2"}
        with start(tmp_path / "proxy", private.url, keys, **shared) as proxy:
            with RegistryClient(proxy.url, ("ann", "right")) as ann:
                index, _ = pull(ann, image, "0.0.1.1")
                found = fetch_signature(ann, image.repository, index)
                assert referrers(ann, image.repository, index)
            for credentials in (None, ("ann", "wrong"), ("eve", "right")):
                with RegistryClient(proxy.url, credentials) as stranger:
                    for target in targets(index, found):
                        for method in ("GET", "HEAD"):
                            answer = stranger.request(method, f"/v2/{image.repository}/{target}")
                            assert answer.status == 401, target
                            assert found.payload not in answer.body
            with RegistryClient(proxy.url, ("bob", "also")) as bob:
                assert fetch_signature(bob, image.repository, index) == found


def test_a_token_for_another_repository_opens_no_signature(keys: KeyPair, tmp_path: Path) -> None:
    (tmp_path / "registry").mkdir()
    with (
        token_server(tmp_path) as tokens,
        Registry.start(tmp_path / "registry", extra_config=tokens.registry_config()) as private,
        start(tmp_path / "proxy", private.url, keys) as proxy,
        RegistryClient(proxy.url) as client,
    ):
        built = build_image(CELLS, platforms=PLATFORMS)
        image = push_with_token(built, private, "secret/model", token_of(tokens, "secret/model", LOGIN))

        def ask(target: str, token: str | None, method: str = "GET") -> Answer:
            headers = {"Accept": f"{OCI.index}, {OCI.manifest}"}
            headers |= {"Authorization": f"Bearer {token}"} if token else {}
            return client.request(method, f"/v2/{image.repository}/{target}", headers=headers)

        ann = token_of(tokens, image.repository, LOGIN)
        index = digest_of(ask("manifests/v1--0.0.1.1", ann).body)
        signature = ask(f"manifests/{signature_tag(index)}", ann)
        assert signature.status == 200
        named = json.loads(signature.body)
        everything = (
            f"manifests/{signature_tag(index)}",
            f"manifests/{digest_of(signature.body)}",
            f"blobs/{named['config']['digest']}",
            f"blobs/{named['layers'][0]['digest']}",
            f"referrers/{index}",
            f"manifests/{index.replace(':', '-')}",
            f"referrers/{image.top.digest}",
        )
        elsewhere = token_of(tokens, "other/model", LOGIN)
        nobodys = token_of(tokens, image.repository, None)
        for target in everything:
            assert ask(target, ann).status == 200
            for token in (None, elsewhere, nobodys, ann[:-4] + "AAAA"):
                for method in ("GET", "HEAD"):
                    refused = ask(target, token, method)
                    assert refused.status == 401, (target, method)
                    assert refused.headers["www-authenticate"].startswith(f'Bearer realm="{tokens.url}"')


def token_of(tokens: TokenServer, repository: str, login: tuple[str, str] | None) -> str:
    headers = {} if login is None else {"Authorization": basic(*login)}
    query = urlencode({"service": SERVICE, "scope": f"repository:{repository}:pull,push"})
    with urlopen(Request(f"{tokens.url}?{query}", headers=headers), timeout=30) as answer:
        token: str = json.load(answer)["token"]
    return token


def push_with_token(image: Image, registry: Registry, repository: str, token: str) -> PushedImage:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.lab.registry_client.basic", lambda *_: f"Bearer {token}")
        return push(image, registry.url, repository, "v1", ("token", "bearer"))


def targets(index: str, found: Fetched) -> tuple[str, ...]:
    return (
        f"manifests/{signature_tag(index)}",
        f"manifests/{found.digest}",
        f"blobs/{digest_of(found.config)}",
        f"blobs/{digest_of(found.payload)}",
        f"referrers/{index}",
        f"manifests/{index.replace(':', '-')}",
    )


def test_a_key_that_cannot_be_used_keeps_the_proxy_from_starting(registry: Registry, tmp_path: Path) -> None:
    p384 = KeyPair.generate(tmp_path, "p384", "P-384")
    for file, said in (
        (p384.private, "P-256"),
        (p384.public, "private key in PEM"),
        (tmp_path / "no", "read"),
    ):
        argv = ("--upstream", registry.url, "--listen", "127.0.0.1:0", "--admin", "none")
        config = tmp_path / "config.toml"
        config.write_text(f'[signing]\nkey = "{file}"\n')
        with pytest.raises(command.CommandError) as refused:
            command.run((sys.executable, "-m", "proxy", *argv, "--config", str(config)), environment())
        assert "signing.key" in refused.value.output
        assert said in refused.value.output


def skopeo_copy(directory: Path, source: str, target: str, *addresses: str) -> None:
    """Copy an image with its signatures, as skopeo finds, reads and writes them."""
    lines = [f"  {address}:\n    use-sigstore-attachments: true\n" for address in addresses]
    (directory / "registries.d").mkdir(exist_ok=True)
    (directory / "registries.d" / "lab.yaml").write_text("docker:\n" + "".join(lines))
    argv = (
        *(program("skopeo"), "--insecure-policy", "--registries.d", str(directory / "registries.d")),
        *("copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false", source, target),
    )
    command.run(argv, environment(CONTAINERS_REGISTRIES_CONF="/dev/null"))


def test_skopeo_reads_the_signatures_and_openssl_finds_them_good(
    tmp_path: Path, signing_proxy: Proxy, image: PushedImage, client: RegistryClient, keys: KeyPair
) -> None:
    """Debian builds skopeo with its own verification of such signatures switched off, but not the rest."""
    require("skopeo")
    index, manifests = pull(client, image, "0.0.1.1")
    source = f"docker://{signing_proxy.address}/{image.repository}@{index}"
    skopeo_copy(tmp_path, source, f"dir:{tmp_path / 'copied'}", signing_proxy.address)
    files = sorted((tmp_path / "copied").glob("*signature-*"))
    seen = set()
    for file in files:
        read = json.loads(file.read_bytes().removeprefix(b"\x00sigstore-json\n"))
        assert read["mimeType"] == PAYLOAD_TYPE
        payload = base64.b64decode(read["payload"])
        assert keys.verifies(payload, base64.b64decode(read["annotations"][ANNOTATION]))
        seen.add(json.loads(payload)["critical"]["image"]["docker-manifest-digest"])
    assert seen == {index, *manifests}


def test_skopeo_copies_a_partition_with_its_signatures_into_a_stock_registry(
    tmp_path: Path,
    signing_proxy: Proxy,
    registry: Registry,
    image: PushedImage,
    client: RegistryClient,
    keys: KeyPair,
) -> None:
    require("skopeo")
    index, _ = pull(client, image, "0.0.1.2")
    source = f"docker://{signing_proxy.address}/{image.repository}@{index}"
    target = f"docker://{registry.address}/signed/copy:part"
    skopeo_copy(tmp_path, source, target, signing_proxy.address, registry.address)
    with RegistryClient(registry.url) as direct:
        found = fetch_signature(direct, "signed/copy", index)
    assert keys.verifies(found.payload, found.signature)
    assert found.vouches_for == index
