"""The way of a request, over a real socket and with handlers that a test decides."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDict

from proxy.auth.access_control import DeniedError, PassThrough
from proxy.bodies.idle_timeout import IdleTimeout
from proxy.clients.addresses import ClientAddresses
from proxy.clients.limits import RequestLimits, TooManyRequestsError
from proxy.config import LimitsConfig, UpstreamConfig, load
from proxy.handlers.access_log import AccessLog
from proxy.handlers.dispatcher import Dispatcher, ServedRegistry, table_of_kinds
from proxy.handlers.exchange import Answer, Call, Route, Routes, WholeBody
from proxy.handlers.headers import LocationRewriter
from proxy.metrics.catalogue import BROKEN_TRANSFERS, REQUESTS
from proxy.repository import DEFAULT_UPSTREAM
from proxy.requests import kinds
from proxy.requests.choice import RegistryChoice
from proxy.requests.kinds import (
    InvalidRequest,
    ManifestWrite,
    Other,
    PartitionPull,
    RegistryRequest,
    TokenEndpointRequest,
)
from proxy.wire.connections import ClientConnections
from proxy.wire.listener import Listener
from proxy.wire.responses import OutgoingResponse

PARTITION = "/v2/a/manifests/v1--0.0.0.0"
Handles = Callable[[Call[Any]], Awaitable[Answer]]


@dataclass
class Source:
    """Another source of bytes than the proxy has so far."""

    pieces: list[bytes | Exception] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    stays_silent: bool = False

    async def send(self, response: OutgoingResponse, _: web.BaseRequest, idle_timeout: IdleTimeout) -> None:
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            idle_timeout.for_client()
            await response.send(piece)
            await response.flush()
        idle_timeout.for_upstream()
        if self.stays_silent:
            await asyncio.Event().wait()

    async def close(self) -> None:
        self.closed.set()


def plain(status: int = 200, body: bytes = b"fine", *, is_relayed: bool = False, **more: Any) -> Answer:
    headers = CIMultiDict({"Content-Length": str(len(body))})
    return Answer(status, headers, WholeBody(body), is_relayed=is_relayed, **more)


async def fine(_: Call[Any]) -> Answer:
    return plain()


class Account(AccessLog):
    """An access log that says when a request is over."""

    def __init__(self) -> None:
        super().__init__(load({"upstream.url": "http://registry.example"}, {}))
        self.closed = asyncio.Event()

    def close(self, *about: Any) -> None:
        super().close(*about)
        self.closed.set()


@contextlib.asynccontextmanager
async def dispatched(
    handles: Handles,
    routes: Routes | None = None,
    *,
    seconds: float = 60,
    authenticator: Any = None,
    account: AccessLog | None = None,
    **limits: int,
) -> AsyncIterator[str]:
    """Serve with one handler for everything, and yield the origin."""
    clients = ClientAddresses()
    served = ServedRegistry(
        routes or dict.fromkeys(every_kind(), Route(handles, takes_body=True)),
        authenticator or PassThrough(None),
        LocationRewriter(["http://registry.example"], clients),
        seconds,
        RequestLimits(LimitsConfig(**limits)),
    )
    dispatcher = Dispatcher(
        {DEFAULT_UPSTREAM: served},
        RegistryChoice({DEFAULT_UPSTREAM: UpstreamConfig(url="http://registry.example")}),
        clients=clients,
        access_log=account or Account(),
        client_timeout=seconds,
    )
    listener = Listener(dispatcher, keepalive_timeout=60, header_timeout=60, connections=ClientConnections(100))
    runner = web.ServerRunner(listener, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        assert not dispatcher.in_flight
    finally:
        await runner.cleanup()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


def every_kind() -> set[type[RegistryRequest]]:
    return {
        one
        for one in vars(kinds).values()
        if isinstance(one, type) and issubclass(one, RegistryRequest) and one not in (RegistryRequest, InvalidRequest)
    }


@pytest.mark.parametrize("has_attached", [True, False])
def test_every_kind_of_request_has_its_place_in_the_table(*, has_attached: bool) -> None:
    anything: Any = object()
    relay: Any = type("Relay", (), {"answer": fine})()
    table = table_of_kinds(
        relay=relay,
        sources=anything,
        partitions=anything,
        lookalikes=anything,
        attached=anything if has_attached else None,
        completion=anything,
        tokens=None,
        locations=anything,
        max_manifest=1,
    )
    assert set(table) == every_kind()


def counted(kind: str, method: str, status: int) -> float:
    return REQUESTS.of(kind, method, str(status)).value


async def test_a_request_that_is_too_much_is_counted_under_its_kind(session: aiohttp.ClientSession) -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def slow(_: Call[Any]) -> Answer:
        begun.set()
        await may_end.wait()
        return plain()

    before = [counted(kind, "GET", 429) for kind in ("partition", "blob", "invalid")]
    async with dispatched(slow, requests_per_client=1) as url, asyncio.TaskGroup() as tasks:
        first = tasks.create_task(fetch(session, f"{url}{PARTITION}"))
        await begun.wait()
        for target in (PARTITION, f"/v2/a/blobs/sha256:{0:064}", "/v2/A/manifests/v1"):
            status, headers, _ = await fetch(session, f"{url}{target}")
            assert (status, headers["Retry-After"]) == (429, "1")
            assert headers["X-Request-Id"]
        may_end.set()
    assert first.result()[0] == 200
    assert [counted(kind, "GET", 429) for kind in ("partition", "blob", "invalid")] == [one + 1 for one in before]


async def fetch(
    session: aiohttp.ClientSession, url: str, method: str = "GET", **more: Any
) -> tuple[int, CIMultiDict[str], bytes]:
    async with session.request(method, url, **more) as answer:
        return answer.status, CIMultiDict(answer.headers), await answer.read()


async def test_a_call_says_what_is_asked_for_and_by_whom(session: aiohttp.ClientSession) -> None:
    calls: list[Call[Any]] = []

    async def kept(call: Call[Any]) -> Answer:
        calls.append(call)
        return plain()

    async with dispatched(kept) as url:
        await fetch(session, f"{url}{PARTITION}", headers={"Authorization": "Basic x"})
    (call,) = calls
    assert isinstance(call.request, PartitionPull)
    assert call.request.target == call.http.raw_path == PARTITION
    assert call.identity.headers == {"Authorization": "Basic x"}
    assert call.identity.client == "127.0.0.1"


async def test_what_breaks_the_grammar_reaches_no_handler(session: aiohttp.ClientSession) -> None:
    before = counted("invalid", "GET", 400)

    async def never(_: Call[Any]) -> Answer:
        raise AssertionError

    async with dispatched(never) as url:
        status, _, body = await fetch(session, f"{url}/v2/a/manifests/.bad")
    assert (status, json.loads(body)["errors"][0]["code"]) == (400, "TAG_INVALID")
    assert counted("invalid", "GET", 400) == before + 1


async def test_a_body_goes_to_the_relay_but_for_kinds_that_take_one(session: aiohttp.ClientSession) -> None:
    seen: list[str] = []

    def named(name: str) -> Handles:
        async def handle(call: Call[Any]) -> Answer:
            await call.http.read()
            seen.append(name)
            return plain()

        return handle

    routes: dict[type[RegistryRequest], Route] = {
        PartitionPull: Route(named("partition")),
        ManifestWrite: Route(named("write"), takes_body=True),
        Other: Route(named("relay"), takes_body=True),
    }
    async with dispatched(fine, routes) as url:
        await fetch(session, f"{url}{PARTITION}")
        await fetch(session, f"{url}{PARTITION}", data=b"odd")
        await fetch(session, f"{url}/v2/a/manifests/v1", "PUT", data=b"{}")
    assert seen == ["partition", "relay", "write"]


async def test_nobody_has_to_be_let_in_for_a_public_kind_alone(session: aiohttp.ClientSession) -> None:
    class Closed:
        async def enter(self, *_: Any) -> Any:
            raise DeniedError(401, "UNAUTHORIZED", "authentication required", [("WWW-Authenticate", "Basic")])

    routes: dict[type[RegistryRequest], Route] = {
        TokenEndpointRequest: Route(fine, takes_body=True, is_public=True),
        Other: Route(fine, takes_body=True),
    }
    async with dispatched(fine, routes, authenticator=Closed()) as url:
        assert (await fetch(session, f"{url}/twodfs/token", "POST", data=b"x"))[0] == 200
        status, headers, body = await fetch(session, f"{url}/v2/_catalog")
    assert (status, headers["WWW-Authenticate"]) == (401, "Basic")
    assert json.loads(body)["errors"][0]["code"] == "UNAUTHORIZED"


async def test_answers_of_ours_name_the_request_and_the_registrys_do_not(session: aiohttp.ClientSession) -> None:
    async def either(call: Call[Any]) -> Answer:
        if call.request.target == "/v2/broken":
            raise ValueError("a defect")
        return plain(is_relayed=call.request.target == "/v2/theirs")

    named = {"X-Request-Id": "me-1"}
    async with dispatched(either) as url:
        assert (await fetch(session, f"{url}/v2/", headers=named))[1]["X-Request-Id"] == "me-1"
        assert "X-Request-Id" not in (await fetch(session, f"{url}/v2/theirs", headers=named))[1]
        status, headers, body = await fetch(session, f"{url}/v2/broken", headers=named)
    assert (status, headers["X-Request-Id"]) == (500, "me-1")
    assert b"a defect" not in body


async def test_a_source_of_any_kind_is_sent_and_closed(session: aiohttp.ClientSession) -> None:
    source = Source([b"one ", b"two"])

    async def growing(_: Call[Any]) -> Answer:
        return Answer(200, CIMultiDict(), source)

    async with dispatched(growing) as url:
        assert (await fetch(session, f"{url}/v2/"))[2] == b"one two"
    assert source.closed.is_set()


@pytest.mark.parametrize("error", [aiohttp.ClientPayloadError("short"), ConnectionResetError("gone")])
@pytest.mark.parametrize("is_relayed", [True, False])
async def test_an_answer_that_breaks_off_does_not_look_whole(
    session: aiohttp.ClientSession, error: Exception, *, is_relayed: bool
) -> None:
    reason = "short" if isinstance(error, aiohttp.ClientPayloadError) else "broke_off"
    before = BROKEN_TRANSFERS.of(reason).value
    source = Source([b"one", error])

    async def breaking(_: Call[Any]) -> Answer:
        return Answer(200, CIMultiDict({"Content-Length": "6"}), source, is_relayed=is_relayed)

    async with dispatched(breaking) as url:
        with pytest.raises(aiohttp.ClientError):
            await fetch(session, f"{url}/v2/")
    assert source.closed.is_set()
    assert BROKEN_TRANSFERS.of(reason).value == before + is_relayed


async def test_an_answer_whose_source_stays_silent_ends_in_time(session: aiohttp.ClientSession) -> None:
    before = BROKEN_TRANSFERS.of("upstream").value
    source = Source([b"one"], stays_silent=True)

    async def silent(_: Call[Any]) -> Answer:
        return Answer(200, CIMultiDict(), source, is_relayed=True)

    async with dispatched(silent, seconds=0.2) as url:
        with pytest.raises(aiohttp.ClientError):
            await fetch(session, f"{url}/v2/")
    assert source.closed.is_set()
    assert BROKEN_TRANSFERS.of("upstream").value == before + 1


async def test_a_client_that_leaves_closes_what_it_was_sent() -> None:
    source = Source([b"one"], stays_silent=True)

    async def silent(_: Call[Any]) -> Answer:
        return Answer(200, CIMultiDict(), source, is_relayed=True)

    async with dispatched(silent) as url:
        reader, writer = await connect(url)
        writer.write(b"GET /v2/ HTTP/1.1\r\nHost: h\r\n\r\n")
        await reader.readuntil(b"one")
        writer.close()
        async with asyncio.timeout(30):
            await source.closed.wait()


async def connect(url: str, receive_buffer: int | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = url.removeprefix("http://").rpartition(":")
    plug = socket.socket()
    if receive_buffer is not None:
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    plug.setblocking(False)  # noqa: FBT003 - its own
    await asyncio.get_running_loop().sock_connect(plug, (host, int(port)))
    return await asyncio.open_connection(sock=plug)


@pytest.mark.parametrize("is_refusal", [True, False])
async def test_an_answer_that_is_not_taken_has_its_time_whoever_gives_it(
    monkeypatch: pytest.MonkeyPatch, *, is_refusal: bool
) -> None:
    """Refusals of requests that were not admitted, too, which once could wait for ever."""
    large = "x" * 2**24

    async def whole(_: Call[Any]) -> Answer:
        if is_refusal:
            raise TooManyRequestsError(large)
        return plain(body=large.encode())

    def refused(*_: Any) -> Any:
        raise TooManyRequestsError(large)

    account = Account()
    monkeypatch.setattr("proxy.handlers.errors.oci_errors", lambda _, message: message.encode())
    if is_refusal:
        monkeypatch.setattr(RequestLimits, "admit", refused)
    async with dispatched(whole, seconds=0.3, account=account) as url:
        reader, writer = await connect(url, receive_buffer=4096)
        writer.write(b"GET /v2/ HTTP/1.1\r\nHost: h\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 429" if is_refusal else b"HTTP/1.1 200")
        writer.transport.pause_reading()  # type: ignore[attr-defined] # a client that reads no more
        async with asyncio.timeout(30):
            await account.closed.wait()
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        with contextlib.suppress(ConnectionError):
            assert len(await reader.read()) < len(large)
        writer.close()


async def test_an_answer_that_http_cannot_write_is_a_defect_that_is_told(session: aiohttp.ClientSession) -> None:
    async def odd(_: Call[Any]) -> Answer:
        return plain(reason="OK\r\nX-Evil: 1", is_relayed=True)

    async with dispatched(odd) as url:
        status, headers, body = await fetch(session, f"{url}/v2/")
    assert status == 500
    assert "X-Evil" not in headers
    assert json.loads(body)["errors"][0]["code"] == "UNKNOWN"


async def test_the_connection_ends_with_an_answer_that_says_so(session: aiohttp.ClientSession) -> None:
    async def last(_: Call[Any]) -> Answer:
        return plain(ends_connection=True)

    async with dispatched(last) as url:
        assert (await fetch(session, f"{url}/v2/"))[1]["Connection"] == "close"
    async with dispatched(fine) as url:
        assert "Connection" not in (await fetch(session, f"{url}/v2/"))[1]
