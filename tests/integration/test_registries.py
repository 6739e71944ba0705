"""Three real registries behind one process: each request gets to the right one, and nothing of it to another."""

import json
import re
from collections.abc import Iterator

import pytest

from tests.lab.caller import ACCEPT, Caller
from tests.lab.proxy import Proxy
from tests.lab.registries import (
    EVERY_WAY,
    HOSTS,
    HUB,
    MODELS,
    NAMES,
    NAMESPACES,
    PASSWORDS,
    PULL,
    SHELF_LOGIN,
    TOKENS,
    Registries,
    Way,
)
from tests.lab.registry_client import Answer, RegistryClient, basic
from tests.lab.token_server import IDENTITY_TOKEN, LOGIN, SERVICE


@pytest.fixture(scope="module", params=["upstream", "proxy"])
def realm(request: pytest.FixtureRequest) -> str:
    """Where clients of the registry with a token server get their tokens."""
    return str(request.param)


@pytest.fixture(scope="module")
def proxy(registries: Registries, realm: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    config = registries.config(realm=realm, more='trusted_proxies = ["127.0.0.2/32"]')
    with Proxy.start(tmp_path_factory.mktemp("proxy"), registries.default.url, config=config) as started:
        yield started


@pytest.fixture
def client(proxy: Proxy) -> Iterator[RegistryClient]:
    with RegistryClient(proxy.url) as connection:
        yield connection


def ask(client: RegistryClient, way: Way, target: str, method: str = "GET", **headers: str) -> Answer:
    return client.request(method, way.target(target), headers={"Accept": ACCEPT, **way.headers, **headers})


def authorization(way: Way, proxy: Proxy, scope: str) -> str:
    """Return what the registry at the end of a way takes; the token comes from where its challenge says."""
    if way.registry == PASSWORDS:
        return basic(*SHELF_LOGIN)
    if way.registry == HUB:
        return ""
    with RegistryClient(proxy.url) as client:
        challenge = ask(client, way, "/v2/").headers["www-authenticate"]
    realm = parameters(challenge)["realm"]
    if way.kind == "host":
        realm = realm.replace(HOSTS[TOKENS], proxy.address)
    return f"Bearer {Caller(proxy.url, LOGIN).token(realm, SERVICE, scope)}"


def parameters(challenge: str) -> dict[str, str]:
    return dict(re.findall(r'(\w+)="([^"]*)"', challenge))


@pytest.mark.parametrize("way", EVERY_WAY, ids=str)
def test_a_request_gets_to_the_registry_that_it_names(
    registries: Registries, proxy: Proxy, client: RegistryClient, realm: str, way: Way
) -> None:
    before = registries.asked()
    called = "hub/library/model" if way == Way("prefix", HUB) else "library/model"
    scope = f"repository:{TOKENS}/library/model:pull" if way.kind == "prefix" else f"repository:{called}:pull"
    if realm == "upstream":
        scope = "repository:library/model:pull"
    given = {"Authorization": authorization(way, proxy, scope)} if way.registry != HUB else {}
    answer = ask(client, way, PULL, **given)
    assert (answer.status, answer.headers["docker-content-digest"]) == (200, MODELS[way.registry].digest), answer.body
    cut = ask(client, way, f"{PULL}--0.0.0.0", **given)
    assert cut.status == 200, cut.body
    entry = json.loads(cut.body)["manifests"][0]["digest"]
    child = json.loads(ask(client, way, f"/v2/library/model/manifests/{entry}", **given).body)
    base = MODELS[way.registry].platform().base[0].blob.digest
    assert base in [one["digest"] for one in child["layers"]]
    mine = {way.registry, "tokens"} if way.registry == TOKENS else {way.registry}
    assert {name for name, count in registries.asked().items() if count != before[name]} == mine


@pytest.mark.parametrize("way", EVERY_WAY, ids=str)
def test_each_registry_challenges_for_itself_and_its_tokens_come_from_its_own_server(
    registries: Registries, proxy: Proxy, client: RegistryClient, realm: str, way: Way
) -> None:
    before = registries.asked()
    expected = {PASSWORDS: 401, TOKENS: 401, HUB: 200}[way.registry]
    for target in ("/v2/", PULL):
        answer = ask(client, way, target)
        assert answer.status == expected
        challenge = answer.headers.get("www-authenticate", "")
        if way.registry == PASSWORDS:
            assert challenge == 'Basic realm="lab"'
        if way.registry != TOKENS:
            continue
        said = parameters(challenge)
        origin = HOSTS[TOKENS] if way.kind == "host" else proxy.address
        ours = f"http://{origin}/twodfs/token/{TOKENS}{f'/{TOKENS}' * (way.kind == 'prefix')}"
        assert said["realm"] == (ours if realm == "proxy" else registries.tokens.url)
        if target == PULL:
            called = f"{TOKENS}/library/model" if way.kind == "prefix" and realm == "proxy" else "library/model"
            assert said["scope"] == f"repository:{called}:pull"
    asked = registries.asked()
    assert [name for name in NAMES if asked[name] != before[name]] == [way.registry]


@pytest.mark.parametrize("name", [PASSWORDS, HUB])
def test_there_is_no_way_to_a_token_server_through_a_registry_that_has_none(
    registries: Registries, client: RegistryClient, name: str
) -> None:
    before = registries.asked()
    login = {"Authorization": basic(*LOGIN)}
    for target in (f"/twodfs/token/{name}", f"/twodfs/token/{name}/{TOKENS}", f"/twodfs/token?ns={NAMESPACES[name]}"):
        answer = client.request("GET", f"{target}{'&' if '?' in target else '?'}service={SERVICE}", headers=login)
        assert answer.status in (401, 404), target
    assert registries.asked()["tokens"] == before["tokens"]
    assert registries.asked()[TOKENS] == before[TOKENS]


def test_scopes_of_a_client_that_uses_a_prefix_are_those_of_the_registry(
    registries: Registries, proxy: Proxy, realm: str
) -> None:
    """In the query and in a form; what is not about a repository with the prefix stays as it was written."""
    place = f"/twodfs/token/{TOKENS}/{TOKENS}"
    asked = "scope=repository:vault/a/b:pull%20repository:vault/vault/c:pull&scope=repository:d:pull&x=%41+%2b&scope"
    heard = [["repository:a/b:pull repository:vault/c:pull", "repository:d:pull"], ["A +"]]
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    body = f"service={SERVICE}&refresh_token={IDENTITY_TOKEN}&{asked}".encode()
    with RegistryClient(proxy.url) as client:
        answers = [
            client.request("GET", f"{place}?service={SERVICE}&{asked}", headers={"Authorization": basic(*LOGIN)}),
            client.request("POST", place, headers=form, body=body),
        ]
    if realm == "upstream":
        assert [one.status for one in answers] == [404, 404]
        return
    assert [one.status for one in answers] == [200, 200]
    for got in registries.tokens.requests[-2:]:
        assert [got.parameters["scope"], got.parameters["x"]] == heard
