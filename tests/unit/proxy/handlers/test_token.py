"""The token endpoint, over a registry that is its own token server."""

from collections.abc import Callable

import pytest
from aiohttp import web

from proxy.upstream.registry import Upstreams
from proxy.upstream.replies import UpstreamError
from tests.lab.exchanges import Handlers
from tests.lab.fake_registry import FakeRegistry


class Realm:
    """A registry that names a token server, and answers as that."""

    def __init__(self, registry: FakeRegistry, challenge: str = 'Bearer realm="{url}/token?service=x"') -> None:
        self._registry = registry
        self._challenge = challenge
        self.asked: list[tuple[str, str, bytes]] = []
        self.answer: Callable[[], web.Response] = web.Response

    async def __call__(self, request: web.Request) -> web.Response | None:
        if request.path != "/token":
            headers = {"WWW-Authenticate": self._challenge.format(url=self._registry.url)}
            return web.Response(status=401, headers=headers)
        self.asked.append((request.method, request.path_qs, await request.read()))
        return self.answer()


@pytest.fixture
def realm(registry: FakeRegistry) -> Realm:
    registry.interpose = made = Realm(registry)
    return made


@pytest.fixture
def tokens(upstreams: Upstreams) -> Handlers:
    return Handlers.over(upstreams, has_tokens=True)


async def test_a_request_for_a_token_goes_to_the_registrys_realm(realm: Realm, tokens: Handlers) -> None:
    realm.answer = lambda: web.json_response({"token": "t"}, headers={"X-Odd": "1"})
    got = await tokens.answer("GET", "/twodfs/token?scope=a&account=b", {"Authorization": "Basic eDp5", "Cookie": "c"})
    assert (got.status, got.body) == (200, b'{"token": "t"}')
    assert got.headers["Cache-Control"] == "no-store"
    assert "X-Odd" not in got.headers
    assert realm.asked == [("GET", "/token?service=x&scope=a&account=b", b"")]


async def test_a_form_is_passed_on(realm: Realm, tokens: Handlers) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    await tokens.answer("POST", "/twodfs/token", form, b"grant_type=password")
    assert realm.asked == [("POST", "/token?service=x", b"grant_type=password")]


async def test_the_realm_is_learnt_once(registry: FakeRegistry, realm: Realm, tokens: Handlers) -> None:
    for _ in range(3):
        await tokens.answer("GET", "/twodfs/token")
    assert len(registry.asked("GET", "/v2/")) == 1
    assert len(realm.asked) == 3


@pytest.mark.parametrize(
    ("challenge", "status", "said"),
    [
        ("Basic realm=x", 404, "names no token server"),
        ('Bearer realm="http://elsewhere.example/t"', 502, "is not the registry's own host and port"),
    ],
)
async def test_credentials_go_nowhere_else(
    registry: FakeRegistry, tokens: Handlers, challenge: str, status: int, said: str
) -> None:
    registry.interpose = Realm(registry, challenge)
    with pytest.raises(UpstreamError, match=said) as refused:
        await tokens.answer("GET", "/twodfs/token")
    assert refused.value.status == status


async def test_no_redirect_is_followed(realm: Realm, tokens: Handlers) -> None:
    realm.answer = lambda: web.Response(status=302, headers={"Location": "/elsewhere"})
    with pytest.raises(UpstreamError, match="redirects; credentials are not sent after it"):
        await tokens.answer("GET", "/twodfs/token")


async def test_both_directions_are_bounded(realm: Realm, tokens: Handlers) -> None:
    with pytest.raises(UpstreamError, match="longer than 65536 bytes") as refused:
        await tokens.answer("POST", "/twodfs/token", {}, b"x" * 65537)
    assert refused.value.status == 413
    realm.answer = lambda: web.Response(body=b"x" * (2**20 + 1))
    with pytest.raises(UpstreamError, match="longer than 1048576 bytes"):
        await tokens.answer("GET", "/twodfs/token")


async def test_other_methods_are_refused(realm: Realm, tokens: Handlers) -> None:
    with pytest.raises(UpstreamError, match="GET or POST") as refused:
        await tokens.answer("DELETE", "/twodfs/token")
    assert refused.value.status == 405
    assert not realm.asked


async def test_without_an_endpoint_the_path_is_the_registrys(registry: FakeRegistry, handlers: Handlers) -> None:
    got = await handlers.answer("GET", "/twodfs/token")
    assert (got.status, got.is_relayed) == (404, True)
    assert [one.path for one in registry.requests] == ["/twodfs/token"]
