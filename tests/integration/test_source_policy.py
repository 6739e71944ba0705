"""Partitions are cut only from images that are signed, where the operator wants it so."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.lab.documents import OCI
from tests.lab.fake_registry import FakeRegistry, proxied, serving
from tests.lab.images import PushedImage, build_image, push_field_image, push_image
from tests.lab.peers import require
from tests.lab.proxy import Proxy
from tests.lab.redis import Redis
from tests.lab.registry import Registry
from tests.lab.registry_client import Answer, RegistryClient
from tests.lab.signing import (
    BUNDLE_TYPE,
    KeyPair,
    enveloped,
    message_signed,
    payload_of,
    push_signatures,
    referrer,
    signature_manifest,
    signature_tag,
    statement_of,
)
from twodfs.oci.digest import digest_of

CELLS = {(row, col): {f"{row}/{col}": b"%d:%d" % (row, col)} for row in range(2) for col in range(2)}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[KeyPair, KeyPair, KeyPair]:
    """Two keys that the proxy trusts, and one that it does not."""
    require("openssl")
    directory = tmp_path_factory.mktemp("keys")
    one, two, other = (KeyPair.generate(directory, name) for name in ("one", "two", "other"))
    return one, two, other


@pytest.fixture(scope="module")
def strict_proxy(
    registry: Registry, keys: tuple[KeyPair, KeyPair, KeyPair], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    with start(tmp_path_factory.mktemp("proxy"), registry.url, keys) as started:
        yield started


def start(directory: Path, upstream: str, keys: tuple[KeyPair, ...], **settings: str) -> Proxy:
    trusted = ",".join(str(one.public) for one in keys[:2])
    variables = {"REQUIRE_SOURCE_SIGNATURE": "true", "SOURCE_KEYS": trusted}
    environment = {f"TWODFS_PROXY_SIGNING_{name}": value for name, value in variables.items()}
    return Proxy.start(directory, upstream, environment=environment | settings)


@pytest.fixture
def client(strict_proxy: Proxy) -> Iterator[RegistryClient]:
    with RegistryClient(strict_proxy.url) as connection:
        yield connection


@pytest.fixture
def direct(registry: Registry) -> Iterator[RegistryClient]:
    with RegistryClient(registry.url) as connection:
        yield connection


def an_image(registry: Registry, name: str) -> PushedImage:
    # Each test has an image of its own: a verdict is about content.
    return push_field_image(registry.url, f"policy/{name}", "v1", cells=CELLS, config_more={"x-test": name})


def pull(client: RegistryClient, image: PushedImage) -> Answer:
    return client.get_manifest(image.repository, "v1--0.0.1.1")


def refusal(answer: Answer) -> str:
    (error,) = json.loads(answer.body)["errors"]
    assert (answer.status, error["code"]) == (403, "DENIED")
    said: str = error["message"]
    return said


@pytest.mark.parametrize("which", [0, 1])
def test_an_image_signed_by_either_key_is_cut(
    client: RegistryClient, direct: RegistryClient, registry: Registry, keys: tuple[KeyPair, ...], which: int
) -> None:
    image = an_image(registry, f"good-{which}")
    payload = payload_of(image.top.digest)
    push_signatures(direct, image.repository, image.top.digest, {payload: keys[which].sign(payload)})
    top = pull(client, image)
    assert top.status == 200, top.body
    child = json.loads(top.body)["manifests"][0]["digest"]
    assert client.get_manifest(image.repository, child).status == 200


def test_an_unsigned_image_is_not_cut_but_passes_through_and_is_cut_once_signed(
    client: RegistryClient, direct: RegistryClient, registry: Registry, keys: tuple[KeyPair, ...]
) -> None:
    image = an_image(registry, "unsigned")
    said = refusal(pull(client, image))
    assert f"policy/unsigned:v1 ({image.top.digest})" in said
    assert f"no tag {signature_tag(image.top.digest)}" in said
    assert "sign it with cosign" in said
    assert client.get_manifest(image.repository, "v1").body == image.top.content
    payload = payload_of(image.top.digest)
    push_signatures(direct, image.repository, image.top.digest, {payload: keys[0].sign(payload)})
    assert pull(client, image).status == 200


def test_another_key_another_digest_and_a_changed_payload_do_not_count(
    client: RegistryClient, direct: RegistryClient, registry: Registry, keys: tuple[KeyPair, ...]
) -> None:
    image = an_image(registry, "bad")
    digest = image.top.digest
    good, other = payload_of(digest), payload_of(digest_of(b"another image"))
    signed = keys[0].sign(good)
    atomic = payload_of(digest, type="atomic container signature")
    for payload, signature, why in (
        (good, keys[2].sign(good), "not by any"),
        (other, keys[0].sign(other), f"vouches for {digest_of(b'another image')}"),
        (other, signed, "not by any"),
        (good.replace(b"lab.", b"lub."), signed, "not by any"),
        (good, bytes([*signed[:-1], signed[-1] ^ 1]), "not by any"),
        (good, b"", "not by any"),
        (atomic, keys[0].sign(atomic), "no cosign payload"),
    ):
        push_signatures(direct, image.repository, digest, {payload: signature})
        assert why in refusal(pull(client, image))


def test_one_good_signature_among_bad_ones_is_enough(
    client: RegistryClient, direct: RegistryClient, registry: Registry, keys: tuple[KeyPair, ...]
) -> None:
    image = an_image(registry, "several")
    payloads = [payload_of(image.top.digest, identity={"docker-reference": f"lab/{at}"}) for at in range(5)]
    signatures = {payload: keys[2].sign(payload) for payload in payloads}
    signatures[payloads[3]] = keys[1].sign(payloads[3])
    push_signatures(direct, image.repository, image.top.digest, signatures)
    assert pull(client, image).status == 200


def test_a_literal_tag_of_an_image_without_a_field_needs_no_signature(
    client: RegistryClient, registry: Registry
) -> None:
    plain = push_image(registry.url, "policy/plain", "v1")
    literal = push_image(registry.url, "policy/plain", "v1--0.0.1.1", base={"other": b"file"})
    assert client.get_manifest("policy/plain", "v1").body == plain.top.content
    assert client.get_manifest("policy/plain", "v1--0.0.1.1").body == literal.top.content


def test_what_another_replica_cut_is_held_to_the_policy_as_well(
    registry: Registry, keys: tuple[KeyPair, ...], redis_server: Redis, tmp_path: Path
) -> None:
    image = an_image(registry, "shared")
    shared = {"TWODFS_PROXY_CACHE_REDIS_URL": redis_server.url, "TWODFS_PROXY_CACHE_REDIS_TIMEOUT": "2"}
    for name in ("lenient", "strict"):
        (tmp_path / name).mkdir()
    with (
        Proxy.start(tmp_path / "lenient", registry.url, environment=shared) as proxy,
        RegistryClient(proxy.url) as lenient,
    ):
        top = pull(lenient, image)
        child = json.loads(top.body)["manifests"][0]["digest"]
        config = json.loads(lenient.get_manifest(image.repository, child).body)["config"]["digest"]
    with (
        start(tmp_path / "strict", registry.url, keys, **shared) as proxy,
        RegistryClient(proxy.url) as strict,
    ):
        refusal(pull(strict, image))
        for digest in (digest_of(top.body), child):
            refusal(strict.get_manifest(image.repository, digest))
        refusal(strict.request("GET", f"/v2/{image.repository}/blobs/{config}"))


def test_the_signature_is_asked_for_with_the_clients_own_credentials(keys: tuple[KeyPair, ...], tmp_path: Path) -> None:
    ann = ("ann", "right")
    for name in ("registry", "proxy"):
        (tmp_path / name).mkdir()
    with (
        Registry.start(tmp_path / "registry", htpasswd=dict([ann])) as private,
        start(tmp_path / "proxy", private.url, keys) as proxy,
    ):
        image = push_field_image(private.url, "policy/private", "v1", cells=CELLS, credentials=ann)
        payload = payload_of(image.top.digest)
        with RegistryClient(private.url, ann) as direct:
            push_signatures(direct, image.repository, image.top.digest, {payload: keys[0].sign(payload)})
        with RegistryClient(proxy.url, ann) as client:
            assert pull(client, image).status == 200
        with RegistryClient(proxy.url) as stranger:
            assert pull(stranger, image).status == 401


def test_a_missing_key_is_said_at_start(registry: Registry, tmp_path: Path) -> None:
    missing = KeyPair(tmp_path / "no.pem", tmp_path / "no.pub")
    with pytest.raises(Exception, match=r"signing\.source_keys .*no\.pub: cannot be read"):
        start(tmp_path, registry.url, (missing,))


IMAGE = build_image(CELLS)
TAG = "/v2/team/model/manifests/v1--0.0.1.1"
ACCEPT = f"{OCI.index}, {OCI.manifest}"


@pytest.fixture
async def fake() -> AsyncIterator[FakeRegistry]:
    async with serving(FakeRegistry(IMAGE)) as started:
        yield started


async def status_of(
    fake: FakeRegistry, keys: tuple[KeyPair, ...], times: int = 1, **settings: str
) -> list[tuple[int, str]]:
    trusted = {"signing__source_keys": str(keys[0].public)}
    settings = {"signing__require_source_signature": "true"} | trusted | settings
    found = []
    async with (
        proxied(fake.url, **settings) as proxy,
        aiohttp.ClientSession() as session,
    ):
        for _ in range(times):
            async with session.get(proxy + TAG, headers={"Accept": f"{OCI.index}, {OCI.manifest}"}) as answer:
                found.append((answer.status, await answer.text()))
    return found


@pytest.mark.parametrize(
    ("status", "body", "expected", "said"),
    [
        (200, b"no JSON", 403, "malformed"),
        (200, b"{}", 403, "malformed"),
        (200, b'{"mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}', 403, "malformed"),
        (200, b"x" * (4 * 2**20 + 1), 502, "longer than"),
        (401, b"who are you", 401, "who are you"),
        (500, b"on fire", 500, "on fire"),
    ],
)
async def test_a_registry_that_answers_badly(
    fake: FakeRegistry, keys: tuple[KeyPair, ...], status: int, body: bytes, expected: int, said: str
) -> None:
    async def interpose(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=status, body=body) if request.path.endswith(".sig") else None

    fake.interpose = interpose
    ((answered, text),) = await status_of(fake, keys)
    assert answered == expected
    assert said in text


async def test_at_most_32_signatures_are_looked_at(fake: FakeRegistry, keys: tuple[KeyPair, ...]) -> None:
    payloads = [payload_of(IMAGE.top.digest, identity={"docker-reference": f"lab/{n}"}) for n in range(40)]
    manifest, blobs = signature_manifest(dict.fromkeys(payloads, b"no signature"))
    content = {f"blobs/{blob.digest}": blob.content for blob in blobs} | {".sig": manifest.content}

    async def interpose(request: web.Request) -> web.StreamResponse | None:
        found = [body for ending, body in content.items() if request.path.endswith(ending)]
        return web.Response(body=found[0]) if found else None

    fake.interpose = interpose
    ((answered, _),) = await status_of(fake, keys)
    assert answered == 403
    asked = [one for one in fake.requests if any(one.path.endswith(blob.digest) for blob in blobs)]
    assert len(asked) == 32


async def test_a_pinned_partition_is_held_to_the_policy_although_the_right_to_it_is_known(
    fake: FakeRegistry, keys: tuple[KeyPair, ...]
) -> None:
    manifest, blobs = signature_manifest({payload_of(IMAGE.top.digest): keys[0].sign(payload_of(IMAGE.top.digest))})
    shown = {".sig": manifest.content} | {blob.digest: blob.content for blob in blobs}

    async def interpose(request: web.Request) -> web.StreamResponse | None:
        return next((web.Response(body=c) for end, c in shown.items() if request.path.endswith(end)), None)

    fake.interpose = interpose
    settings = {
        "signing__require_source_signature": "true",
        "signing__source_keys": str(keys[0].public),
        "signing__source_ttl": "0",
        "auth__ttl": "600",
        "cache__tag_ttl": "600",
    }
    async with aiohttp.ClientSession() as client, proxied(fake.url, **settings) as url:
        async with client.get(url + TAG, headers={"Accept": ACCEPT}) as answer:
            assert answer.status == 200
            index = await answer.json(content_type=None)
            pinned = f"/v2/team/model/manifests/{answer.headers['Docker-Content-Digest']}"
        child = f"/v2/team/model/manifests/{index['manifests'][0]['digest']}"
        for expected in (200, 403):
            for target in (TAG, pinned, child):
                for method in ("GET", "HEAD"):
                    async with client.request(method, url + target, headers={"Accept": ACCEPT}) as answer:
                        assert answer.status == expected, (method, target)
            shown.clear()


def other(digest: str) -> str:
    return digest[:-1] + ("0" if digest[-1] != "0" else "1")


BUNDLES: dict[str, tuple[Callable[[str, tuple[KeyPair, ...]], bytes], str | None]] = {
    "an envelope": (lambda digest, keys: enveloped(statement_of(digest), keys[0]), None),
    "by another trusted key": (lambda digest, keys: enveloped(statement_of(digest), keys[1]), None),
    "the bare signature": (lambda digest, keys: message_signed(sign_manifest(digest, keys[0])), None),
    "an untrusted key": (lambda digest, keys: enveloped(statement_of(digest), keys[2]), "not by any"),
    "another digest": (
        lambda digest, keys: enveloped(statement_of(other(digest)), keys[0]),
        "vouches for other digests",
    ),
    "an attestation": (
        lambda digest, keys: enveloped(statement_of(digest, predicateType="text/failed"), keys[0]),
        "it states 'text/failed', which is no signature",
    ),
    "changed under way": (
        lambda digest, keys: enveloped(statement_of(digest), keys[0], payload="e30="),
        "not by any",
    ),
    "a bare signature by nobody": (lambda _, keys: message_signed(keys[0].sign(b"else")), "not by any"),
    "nothing": (lambda *_: b"{}", "without an envelope or a signature"),
    "no JSON": (lambda *_: b"no JSON", "malformed"),
}


def sign_manifest(digest: str, keys: KeyPair) -> bytes:
    assert digest == IMAGE.top.digest
    return keys.sign(IMAGE.top.content)


@pytest.mark.parametrize("has_api", [True, False])
@pytest.mark.parametrize("kind", BUNDLES)
async def test_bundles_as_cosign_writes_them_today_count(
    fake: FakeRegistry, keys: tuple[KeyPair, ...], kind: str, *, has_api: bool
) -> None:
    make, refusal = BUNDLES[kind]
    manifest, blobs = referrer(IMAGE.top.descriptor(), make(IMAGE.top.digest, keys))
    # Under the tag, cosign writes the type of the empty config.
    told = BUNDLE_TYPE if has_api else "application/vnd.oci.empty.v1+json"
    attach(fake, {**manifest.descriptor(), "artifactType": told}, [manifest, *blobs], has_api=has_api)
    trusted = f"{keys[0].public},{keys[1].public}"
    ((answered, text),) = await status_of(fake, keys, signing__source_keys=trusted)
    assert answered == (200 if refusal is None else 403)
    assert refusal is None or refusal in text


def attach(fake: FakeRegistry, *entries_and_content: object, has_api: bool) -> None:
    *entries, content = entries_and_content
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI.index, "manifests": entries}).encode()
    place = "/referrers/" if has_api else "/manifests/sha256-"
    assert isinstance(content, list)

    async def interpose(request: web.Request) -> web.StreamResponse | None:
        if request.path.endswith(".sig"):
            return None
        if place in request.path:
            return web.Response(body=index, headers={"Content-Type": OCI.index})
        found = [one.content for one in content if request.path.endswith(one.digest)]
        return web.Response(body=found[0]) if found else None

    fake.interpose = interpose


async def test_attestations_are_not_fetched_and_at_most_32_bundles_are(
    fake: FakeRegistry, keys: tuple[KeyPair, ...]
) -> None:
    made = [referrer(IMAGE.top.descriptor(), b'{"n":%d}' % n) for n in range(50)]
    entries = [{**manifest.descriptor(), "artifactType": BUNDLE_TYPE} for manifest, _ in made]
    for entry in entries[:10]:
        entry["annotations"] = {"dev.sigstore.bundle.predicateType": "https://spdx.dev/Document"}
    content = [blob for manifest, blobs in made for blob in (manifest, *blobs)]
    attach(fake, *entries, content, has_api=True)
    ((answered, _),) = await status_of(fake, keys)
    assert answered == 403
    asked = [one.path.rpartition("/")[2] for one in fake.requests]
    assert [digest in asked for digest in (manifest.digest for manifest, _ in made)] == (
        [False] * 10 + [True] * 32 + [False] * 8
    )


async def test_a_list_of_referrers_that_is_none_is_the_registrys_fault(
    fake: FakeRegistry, keys: tuple[KeyPair, ...]
) -> None:
    async def interpose(request: web.Request) -> web.StreamResponse | None:
        is_list = "/referrers/" in request.path
        return web.Response(body=b"[]", headers={"Content-Type": OCI.index}) if is_list else None

    fake.interpose = interpose
    ((answered, text),) = await status_of(fake, keys)
    assert (answered, "list of what refers to the image" in text) == (502, True)


@pytest.mark.parametrize(("ttl", "asked"), [("300", 1), ("0", 3)])
async def test_a_good_verdict_is_remembered_for_its_time(
    fake: FakeRegistry, keys: tuple[KeyPair, ...], ttl: str, asked: int
) -> None:
    payload = payload_of(IMAGE.top.digest)
    manifest, blobs = signature_manifest({payload: keys[0].sign(payload)})

    async def interpose(request: web.Request) -> web.StreamResponse | None:
        if request.path.endswith(".sig"):
            return web.Response(body=manifest.content)
        found = [blob.content for blob in blobs if request.path.endswith(blob.digest)]
        return web.Response(body=found[0]) if found else None

    fake.interpose = interpose
    answers = await status_of(fake, keys, times=3, signing__source_ttl=ttl)
    assert [status for status, _ in answers] == [200, 200, 200]
    assert len(fake.asked("GET", ".sig")) == asked
