import pytest
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from proxy.wire.connections import ClientConnections
from proxy.wire.listener import Listener


async def nothing(_: web.BaseRequest) -> web.StreamResponse:
    return web.Response()


async def test_the_parser_hears_when_it_may_go_on_with_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiohttp says so with no bytes at all; an upload that was read ahead would wait for ever."""
    heard: list[bytes] = []
    monkeypatch.setattr(RequestHandler, "data_received", lambda _, data: heard.append(data))
    listener = Listener(nothing, keepalive_timeout=1, header_timeout=1, connections=ClientConnections(8))
    protocol = listener()
    assert isinstance(protocol, RequestHandler)
    protocol.data_received(b"")
    assert heard == [b""]
