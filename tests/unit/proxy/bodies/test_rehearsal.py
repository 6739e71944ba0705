"""A start tries out whether sockets can be borrowed, and buffers bodies where they cannot."""

import errno
import os

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol

from proxy.bodies import receive, rehearsal
from proxy.bodies.transit import Bodies
from proxy.insides import server, tls
from proxy.insides.client import AnswerConnection
from proxy.insides.server import RequestConnection
from proxy.insides.versions import VERSIONS


async def test_this_aiohttp_lends_its_sockets() -> None:
    assert await rehearsal.obstacle() is None
    assert await rehearsal.obstacle(has_files=True) is None


async def test_an_aiohttp_without_what_is_needed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tls.NEEDED_TO_BORROW, StreamReader, ("read_nowait", "gone"))
    assert await rehearsal.obstacle() == f"{VERSIONS} has no StreamReader.gone"


async def test_an_aiohttp_whose_parser_is_made_otherwise_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def parser(*_: object, **__: object) -> None:
        raise TypeError("unexpected keyword argument")

    monkeypatch.setattr(server, "HttpRequestParser", parser)
    assert "in the middle of a body (TypeError('unexpected keyword argument'))" in str(await rehearsal.obstacle())


async def test_a_connection_to_the_registry_that_is_not_restored_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AnswerConnection, "renew", AnswerConnection.force_close)
    assert "a download through borrowed sockets" in str(await rehearsal.obstacle())


async def test_a_parser_that_is_not_restored_after_an_upload_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = RequestConnection.resume_body

    def forget(self: RequestConnection, content: StreamReader, remaining: int) -> None:
        if remaining:
            return whole(self, content, remaining)
        return content.feed_eof()

    monkeypatch.setattr("proxy.wire.rehearsal._MOST_SECONDS", 0.5)
    monkeypatch.setattr(RequestConnection, "resume_body", forget)
    assert "an upload through borrowed sockets" in str(await rehearsal.obstacle())


async def test_a_tls_layer_of_other_parts_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.wire.rehearsal._MOST_SECONDS", 0.5)
    monkeypatch.setattr(tls, "_PARTS", (*tls._PARTS, "_renamed"))
    assert "out of a borrowed TLS connection" in str(await rehearsal.obstacle())


async def test_bodies_that_do_not_pass_a_thread_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receive, "_SMALLEST_LOAN", 2**40)
    assert "a download into a thread" in str(await rehearsal.obstacle(has_files=True))


async def test_a_kernel_that_sends_no_files_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "sendfile", refuse)
    assert "a file into a borrowed socket" in str(await rehearsal.obstacle(has_files=True))


async def test_bodies_are_buffered_where_sockets_cannot_be_borrowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(BaseProtocol, "_reading_paused")
    async with Bodies.open("auto") as bodies:
        with bodies.pipe_for(StreamReader(None, 2**16), 2**20) as pipe:  # type: ignore[arg-type] # nothing is read
            assert pipe is None
