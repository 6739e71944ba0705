"""Handlers without a proxy around them: calls as handlers get them, and stand-ins for what is below."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from proxy.auth.identity import Identity
from proxy.bodies.idle_timeout import IdleTimeout
from proxy.clients.addresses import ClientAddresses
from proxy.handlers.exchange import Answer, Call, WholeBody
from proxy.handlers.headers import LocationRewriter
from proxy.handlers.relay import Relay
from proxy.requests.kinds import RegistryRequest
from proxy.requests.parsing import parse

LOCATIONS = LocationRewriter(["http://registry.example:5000"], ClientAddresses(public_url="https://us.example"))


def call_of(
    method: str, target: str, headers: dict[str, str] | None = None, identity: Identity | None = None
) -> Call[Any]:
    """Return the call that a handler gets for a request without a body."""
    http: web.BaseRequest = make_mocked_request(method, target, headers=headers or {})
    idle_timeout = IdleTimeout(client=60, upstream=60)
    return Call(parse(method, target), http, identity or Identity.of({}, "192.0.2.1"), idle_timeout)


def answer_of(status: int, body: bytes = b"", **headers: str) -> Answer:
    """Return an answer of a registry."""
    named = CIMultiDict((name.replace("_", "-"), value) for name, value in headers.items())
    return Answer(status, named, WholeBody(body), is_relayed=True)


def body_of(answer: Answer) -> bytes:
    """Return the bytes of an answer that are at hand."""
    assert isinstance(answer.body, WholeBody)
    return bytes(answer.body.content)


@dataclass
class StandInRelay(Relay):
    """Answers in the registry's place, by method and target; what it was asked is kept."""

    answers: Callable[[str, str], Answer | Exception]
    asked: list[tuple[str, str]] = field(default_factory=list)

    async def open(self, call: Call[RegistryRequest], request: RegistryRequest | None = None, **_: Any) -> Answer:
        asked = request or call.request
        self.asked.append((asked.method, asked.target))
        answer = self.answers(*self.asked[-1])
        if isinstance(answer, Exception):
            raise answer
        return replace(answer)

    async def answer(self, call: Call[RegistryRequest]) -> Answer:
        return await self.open(call)

    async def open_unless(self, status: int, call: Call[RegistryRequest]) -> Answer | None:
        answer = await self.open(call)
        return None if answer.status == status else answer
