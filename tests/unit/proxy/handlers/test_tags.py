"""Lists of tags as answers."""

import json

import pytest
from aiohttp import web

from proxy.upstream.registry import Upstreams
from tests.lab.documents import FieldStyle
from tests.lab.exchanges import Handlers
from tests.lab.fake_registry import FakeRegistry
from tests.lab.images import build_image
from tests.lab.partition_requests import CELLS

LIST = "/v2/team/model/tags/list"
HEADERS = {
    "ETag": '"x"',
    "Last-Modified": "now",
    "Docker-Distribution-Api-Version": "registry/2.0",
    "Connection": "X-Hop",
    "X-Hop": "1",
}


class Listing:
    """A registry whose list of tags is `content`; `v1` has a partition."""

    def __init__(self, registry: FakeRegistry, content: object) -> None:
        registry.image = build_image(CELLS, field_style=FieldStyle(more={"partitions": {"edge": "0.0.0.1"}}))
        registry.interpose = self.answer
        self.content = content

    async def answer(self, request: web.Request) -> web.Response | None:
        return web.json_response(self.content, headers=HEADERS) if request.path == LIST else None


@pytest.fixture
def handlers(upstreams: Upstreams) -> Handlers:
    return Handlers.over(upstreams, lists_partitions=True)


async def test_a_list_with_partitions_has_headers_that_fit_it(registry: FakeRegistry, handlers: Handlers) -> None:
    Listing(registry, {"name": "team/model", "tags": ["v1", "v2"], "more": 1})
    got = await handlers.answer("GET", f"{LIST}?n=2")
    assert json.loads(got.body) == {"name": "team/model", "tags": ["v1", "v1--edge"], "more": 1}
    assert (got.status, got.headers["Content-Length"]) == (200, str(len(got.body)))
    assert got.headers["Link"] == f'<{LIST}?last=v1--edge&n=2>; rel="next"'
    assert got.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert got.headers["Content-Type"] == "application/json; charset=utf-8"
    assert not [name for name in ("ETag", "Last-Modified", "X-Hop") if name in got.headers]
    assert not got.is_relayed


async def test_the_last_page_leads_nowhere(registry: FakeRegistry, handlers: Handlers) -> None:
    Listing(registry, {"tags": ["v1"]})
    got = await handlers.answer("GET", LIST)
    assert json.loads(got.body) == {"tags": ["v1", "v1--edge"]}
    assert "Link" not in got.headers


@pytest.mark.parametrize("content", [{"tags": ["v2"]}, {"tags": None}, {"tags": []}, "no list", {"errors": []}])
async def test_a_list_without_partitions_is_passed_on_as_it_is(
    registry: FakeRegistry, handlers: Handlers, content: object
) -> None:
    Listing(registry, content)
    got = await handlers.answer("GET", LIST)
    assert (got.status, got.body, got.is_relayed) == (200, json.dumps(content).encode(), True)
    assert got.headers["ETag"] == '"x"'


async def test_a_list_too_long_to_be_read_is_passed_on(
    registry: FakeRegistry, handlers: Handlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.tags.tag_list._MOST_BYTES", 10)
    Listing(registry, {"tags": ["v1"]})
    got = await handlers.answer("GET", LIST)
    assert (json.loads(got.body), got.is_relayed) == ({"tags": ["v1"]}, True)


async def test_without_the_setting_nothing_is_looked_up(registry: FakeRegistry, upstreams: Upstreams) -> None:
    Listing(registry, {"tags": ["v1"]})
    got = await Handlers.over(upstreams).answer("GET", LIST)
    assert (json.loads(got.body), got.is_relayed, len(registry.requests)) == ({"tags": ["v1"]}, True, 1)
