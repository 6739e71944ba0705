"""`twodfs verify`, as scripts call it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.images import PushedImage, push_field_image
from tests.lab.peers import require
from tests.lab.proxy import Proxy
from tests.lab.referring_registry import PAGE, ReferringRegistry
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient
from tests.lab.signing import (
    KeyPair,
    enveloped,
    payload_of,
    push_signatures,
    referrer,
    signature_tag,
    statement_of,
)
from tests.lab.workshop import Done, Workshop
from twodfs.oci.digest import digest_of

CELLS = {(row, col): {f"{row}/{col}": b"%d+%d" % (row, col)} for row in range(2) for col in range(2)}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    require("openssl")
    return KeyPair.generate(tmp_path_factory.mktemp("keys"), "signing")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return KeyPair.generate(tmp_path_factory.mktemp("keys"), "other")


@pytest.fixture(scope="module")
def signing_proxy(registry: Registry, keys: KeyPair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    environment = {
        "TWODFS_PROXY_SIGNING_KEY": str(keys.private),
        "TWODFS_PROXY_SIGNING_REGISTRY": "registry.example.org",
    }
    with Proxy.start(tmp_path_factory.mktemp("proxy"), registry.url, environment=environment) as started:
        yield started


@pytest.fixture(scope="module")
def image(registry: Registry) -> PushedImage:
    return push_field_image(registry.url, "verify/model", "v1", cells=CELLS, platforms=("linux/amd64", "linux/arm64"))


def verify(workshop: Workshop, reference: str, *options: str) -> Done:
    return workshop.twodfs("verify", reference, *options)


def test_a_partition_is_verified_and_tells_where_it_is_from(
    workshop: Workshop, signing_proxy: Proxy, image: PushedImage, keys: KeyPair
) -> None:
    reference = image.reference(signing_proxy.address, "v1--0.0.0.1")
    done = verify(workshop, reference, "--key", str(keys.public))
    with RegistryClient(signing_proxy.url) as client:
        digest = digest_of(client.get_manifest(image.repository, "v1--0.0.0.1").body)
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines() == [
        f"{signing_proxy.address}/{image.repository}@{digest}",
        "  signed as registry.example.org/verify/model",
        f"  cut from {image.top.digest}",
        "  selection 0.0.0.1",
    ]


def test_json_is_for_scripts_and_recursive_goes_down_to_the_images(
    workshop: Workshop, signing_proxy: Proxy, image: PushedImage, keys: KeyPair
) -> None:
    reference = image.reference(signing_proxy.address, "v1--1.0.1.1")
    done = verify(workshop, reference, "--key", str(keys.public), "--json", "--recursive")
    assert done.status == 0, done.err
    assert done.json["pinned"] == f"{signing_proxy.address}/{image.repository}@{done.json['digest']}"
    assert (done.json["source"], done.json["selection"]) == (image.top.digest, "1.0.1.1")
    assert len(done.json["images"]) == 2
    pinned = verify(workshop, done.json["pinned"], "--key", str(keys.public), "--json")
    assert (pinned.status, pinned.json["digest"], pinned.json["images"]) == (0, done.json["digest"], [])


def test_any_of_several_keys_will_do_and_another_will_not(
    workshop: Workshop, signing_proxy: Proxy, image: PushedImage, keys: KeyPair, other: KeyPair
) -> None:
    reference = image.reference(signing_proxy.address, "v1--0.0.1.1")
    assert verify(workshop, reference, "--key", str(other.public), "--key", str(keys.public)).status == 0
    refused = verify(workshop, reference, "--key", str(other.public))
    assert (refused.status, refused.out) == (1, "")
    assert "has no good signature: it is not by any of the given keys" in refused.err


def test_the_source_may_be_insisted_on(
    workshop: Workshop, signing_proxy: Proxy, image: PushedImage, keys: KeyPair
) -> None:
    reference = image.reference(signing_proxy.address, "v1--0.0.1.1")
    options = ("--key", str(keys.public), "--source")
    assert verify(workshop, reference, *options, image.top.digest).status == 0
    wrong = verify(workshop, reference, *options, digest_of(b"another"))
    assert wrong.status == 1
    assert f"tells of {image.top.digest}, not of" in wrong.err
    assert verify(workshop, reference, *options, "sha256:7").status == 2


def test_what_is_not_signed_is_said_to_be_so(
    workshop: Workshop, signing_proxy: Proxy, image: PushedImage, keys: KeyPair
) -> None:
    done = verify(workshop, image.reference(signing_proxy.address), "--key", str(keys.public))
    assert done.status == 1
    assert f"there is no tag {signature_tag(image.top.digest)} and no referrer" in " ".join(done.err.split())


def test_an_image_that_cosign_signed_is_verified_without_a_proxy(
    workshop: Workshop, registry: Registry, keys: KeyPair, other: KeyPair
) -> None:
    image = push_field_image(registry.url, "verify/cosign", "v1", cells=CELLS)
    payload = payload_of(image.top.digest)
    with RegistryClient(registry.url) as client:
        push_signatures(client, image.repository, image.top.digest, {payload: keys.sign(payload)})
    done = verify(workshop, image.reference(), "--key", str(keys.public), "--json")
    assert (done.status, done.json["signedAs"], done.json["source"]) == (0, "lab.example.org/model", None)
    assert verify(workshop, image.reference(), "--key", str(other.public)).status == 1
    recursive = verify(workshop, image.reference(), "--key", str(keys.public), "--recursive")
    assert recursive.status == 1
    assert image.platforms[0].manifest.digest in recursive.err


def test_one_changed_byte_anywhere_is_one_too_many(workshop: Workshop, registry: Registry, keys: KeyPair) -> None:
    image = push_field_image(registry.url, "verify/changed", "v1", cells=CELLS)
    digest = image.top.digest
    good = payload_of(digest)
    signature = keys.sign(good)
    elsewhere = payload_of(digest[:-1] + ("0" if digest[-1] != "0" else "1"))
    for payload, signed in (
        (good.replace(b"lab.example", b"lab.exbmple"), signature),
        (good, signature[:-1] + bytes([signature[-1] ^ 1])),
        (elsewhere, signature),
        (elsewhere, keys.sign(elsewhere)),
    ):
        with RegistryClient(registry.url) as client:
            push_signatures(client, image.repository, digest, {payload: signed})
        done = verify(workshop, image.reference(), "--key", str(keys.public))
        assert (done.status, done.out) == (1, ""), payload


def test_the_source_of_a_partition_is_held_against_keys_of_its_own(
    workshop: Workshop, registry: Registry, signing_proxy: Proxy, keys: KeyPair, other: KeyPair
) -> None:
    image = push_field_image(registry.url, "verify/source", "v1", cells=CELLS)
    reference = image.reference(signing_proxy.address, "v1--0.0.0.1")
    options = ("--key", str(keys.public), "--recursive-source")
    assert verify(workshop, reference, "--key", str(keys.public)).status == 0
    unsigned = verify(workshop, reference, *options, "--source-key", str(other.public))
    assert (unsigned.status, unsigned.out) == (1, "")
    assert f"{image.top.digest} has no good signature" in " ".join(unsigned.err.split())
    manifest, blobs = referrer(image.top.descriptor(), enveloped(statement_of(image.top.digest), other))
    with RegistryClient(signing_proxy.url) as client:
        for blob in blobs:
            client.push_blob(image.repository, blob)
        client.push_manifest(image.repository, manifest.digest, manifest)
    done = verify(workshop, reference, *options, "--source-key", str(other.public))
    assert (done.status, done.out.splitlines()[-1]) == (0, f"  source {image.top.digest}, signed as well")
    told = verify(workshop, reference, *options, "--source-key", str(other.public), "--json").json
    assert (told["sourceImage"]["digest"], told["sourceImage"]["signedAs"]) == (image.top.digest, None)
    assert verify(workshop, reference, *options).status == 1, "without keys of its own, those of --key"
    itself = verify(workshop, image.reference(), "--key", str(other.public), "--recursive-source")
    assert itself.status == 1
    assert "it does not say what it was cut from" in " ".join(itself.err.split())


def test_a_bundle_on_a_later_page_of_what_refers_to_an_image_is_found(
    workshop: Workshop, registry: Registry, keys: KeyPair, tmp_path: Path
) -> None:
    with (
        ReferringRegistry.start(tmp_path, registry.url) as referring,
        RegistryClient(referring.url) as client,
    ):
        image = push_field_image(referring.url, "verify/pages", "v1", cells=CELLS)
        subject = image.top.descriptor()
        attached = [referrer(subject, b"%d" % number, "text/plain") for number in range(3 * PAGE)]
        attached.append(referrer(subject, enveloped(statement_of(image.top.digest), keys)))
        for manifest, blobs in attached:
            for blob in blobs:
                client.push_blob(image.repository, blob)
            client.push_manifest(image.repository, manifest.digest, manifest)
        done = verify(workshop, image.reference(), "--key", str(keys.public), "--json")
    assert (done.status, done.json["digest"], done.json["signedAs"]) == (0, image.top.digest, None)


def test_a_registry_that_sends_another_manifest_is_found_out(workshop: Workshop, keys: KeyPair, tmp_path: Path) -> None:
    (tmp_path / "liar").mkdir()
    with Registry.start(tmp_path / "liar") as liar:
        image = push_field_image(liar.url, "verify/liar", "v1", cells=CELLS)
        payload = payload_of(image.top.digest)
        with RegistryClient(liar.url) as client:
            push_signatures(client, image.repository, image.top.digest, {payload: keys.sign(payload)})
        assert verify(workshop, image.reference(), "--key", str(keys.public)).status == 0
        stored = (
            tmp_path
            / "liar"
            / "storage"
            / "docker/registry/v2/blobs"
            / image.top.digest.replace("sha256:", f"sha256/{image.top.digest[7:9]}/")
        )
        body = (stored / "data").read_bytes()
        (stored / "data").write_bytes(body.replace(b"amd64", b"amd65"))
        done = verify(workshop, image.reference(), "--key", str(keys.public))
    assert (done.status, done.out) == (1, "")
    assert "does not hash to" in done.err


def test_a_key_file_that_holds_none_is_a_usage_error(
    workshop: Workshop, signing_proxy: Proxy, image: PushedImage, keys: KeyPair
) -> None:
    reference = image.reference(signing_proxy.address, "v1--0.0.1.1")
    done = verify(workshop, reference, "--key", str(keys.private))
    assert done.status == 2
    assert "BEGIN PUBLIC KEY" in done.err
    missing = verify(workshop, reference, "--key", "no-such.pub")
    assert (missing.status, missing.out) == (2, "")
    assert missing.err == "twodfs: no-such.pub: cannot be read: No such file or directory\n"
    endless = verify(workshop, reference, "--key", "/dev/zero")
    assert (endless.status, "it is a device" in endless.err) == (2, True)
    assert verify(workshop, reference, "--key", ".").status == 2
    assert verify(workshop, reference).status == 2


def test_the_help_teaches(workshop: Workshop) -> None:
    text = " ".join(workshop.made("verify", "--help").out.split())
    for words in (
        "twodfs verify registry.example.com/model:v1--0.0.1.2 --key proxy.pub",
        "The exit status is 0",
    ):
        assert words in text.replace("│ ", "")
