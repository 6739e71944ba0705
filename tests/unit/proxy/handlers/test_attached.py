"""What is attached to a digest: ours beside the registry's, and the registry's alone where we made nothing."""

import json

import pytest
from aiohttp import web

from proxy.upstream.registry import Upstreams
from tests.lab.exchanges import Handlers
from tests.lab.fake_registry import FakeRegistry
from twodfs.oci.digest import Digest, digest_of
from twodfs.oci.documents import ACCEPT_IMAGES, OCI_INDEX, OCI_MANIFEST
from twodfs.oci.referrers import referrers_tag
from twodfs.signing.signature import signature_tag

FOREIGN = Digest("sha256:" + "ab" * 32)


@pytest.fixture
def signing(upstreams: Upstreams) -> Handlers:
    return Handlers.over(upstreams, is_signing=True)


async def ours(handlers: Handlers) -> Digest:
    got = await handlers.answer("GET", "/v2/a/manifests/v1--0.0.1.1", {"Accept": ACCEPT_IMAGES})
    return Digest(got.headers["Docker-Content-Digest"])


async def test_a_partition_has_our_signature_under_cosigns_tag(signing: Handlers) -> None:
    digest = await ours(signing)
    got = await signing.answer("GET", f"/v2/a/manifests/{signature_tag(digest)}")
    assert (got.status, got.headers["Content-Type"], got.is_relayed) == (200, OCI_MANIFEST, False)
    layer = json.loads(got.body)["layers"][0]
    payload = await signing.answer("GET", f"/v2/a/blobs/{layer['digest']}")
    assert digest_of(payload.body) == layer["digest"]
    assert json.loads(payload.body)["critical"]["image"]["docker-manifest-digest"] == digest


async def test_what_we_did_not_make_has_the_registrys_signatures_alone(
    registry: FakeRegistry, signing: Handlers
) -> None:
    got = await signing.answer("GET", f"/v2/a/manifests/{signature_tag(FOREIGN)}")
    assert (got.status, got.is_relayed) == (404, True)
    assert len(registry.requests) == 1


async def test_the_list_of_referrers_has_ours_under_the_tag_and_in_the_api(signing: Handlers) -> None:
    digest = await ours(signing)
    tagged = await signing.answer("GET", f"/v2/a/manifests/{referrers_tag(digest)}")
    assert tagged.headers["Content-Type"] == OCI_INDEX
    listed = await signing.answer("GET", f"/v2/a/referrers/{digest}")
    assert json.loads(listed.body)["manifests"] == json.loads(tagged.body)["manifests"] != []
    assert "OCI-Filters-Applied" not in listed.headers
    assert int(listed.headers["Content-Length"]) == len(listed.body)


async def test_a_filter_that_was_applied_is_said_to_be(signing: Handlers) -> None:
    digest = await ours(signing)
    none = await signing.answer("GET", f"/v2/a/referrers/{digest}?artifactType=x%2Fy")
    assert json.loads(none.body)["manifests"] == []
    assert none.headers["OCI-Filters-Applied"] == "artifactType"


async def test_links_of_the_registrys_list_come_back_as_ours(registry: FakeRegistry, signing: Handlers) -> None:
    digest = await ours(signing)
    theirs = {"mediaType": OCI_MANIFEST, "digest": FOREIGN, "size": 1}

    async def paged(request: web.Request) -> web.Response | None:
        if "/referrers/" not in request.path:
            return None
        body = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [theirs]}).encode()
        return web.Response(body=body, content_type=OCI_INDEX, headers={"Link": f"<{registry.url}/more>; rel=other"})

    registry.interpose = paged
    got = await signing.answer("GET", f"/v2/a/referrers/{digest}")
    assert FOREIGN in [one["digest"] for one in json.loads(got.body)["manifests"]]
    assert got.headers.getall("Link") == ["<https://us.example/more>; rel=other"]


async def test_without_signing_all_of_it_is_the_registrys(registry: FakeRegistry, handlers: Handlers) -> None:
    digest = await ours(handlers)
    registry.requests.clear()
    for target in (f"manifests/{signature_tag(digest)}", f"manifests/{referrers_tag(digest)}", f"referrers/{digest}"):
        assert (await handlers.answer("GET", f"/v2/a/{target}")).is_relayed
    assert len(registry.requests) == 3
