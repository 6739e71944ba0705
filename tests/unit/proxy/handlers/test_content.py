"""What is asked for by digest: the registry's first, unless it is known to be ours and this client's."""

from aiohttp import web

from tests.lab.exchanges import Handlers
from tests.lab.fake_registry import FakeRegistry
from tests.lab.partition_requests import IMAGE
from twodfs.oci.digest import digest_of
from twodfs.oci.documents import ACCEPT_IMAGES

UNKNOWN = "sha256:" + "0" * 64


async def top_of(handlers: Handlers) -> str:
    got = await handlers.answer("GET", "/v2/a/manifests/v1--0.0.1.1", {"Accept": ACCEPT_IMAGES})
    return got.headers["Docker-Content-Digest"]


async def test_what_is_ours_takes_no_question_where_the_clients_right_is_known(
    registry: FakeRegistry, handlers: Handlers
) -> None:
    digest = await top_of(handlers)
    registry.requests.clear()
    got = await handlers.answer("GET", f"/v2/a/manifests/{digest}")
    assert (got.status, digest_of(got.body), got.is_relayed) == (200, digest, False)
    assert not registry.requests


async def test_what_is_ours_is_not_told_in_another_repository(registry: FakeRegistry, handlers: Handlers) -> None:
    digest = await top_of(handlers)

    async def hide(request: web.Request) -> web.Response | None:
        return web.json_response({}, status=404) if request.path.startswith("/v2/b/") else None

    registry.interpose = hide
    got = await handlers.answer("GET", f"/v2/b/manifests/{digest}")
    assert (got.status, got.is_relayed) == (404, True)


async def test_the_registrys_is_relayed(registry: FakeRegistry, handlers: Handlers) -> None:
    layer = IMAGE.blobs[-1]
    got = await handlers.answer("GET", f"/v2/a/blobs/{layer.digest}")
    assert (got.status, got.body, got.is_relayed) == (200, layer.content, True)
    assert [one.method for one in registry.requests] == ["GET"]


async def test_a_client_about_to_push_hears_no_at_once(registry: FakeRegistry, handlers: Handlers) -> None:
    got = await handlers.answer("HEAD", f"/v2/a/blobs/{UNKNOWN}")
    assert (got.status, got.body, got.is_relayed) == (404, b"", True)
    assert len(registry.requests) == 2, "once to look, once for its words"


async def test_a_range_of_ours(handlers: Handlers) -> None:
    digest = await top_of(handlers)
    whole = await handlers.answer("GET", f"/v2/a/blobs/{digest}")
    part = await handlers.answer("GET", f"/v2/a/blobs/{digest}", {"Range": "bytes=2-5"})
    assert (part.status, part.body) == (206, whole.body[2:6])
    beyond = await handlers.answer("GET", f"/v2/a/blobs/{digest}", {"Range": "bytes=999999-"})
    assert (beyond.status, beyond.headers["Content-Range"]) == (416, f"bytes */{len(whole.body)}")
