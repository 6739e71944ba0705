"""Writes of manifests: what is refused, what is completed, and what is forgotten afterwards."""

import json

import pytest
from aiohttp import web

from proxy.handlers.relay import BodyTooLongError
from proxy.partitions.lookalikes import ComputedTagError
from proxy.upstream.registry import Upstreams
from tests.lab.exchanges import Handlers
from tests.lab.fake_registry import FakeRegistry
from twodfs.oci.digest import digest_of
from twodfs.oci.documents import ACCEPT_IMAGES, OCI_INDEX, OCI_MANIFEST

SUBJECT = "sha256:" + "ab" * 32


class Taking:
    """A registry that takes manifests once it has what they name, and keeps what it was given."""

    def __init__(self, *missing: str) -> None:
        self.missing = set(missing)
        self.given: list[tuple[str, str]] = []
        self.kept: dict[str, tuple[str, bytes]] = {}

    def keep(self, reference: str, media_type: str, content: bytes) -> None:
        self.kept[f"/v2/a/manifests/{reference}"] = media_type, content

    def read(self, path: str) -> web.Response | None:
        if path not in self.kept:
            return None
        media_type, content = self.kept[path]
        headers = {"Docker-Content-Digest": digest_of(content)}
        return web.Response(body=content, content_type=media_type, headers=headers)

    async def __call__(self, request: web.Request) -> web.Response | None:
        if request.method in ("GET", "HEAD"):
            return self.read(request.path)
        content = await request.read()
        self.given.append((request.method, request.path_qs))
        if request.method == "DELETE":
            return web.Response(status=202)
        if request.method == "POST":
            return web.Response(status=202, headers={"Location": "/v2/a/blobs/uploads/1?_state=x"})
        if "/uploads/" in request.path:
            self.missing.discard(request.query["digest"])
            return web.Response(status=201)
        if any(one in content.decode() for one in self.missing):
            return web.json_response({"errors": [{"code": "MANIFEST_BLOB_UNKNOWN"}]}, status=404)
        self.missing.discard(digest_of(content))
        self.keep(request.path.rpartition("/")[2], request.content_type, content)
        return web.Response(status=201, headers={"Location": f"/v2/a/manifests/{digest_of(content)}"})


async def test_a_manifest_is_passed_on_byte_for_byte(registry: FakeRegistry, handlers: Handlers) -> None:
    bodies = []

    async def take(request: web.Request) -> web.Response:
        bodies.append(await request.read())
        return web.Response(status=201, headers={"Docker-Content-Digest": "x"})

    registry.interpose = take
    got = await handlers.answer("PUT", "/v2/a/manifests/v2", {"Content-Type": OCI_MANIFEST}, b'{"odd" : 1}')
    assert (got.status, got.headers["Docker-Content-Digest"], got.is_relayed) == (201, "x", True)
    assert bodies == [b'{"odd" : 1}']


async def test_a_tag_that_is_computed_cannot_be_written(registry: FakeRegistry, handlers: Handlers) -> None:
    with pytest.raises(ComputedTagError, match="push to another tag"):
        await handlers.answer("PUT", "/v2/a/manifests/v1--0.0.1.1", {"Content-Type": OCI_MANIFEST}, b"{}")
    assert not [one for one in registry.requests if one.method == "PUT"]


async def test_a_manifest_has_a_greatest_size(registry: FakeRegistry, handlers: Handlers) -> None:
    with pytest.raises(BodyTooLongError, match="the body has 1025 bytes; it may have 1024"):
        await handlers.answer("PUT", "/v2/a/manifests/v2", {}, b"x" * 1025)
    assert not registry.requests


async def test_the_registry_is_given_what_we_made_and_is_asked_once_more(
    registry: FakeRegistry, handlers: Handlers
) -> None:
    top = await handlers.answer("GET", "/v2/a/manifests/v1--0.0.1.1", {"Accept": ACCEPT_IMAGES})
    children = [one["digest"] for one in json.loads(top.body)["manifests"]]
    configs = []
    for child in children:
        manifest = await handlers.answer("GET", f"/v2/a/manifests/{child}")
        configs.append(json.loads(manifest.body)["config"]["digest"])
    registry.interpose = taking = Taking(*children, *configs)
    got = await handlers.answer("PUT", "/v2/a/manifests/copy", {"Content-Type": OCI_INDEX}, top.body)
    assert got.status == 201
    assert not taking.missing
    assert [path for method, path in taking.given if path.endswith("/copy")] == ["/v2/a/manifests/copy"] * 2


async def test_what_we_did_not_make_is_not_completed(registry: FakeRegistry, handlers: Handlers) -> None:
    registry.interpose = taking = Taking(SUBJECT)
    config = {"mediaType": "x/y", "digest": SUBJECT, "size": 1}
    body = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": []}).encode()
    got = await handlers.answer("PUT", "/v2/a/manifests/v2", {"Content-Type": OCI_MANIFEST}, body)
    assert (got.status, json.loads(got.body)["errors"][0]["code"]) == (404, "MANIFEST_BLOB_UNKNOWN")
    assert len(taking.given) == 1


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_after_a_write_the_registry_is_asked_what_a_tag_names(
    registry: FakeRegistry, handlers: Handlers, method: str
) -> None:
    tag = "/v2/a/manifests/v1--0.0.1.1"
    digest = (await handlers.answer("GET", tag, {"Accept": ACCEPT_IMAGES})).headers["Docker-Content-Digest"]
    registry.interpose = Taking()
    await handlers.answer(method, "/v2/a/manifests/v1", {}, b"{}" if method == "PUT" else None)
    registry.requests.clear()
    await handlers.answer("GET", f"/v2/a/manifests/{digest}")
    assert registry.requests, "the client's right is known no more"


@pytest.fixture
def signing(upstreams: Upstreams) -> Handlers:
    return Handlers.over(upstreams, is_signing=True)


async def test_what_refers_to_something_is_entered_in_its_list_where_the_registry_keeps_none(
    registry: FakeRegistry, signing: Handlers
) -> None:
    registry.interpose = taking = Taking()
    subject = {"mediaType": OCI_MANIFEST, "digest": SUBJECT, "size": 1}
    body = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "subject": subject}).encode()
    got = await signing.answer("PUT", "/v2/a/manifests/sbom", {"Content-Type": OCI_MANIFEST}, body)
    assert (got.status, got.headers["OCI-Subject"]) == (201, SUBJECT)
    assert taking.given[-1] == ("PUT", f"/v2/a/manifests/{SUBJECT.replace(':', '-')}")


async def test_what_was_deleted_is_struck_from_its_list(registry: FakeRegistry, signing: Handlers) -> None:
    subject = {"mediaType": OCI_MANIFEST, "digest": SUBJECT, "size": 1}
    body = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "subject": subject}).encode()
    digest, tag = digest_of(body), SUBJECT.replace(":", "-")
    entry = {"mediaType": OCI_MANIFEST, "digest": digest, "size": len(body)}
    listed = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
    registry.interpose = taking = Taking()
    taking.keep(digest, OCI_MANIFEST, body)
    taking.keep(tag, OCI_INDEX, json.dumps(listed).encode())
    got = await signing.answer("DELETE", f"/v2/a/manifests/{digest}")
    assert got.status == 202
    assert [method for method, _ in taking.given] == ["DELETE", "PUT"]
    assert json.loads(taking.kept[f"/v2/a/manifests/{tag}"][1])["manifests"] == []
