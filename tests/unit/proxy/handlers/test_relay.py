"""Everything that is not ours, over a real registry's socket: opened here, and read to its end or given up."""

import asyncio

import pytest
from aiohttp import web

from proxy.handlers.relay import BodyTooLongError
from proxy.upstream.replies import UpstreamError
from tests.lab.exchanges import Handlers
from tests.lab.fake_registry import FakeRegistry

AUTHORIZATION = {"Authorization": "Basic dTpw"}


async def test_a_request_goes_upstream_with_its_target_and_the_clients_headers(
    registry: FakeRegistry, handlers: Handlers
) -> None:
    target = "/v2/a/tags/list?last=%2Fx&n=1"
    await handlers.answer("GET", target, {"X-Odd": "1", "Connection": "X-Hop", "X-Hop": "2", **AUTHORIZATION})
    (asked,) = registry.requests
    assert asked.raw_path == target
    assert (asked.headers["X-Odd"], asked.headers["Authorization"]) == ("1", "Basic dTpw")
    assert "X-Hop" not in asked.headers


async def test_an_answer_comes_back_with_its_addresses_turned_into_ours(
    registry: FakeRegistry, handlers: Handlers
) -> None:
    async def located(_: web.Request) -> web.Response:
        headers = {"Location": f"{registry.url}/v2/a/blobs/uploads/1", "X-Odd": "1"}
        return web.Response(status=202, reason="Go on", headers=headers)

    registry.interpose = located
    got = await handlers.answer("POST", "/v2/a/blobs/uploads/")
    assert (got.status, got.is_relayed) == (202, True)
    assert (got.headers["Location"], got.headers["X-Odd"]) == ("https://us.example/v2/a/blobs/uploads/1", "1")


async def test_a_body_goes_upstream_as_it_is(registry: FakeRegistry, handlers: Handlers) -> None:
    bodies = []

    async def take(request: web.Request) -> web.Response:
        bodies.append(await request.read())
        return web.Response(status=202)

    registry.interpose = take
    assert (await handlers.answer("PATCH", "/v2/a/blobs/uploads/1", {}, b"x" * 100_000)).status == 202
    assert bodies == [b"x" * 100_000]


async def test_a_connection_that_was_read_to_its_end_is_used_again(registry: FakeRegistry, handlers: Handlers) -> None:
    peers = []

    async def note(request: web.Request) -> None:
        assert request.transport is not None
        peers.append(request.transport.get_extra_info("peername"))

    registry.interpose = note
    for _ in range(3):
        assert (await handlers.answer("GET", "/v2/")).status == 200
    assert len(peers) == 3
    assert len(set(peers)) == 1


async def test_a_registry_that_breaks_off_before_its_answer_is_told_as_that(
    registry: FakeRegistry, handlers: Handlers
) -> None:
    async def hang_up(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        await asyncio.sleep(0)
        return web.Response()

    registry.interpose = hang_up
    with pytest.raises(UpstreamError, match="broke off") as failed:
        await handlers.answer("GET", "/v2/")
    assert failed.value.status == 502


async def test_a_manifest_without_a_length_has_a_greatest_size_too(registry: FakeRegistry, handlers: Handlers) -> None:
    async def take(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=201)

    registry.interpose = take
    with pytest.raises(BodyTooLongError, match="longer than 1024 bytes"):
        await handlers.answer("PUT", "/v2/a/manifests/v2", {"Transfer-Encoding": "chunked"}, b"x" * 2000)
