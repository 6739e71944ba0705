"""A start tries out what protects the proxy: with any of it gone, nothing listens."""

import asyncio
import subprocess
import sys
from asyncio.sslproto import SSLProtocol
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientRequest, TCPConnector, web
from aiohttp.web_protocol import RequestHandler

from proxy.config import load
from proxy.insides import server
from proxy.insides.answers import ExactAnswer
from proxy.insides.client import AnswerConnection
from proxy.insides.server import RequestConnection
from proxy.insides.tls import ServerTls
from proxy.preflight import StartError, check, rehearse_protections
from proxy.wire import listener, rehearsal, stage
from proxy.wire.pool import AnswerReader, BoundedContinueRequest

Broken = Callable[[], Awaitable[str]]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Broken:
    """Return what says what is broken, and gives up soon on what never comes."""
    monkeypatch.setattr(rehearsal, "_MOST_SECONDS", 2.0)

    async def say() -> str:
        return str(await rehearsal.obstacle())

    return say


async def test_with_this_aiohttp_everything_protects() -> None:
    assert await rehearsal.obstacle() is None
    await rehearse_protections()


async def test_what_is_missing_is_named_with_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(server.NEEDED, RequestHandler, ("_messages", "_gone"))
    with pytest.raises(StartError) as refused:
        await rehearse_protections()
    assert str(refused.value) == (
        f"aiohttp {aiohttp.__version__} on Python {sys.version.split()[0]} has no RequestHandler._gone; "
        "install the version of aiohttp that requirements.lock names"
    )


@pytest.mark.parametrize(
    ("owner", "name", "what"),
    [
        (RequestHandler, "_keepalive_handle", "RequestHandler._keepalive_handle"),
        (RequestHandler, "_messages", "RequestHandler._messages"),
        (RequestHandler, "_process_keepalive", "RequestHandler._process_keepalive"),
        (web.StreamResponse, "_send_headers_immediately", "StreamResponse._send_headers_immediately"),
        (ClientRequest, "_continue", "ClientRequest._continue"),
        (TCPConnector, "_wrap_create_connection", "TCPConnector._wrap_create_connection"),
        (SSLProtocol, "_on_handshake_complete", "SSLProtocol._on_handshake_complete"),
    ],
)
async def test_an_inside_that_is_gone_is_named(
    monkeypatch: pytest.MonkeyPatch, broken: Broken, owner: type, name: str, what: str
) -> None:
    monkeypatch.delattr(owner, name)
    assert f"has no {what}" in await broken()


async def test_headers_without_a_time_out_are_noticed(monkeypatch: pytest.MonkeyPatch, broken: Broken) -> None:
    monkeypatch.setattr(RequestConnection, "await_head", lambda _self, _seconds: None)
    assert "a request's head is bounded in time" in await broken()


async def test_heads_that_time_out_unanswered_are_noticed(monkeypatch: pytest.MonkeyPatch, broken: Broken) -> None:
    """As where aiohttp calls what closes an idle connection by another name."""
    monkeypatch.setattr(RequestConnection, "_process_keepalive", RequestHandler._process_keepalive)
    assert "a request's head is bounded in time" in await broken()


async def test_headers_of_any_size_are_noticed(monkeypatch: pytest.MonkeyPatch, broken: Broken) -> None:
    monkeypatch.setattr(RequestConnection, "awaits_head", property(lambda _: False))
    assert "a request's head is bounded in size" in await broken()


async def test_a_filter_that_does_not_see_requests_is_noticed(monkeypatch: pytest.MonkeyPatch, broken: Broken) -> None:
    monkeypatch.setattr(RequestConnection, "queued_heads", lambda _: iter(()))
    assert "what is no HTTP is refused" in await broken()


async def test_a_parser_that_lets_more_pass_is_noticed(monkeypatch: pytest.MonkeyPatch, broken: Broken) -> None:
    take = RequestHandler.data_received

    def lenient(self: RequestHandler, data: bytes) -> None:
        take(self, data.replace(b"Content-Length :", b"Content-Length:"))

    monkeypatch.setattr(RequestHandler, "data_received", lenient)
    assert "what is no HTTP is refused" in await broken()


async def test_handshakes_without_a_bound_are_noticed(monkeypatch: pytest.MonkeyPatch, broken: Broken) -> None:
    def endless(
        self: ServerTls, protocol: asyncio.Protocol, context: Any, _seconds: float, begin: Any = ServerTls.__init__
    ) -> None:
        begin(self, protocol, context, 3600)

    monkeypatch.setattr(ServerTls, "__init__", endless)
    assert "a TLS handshake is bounded in time" in await broken()


