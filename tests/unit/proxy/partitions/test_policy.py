"""Which images may be cut, and how long a verdict holds."""

import hashlib

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from proxy.auth.identity import Identity
from proxy.partitions.policy import SourcePolicy, UnsignedError
from proxy.partitions.source import SourceImage
from proxy.repository import DEFAULT_UPSTREAM, Repository
from proxy.upstream.referrers import Referrers
from proxy.upstream.registry import Upstreams
from proxy.upstream.replies import RefusedError, UpstreamError
from tests.lab.documents import OCI
from tests.lab.fake_registry import FakeRegistry
from tests.lab.partition_requests import IMAGE
from tests.lab.signing import payload_of, signature_manifest, signature_tag
from twodfs.oci.digest import Digest
from twodfs.signing.ecdsa import PrivateKey

ALICE, BOB = (Identity.of({"Authorization": f"Bearer {name}"}) for name in ("alice", "bob"))
SOURCE = SourceImage(Repository(DEFAULT_UPSTREAM, "team/model"), "v1", Digest(IMAGE.digest), IMAGE.top.media_type)


def new_key() -> PrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    return PrivateKey.parse(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


TRUSTED, STRANGE = new_key(), new_key()


def policy(upstreams: Upstreams, *, ttl: float = 3600) -> SourcePolicy:
    return SourcePolicy(upstreams, Referrers(upstreams), [TRUSTED.public_key], ttl=ttl)


def attach(registry: FakeRegistry, key: PrivateKey | None) -> None:
    """Have the registry answer as if `key` had signed the image."""
    payload = payload_of(IMAGE.digest)
    signatures = {} if key is None else {payload: key.sign_digest(hashlib.sha256(payload).digest())}
    manifest, blobs = signature_manifest(signatures)
    attached = {signature_tag(IMAGE.digest): manifest, **{blob.digest: blob for blob in blobs}}

    async def answer(request: web.Request) -> web.StreamResponse | None:
        found = attached.get(request.path.rpartition("/")[2])
        return None if found is None else web.Response(body=found.content, content_type=found.media_type)

    registry.interpose = answer


async def test_an_image_that_a_trusted_key_signed_may_be_cut_and_is_not_looked_at_again(
    registry: FakeRegistry, upstreams: Upstreams
) -> None:
    attach(registry, TRUSTED)
    holding = policy(upstreams)
    await holding.check(SOURCE, ALICE)
    asked = len(registry.requests)
    assert asked
    await holding.check(SOURCE, ALICE)
    await holding.check(SOURCE, BOB)  # a verdict is about content
    assert len(registry.requests) == asked


async def test_with_no_time_to_live_each_check_looks(registry: FakeRegistry, upstreams: Upstreams) -> None:
    attach(registry, TRUSTED)
    holding = policy(upstreams, ttl=0)
    await holding.check(SOURCE, ALICE)
    asked = len(registry.requests)
    await holding.check(SOURCE, ALICE)
    assert len(registry.requests) == 2 * asked


@pytest.mark.parametrize("key", [STRANGE, None], ids=["a strange key", "no signature"])
async def test_any_other_may_not_until_it_is_signed(
    registry: FakeRegistry, upstreams: Upstreams, key: PrivateKey | None
) -> None:
    attach(registry, key)
    holding = policy(upstreams)
    with pytest.raises(UnsignedError, match=rf"signed images, and team/model:v1 \({IMAGE.digest}\) has no signature"):
        await holding.check(SOURCE, ALICE)
    attach(registry, TRUSTED)
    await holding.check(SOURCE, ALICE)


async def test_an_unsigned_image_in_another_repository_stays_so(registry: FakeRegistry, upstreams: Upstreams) -> None:
    attach(registry, TRUSTED)
    holding = policy(upstreams)
    await holding.check(SOURCE, ALICE)
    registry.interpose = None
    elsewhere = SourceImage(Repository(DEFAULT_UPSTREAM, "team/copy"), "v1", SOURCE.digest, SOURCE.media_type)
    with pytest.raises(UnsignedError):
        await holding.check(elsewhere, ALICE)


async def test_a_registry_that_hides_its_signatures_from_the_client_is_believed(
    registry: FakeRegistry, upstreams: Upstreams
) -> None:
    async def refuse(_: web.Request) -> web.StreamResponse:
        return web.Response(status=403)

    registry.interpose = refuse
    with pytest.raises(RefusedError):
        await policy(upstreams).check(SOURCE, ALICE)


async def test_a_list_of_referrers_that_is_none_is_the_registrys_fault(
    registry: FakeRegistry, upstreams: Upstreams
) -> None:
    async def nonsense(request: web.Request) -> web.StreamResponse | None:
        if "/referrers/" not in request.path:
            return None
        return web.Response(body=b'{"manifests":7}', content_type=OCI.index)

    registry.interpose = nonsense
    with pytest.raises(UpstreamError, match="list of what refers to the image is none"):
        await policy(upstreams).check(SOURCE, ALICE)
