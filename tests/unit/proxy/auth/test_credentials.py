"""Tokens of ECR, from an API over a real socket whose answers a test decides."""

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from aiohttp import web

from proxy.auth.credentials import CredentialsError, Ecr
from proxy.config import CredentialsConfig
from tests.lab.fake_registry import served

HOUR = 3600.0


@dataclass
class Clock:
    """Stands in for the module `time`; moto and Amazon count from the epoch."""

    now: float = 1_700_000_000.0

    def time(self) -> float:
        return self.now


@dataclass
class Api:
    clock: Clock
    url: str = ""
    asked: int = 0
    lifetime: float = 12 * HOUR
    is_down: bool = False
    token: bytes = b""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        assert request.headers["X-Amz-Target"].endswith("GetAuthorizationToken")
        self.asked += 1
        if self.is_down:
            return web.json_response({"__type": "AccessDeniedException", "message": "no"}, status=400)
        token = self.token or base64.b64encode(b"AWS:token-%d" % self.asked)
        data = {"authorizationToken": token.decode(), "expiresAt": self.clock.now + self.lifetime}
        return web.json_response({"authorizationData": [data]})


@pytest.fixture
async def api(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    clock = Clock()
    monkeypatch.setattr("proxy.auth.credentials.time", clock)
    made = Api(clock)
    async with served(made.answer) as url:
        made.url = url
        yield made


def ecr(api: Api) -> Ecr:
    return Ecr(CredentialsConfig(kind="ecr", ecr_region="eu-central-1", ecr_endpoint=api.url))


async def password(source: Ecr, *, fresh: bool = False) -> str:
    found = await source(fresh)
    assert found.username == "AWS"
    return found.password


async def test_a_token_is_exchanged_an_hour_before_its_end(api: Api) -> None:
    source = ecr(api)
    assert await password(source) == "token-1"
    api.clock.now += 11 * HOUR - 1
    assert await password(source) == "token-1"
    api.clock.now += 2
    assert await password(source) == "token-2"


async def test_a_short_lived_token_is_exchanged_at_half_its_life(api: Api) -> None:
    api.lifetime = 600
    source = ecr(api)
    assert await password(source) == "token-1"
    api.clock.now += 299
    assert await password(source) == "token-1"
    api.clock.now += 2
    assert await password(source) == "token-2"


async def test_while_the_api_is_down_the_token_of_before_serves_on_to_its_end(api: Api) -> None:
    source = ecr(api)
    await password(source)
    api.is_down = True
    api.clock.now += 11.5 * HOUR
    for _ in range(3):
        assert await password(source) == "token-1"
    assert api.asked == 2
    api.clock.now += 0.5 * HOUR
    with pytest.raises(CredentialsError, match=r"the ECR API gave no token: ClientError: .*AccessDenied"):
        await source(False)  # noqa: FBT003 - the protocol of a source
    api.is_down = False
    assert await password(source) == "token-4"


async def test_a_token_that_was_refused_is_exchanged_at_once(api: Api) -> None:
    source = ecr(api)
    assert [await password(source), await password(source, fresh=True)] == ["token-1", "token-2"]


async def test_an_answer_that_is_no_token_is_an_error_without_it(api: Api) -> None:
    for token in (b"!planted!", base64.b64encode(b"planted"), base64.b64encode(b"AWS:")):
        api.token = token
        with pytest.raises(CredentialsError) as refused:
            await ecr(api)(False)  # noqa: FBT003
        assert str(refused.value) == "the ECR API gave no token: its answer is malformed"


def test_a_region_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(CredentialsError, match="NoRegionError"):
        Ecr(CredentialsConfig(kind="ecr"))