async def test_handshakes_that_nobody_counts_are_noticed(monkeypatch: pytest.MonkeyPatch, broken: Broken) -> None:
    monkeypatch.setattr(ServerTls, "connection_made", SSLProtocol.connection_made)
    assert "a TLS handshake is bounded in time" in await broken()


async def test_an_answer_with_headers_of_aiohttps_is_noticed(monkeypatch: pytest.MonkeyPatch, broken: Broken) -> None:
    monkeypatch.setattr(ExactAnswer, "_prepare_headers", web.StreamResponse._prepare_headers)
    assert "requests and answers pass as they are" in await broken()


async def test_an_answer_whose_body_is_not_sent_is_noticed(monkeypatch: pytest.MonkeyPatch, broken: Broken) -> None:
    monkeypatch.setattr(ExactAnswer, "_start", web.StreamResponse._start)
    assert "requests and answers pass as they are" in await broken()


async def test_a_request_lost_behind_an_upgrade_is_noticed(monkeypatch: pytest.MonkeyPatch, broken: Broken) -> None:
    monkeypatch.setattr(RequestConnection, "last_is_truncated", property(lambda _: False))
    assert "a request behind an upgrade is heard" in await broken()


async def test_an_answer_to_no_question_is_noticed(monkeypatch: pytest.MonkeyPatch, broken: Broken) -> None:
    monkeypatch.setattr(AnswerReader, "takes", AnswerConnection.takes)
    monkeypatch.setattr(AnswerReader, "is_ready", AnswerConnection.is_ready)
    assert "an answer that nobody asked for is dropped" in await broken()


async def test_connections_of_another_class_are_noticed(monkeypatch: pytest.MonkeyPatch, broken: Broken) -> None:
    """As where aiohttp makes connections otherwise than with its factory."""
    monkeypatch.setattr(stage, "_Pool", TCPConnector)
    assert "an answer that nobody asked for is dropped" in await broken()


async def test_a_wait_for_continue_without_a_bound_is_noticed(monkeypatch: pytest.MonkeyPatch, broken: Broken) -> None:
    monkeypatch.setattr(BoundedContinueRequest, "continued", property(lambda _: None))
    assert "the wait for 100 Continue is bounded" in await broken()


async def test_reading_as_much_as_there_is_is_noticed(monkeypatch: pytest.MonkeyPatch, broken: Broken) -> None:
    monkeypatch.setattr(rehearsal, "read_at_once", lambda _transport, _size: None)
    assert "what is read ahead is bounded" in await broken()


async def test_a_rehearsal_leaves_no_trace_in_the_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[object] = []
    monkeypatch.setattr(listener, "count_request", lambda *about: counted.append(about))
    monkeypatch.setattr(AnswerReader, "surplus", lambda _: counted.append("surplus"))
    await rehearse_protections()
    assert not counted


def test_check_config_refuses_as_a_start_does(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load({"upstream": "http://127.0.0.1:1"}, {})
    check(config)
    monkeypatch.setattr(RequestConnection, "queued_heads", lambda _: iter(()))
    with pytest.raises(StartError, match="what is no HTTP is refused; install the version of aiohttp"):
        check(config)


@pytest.mark.parametrize("flags", [(), ("--check-config",)], ids=["start", "check"])
@pytest.mark.parametrize(
    ("sabotage", "sentence"),
    [
        (
            "import aiohttp.web_protocol as one; del one._ErrInfo",
            "cannot import name '_ErrInfo' from 'aiohttp.web_protocol'",
        ),
        ("from aiohttp.web_protocol import RequestHandler as one; del one._waiter", "has no RequestHandler._waiter"),
    ],
)
def test_the_command_refuses_to_start(sabotage: str, sentence: str, flags: tuple[str, ...], tmp_path: Path) -> None:
    program = f"{sabotage}\nimport runpy\nrunpy.run_module('proxy', run_name='__main__')"
    command = [sys.executable, "-c", program, "--upstream", "http://127.0.0.1:1", "--listen", "127.0.0.1:0", *flags]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    (line,) = (line for line in ended.stderr.splitlines() if line.startswith("twodfs-proxy: "))
    assert line.startswith(f"twodfs-proxy: aiohttp {aiohttp.__version__} on Python ")
    assert sentence in line
    assert line.endswith("; install the version of aiohttp that requirements.lock names")
