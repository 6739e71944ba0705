"""Tags that look like partitions, over a registry that has one image under `v1`."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from proxy.clients.limits import Slots
from proxy.partitions.lookalikes import UnknownPartitionError
from proxy.upstream.replies import RefusedError
from tests.lab.exchanges import CLIENT, Handlers
from tests.lab.fake_registry import FakeRegistry
from twodfs.errors import NothingSelectedError
from twodfs.oci.digest import digest_of
from twodfs.oci.documents import ACCEPT_IMAGES, OCI_INDEX

TAG = "/v2/team/model/manifests/v1--0.0.1.1"
ACCEPT = {"Accept": ACCEPT_IMAGES}


async def literal(request: web.Request) -> web.Response | None:
    """Have a tag of its own that looks like a partition."""
    return web.Response(body=b"mine") if request.path.endswith("v1--nobody") else None


async def test_a_partition_is_answered_with_its_index_and_is_found_by_digest(handlers: Handlers) -> None:
    got = await handlers.answer("GET", TAG, ACCEPT)
    assert (got.status, got.headers["Content-Type"], got.is_relayed) == (200, OCI_INDEX, False)
    assert got.headers["Docker-Content-Digest"] == digest_of(got.body)
    for entry in json.loads(got.body)["manifests"]:
        child = await handlers.answer("GET", f"/v2/team/model/manifests/{entry['digest']}")
        assert (child.status, digest_of(child.body)) == (200, entry["digest"])
        config = json.loads(child.body)["config"]
        blob = await handlers.answer("GET", f"/v2/team/model/blobs/{config['digest']}")
        assert digest_of(blob.body) == config["digest"]


async def test_a_client_that_has_the_partition_is_not_sent_it_again(handlers: Handlers) -> None:
    etag = (await handlers.answer("HEAD", TAG, ACCEPT)).headers["ETag"]
    not_modified = await handlers.answer("GET", TAG, {**ACCEPT, "If-None-Match": etag})
    assert (not_modified.status, not_modified.body) == (304, b"")


async def test_a_tag_of_an_image_that_is_not_there_is_the_registrys_to_answer(
    registry: FakeRegistry, handlers: Handlers
) -> None:
    got = await handlers.answer("GET", "/v2/team/model/manifests/v9--0.0.1.1", ACCEPT)
    assert (got.status, got.is_relayed) == (404, True)
    assert len(registry.asked("GET", "/v9--0.0.1.1")) == 1


async def test_a_tag_that_merely_looks_like_a_partition_is_the_registrys(
    registry: FakeRegistry, handlers: Handlers
) -> None:
    registry.interpose = literal
    got = await handlers.answer("GET", "/v2/team/model/manifests/v1--nobody", ACCEPT)
    assert (got.status, got.body, got.is_relayed) == (200, b"mine", True)


async def test_a_partition_that_no_field_defines_is_told_as_one(handlers: Handlers) -> None:
    with pytest.raises(UnknownPartitionError, match="team/model:v1 has no partition called nobody"):
        await handlers.answer("GET", "/v2/team/model/manifests/v1--nobody", ACCEPT)


async def test_a_rectangle_beside_the_field_selects_nothing(handlers: Handlers) -> None:
    with pytest.raises(NothingSelectedError):
        await handlers.answer("GET", "/v2/team/model/manifests/v1--7.7.8.8", ACCEPT)


async def test_a_mistyped_rectangle_is_explained_where_the_registry_knows_no_such_tag(handlers: Handlers) -> None:
    with pytest.raises(UnknownPartitionError, match="a rectangle has four numbers"):
        await handlers.answer("GET", "/v2/team/model/manifests/v1--0.0.1")
    got = await handlers.answer("GET", "/v2/team/model/manifests/v9--0.0.1")
    assert (got.status, got.is_relayed) == (404, True)


async def test_a_mistyped_tag_that_is_there_is_given(registry: FakeRegistry, handlers: Handlers) -> None:
    async def has_it(request: web.Request) -> web.Response | None:
        return web.Response(body=b"odd") if request.path.endswith("v1--0.0.1") else None

    registry.interpose = has_it
    assert (await handlers.answer("GET", "/v2/team/model/manifests/v1--0.0.1")).body == b"odd"


async def test_who_may_not_read_the_image_hears_what_the_registry_says(
    registry: FakeRegistry, handlers: Handlers
) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({}, status=401, headers={"WWW-Authenticate": "Basic realm=x"})

    registry.interpose = refuse
    with pytest.raises(RefusedError) as refused:
        await handlers.answer("GET", TAG, ACCEPT)
    assert refused.value.reply.status == 401


async def test_a_cut_that_several_wait_for_is_the_work_of_the_client_that_began_it(
    handlers: Handlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    charged: list[str] = []
    taken = Slots.taken

    def noted(slots: Slots, client: str, weight: int = 1) -> Any:
        charged.append(client)
        return taken(slots, client, weight)

    monkeypatch.setattr(Slots, "taken", noted)
    first, second = (replace(CLIENT, client=name) for name in ("first", "second"))
    await asyncio.gather(*(handlers.answer("GET", TAG, ACCEPT, identity=one) for one in (first, second, second)))
    assert charged == ["first"]
    await handlers.answer("GET", "/v2/team/model/manifests/v1--1.1.1.1", ACCEPT, identity=second)
    assert charged == ["first", "second"]
