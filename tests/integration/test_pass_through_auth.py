"""The registry is the door: real ones, with tokens and with passwords, and whom they let in through us."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab.caller import Caller, Partition
from tests.lab.command import CommandError
from tests.lab.engines import DockerEngine, PullFailed, Skopeo
from tests.lab.images import PushedImage, push_field_image
from tests.lab.peers import require
from tests.lab.proxy import Proxy
from tests.lab.redis import Redis
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient
from tests.lab.token_server import (
    IDENTITY_TOKEN,
    ISSUER,
    LOGIN,
    OTHER_LOGIN,
    SERVICE,
    TokenServer,
    token_server,
)
from tests.lab.waiting import wait_until

CELLS = {(row, col): {f"m/{row}-{col}": b"%d.%d" % (row, col)} for row in range(3) for col in range(3)}
TAG = "v1--0.0.1.1"
REFUSED = {401, 403}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PushedImage]:
    """A registry's directory with a private image in it; registries start on it with their own locks."""
    require("docker-registry")
    directory = tmp_path_factory.mktemp("private")
    with Registry.start(directory) as registry:
        return directory, push_field_image(registry.url, "team/model", "v1", cells=CELLS)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenServer]:
    with token_server(tmp_path_factory.mktemp("tokens")) as started:
        yield started


@pytest.fixture(scope="module")
def registry(filled: tuple[Path, PushedImage], tokens: TokenServer) -> Iterator[Registry]:
    with Registry.start(filled[0], extra_config=tokens.registry_config()) as started:
        yield started


@pytest.fixture
def image(filled: tuple[Path, PushedImage]) -> PushedImage:
    return filled[1]


def through_us(tokens: TokenServer) -> str:
    """Return the configuration that sends clients to our own token endpoint."""
    host = tokens.url.removeprefix("http://").partition("/")[0]
    return f'[auth]\nrealm = "proxy"\nrealm_hosts = ["{host}"]\n'


def offline(tokens: TokenServer, more: str = "") -> str:
    return (
        f'{more}[auth.token]\nkeys = "{tokens.certificate}"\nissuer = "{ISSUER}"\naudience = "{SERVICE}"\nleeway = 0\n'
    )


MODES: dict[str, Callable[[TokenServer], str]] = {
    "realm upstream": lambda _: "",
    "realm proxy": through_us,
    "offline": offline,
}


@pytest.mark.parametrize("mode", MODES)
def test_docker_logs_in_and_pulls_a_partition_with_tokens(
    tmp_path: Path,
    tokens: TokenServer,
    registry: Registry,
    image: PushedImage,
    docker_engine: DockerEngine,
    mode: str,
) -> None:
    with Proxy.start(tmp_path, registry.url, config=MODES[mode](tokens)) as proxy:
        reference = image.reference(proxy.address, TAG)
        with pytest.raises(PullFailed):
            docker_engine.pull(reference)
        with pytest.raises(CommandError, match=r"(?i)unauthorized"):
            docker_engine.log_in(proxy.address, LOGIN[0], "wr0ng")
        docker_engine.log_in(proxy.address, *OTHER_LOGIN)
        with pytest.raises(PullFailed, match=r"denied|unauthorized"):
            docker_engine.pull(reference)
        docker_engine.log_in(proxy.address, *LOGIN)
        docker_engine.pull(reference)
        assert docker_engine.files(reference) == image.files(image.select((0, 0, 1, 1)))
        docker_engine.remove(reference)
        docker_engine.log_out(proxy.address)


def test_docker_logs_in_and_pulls_a_partition_with_a_password(
    tmp_path: Path, filled: tuple[Path, PushedImage], docker_engine: DockerEngine
) -> None:
    directory, image = filled
    with (
        Registry.start(directory, htpasswd=dict([LOGIN])) as registry,
        Proxy.start(tmp_path, registry.url) as proxy,
    ):
        reference = image.reference(proxy.address, TAG)
        with pytest.raises(CommandError, match=r"(?i)unauthorized"):
            docker_engine.log_in(proxy.address, *OTHER_LOGIN)
        docker_engine.log_in(proxy.address, *LOGIN)
        docker_engine.pull(reference)
        assert docker_engine.files(reference) == image.files(image.select((0, 0, 1, 1)))
        docker_engine.remove(reference)
        docker_engine.log_out(proxy.address)
        partition = Partition.read(Caller(proxy.url, LOGIN), image, TAG)
        for stranger in (
            Caller(proxy.url, OTHER_LOGIN),
            Caller(proxy.url, (LOGIN[0], "wr0ng")),
            Caller(proxy.url),
        ):
            assert partition.statuses(stranger) == {401}


def test_skopeo_pulls_where_only_our_token_endpoint_can_be_reached(
    tmp_path: Path, tokens: TokenServer, registry: Registry, image: PushedImage, skopeo_engine: Skopeo
) -> None:
    with Proxy.start(tmp_path, registry.url, config=through_us(tokens)) as proxy:
        skopeo_engine.login(proxy.address, *LOGIN)
        reference = image.reference(proxy.address, TAG)
        skopeo_engine.pull(reference)
        assert skopeo_engine.files(reference) == image.files(image.select((0, 0, 1, 1)))
        caller = Caller(proxy.url, LOGIN)
        assert caller.read(f"/v2/{image.repository}/manifests/{TAG}").status == 200
        assert caller.realms == [f"{proxy.url}/twodfs/token"]


def test_the_token_endpoint_passes_on_refusals_and_identity_tokens(
    tmp_path: Path, tokens: TokenServer, registry: Registry
) -> None:
    """It learns the realm by itself: nobody was challenged before."""
    with (
        Proxy.start(tmp_path, registry.url, config=through_us(tokens)) as proxy,
        RegistryClient(proxy.url) as client,
    ):
        query = f"/twodfs/token?service={SERVICE}&scope=repository:team/model:pull"
        answer = client.request("GET", query)
        assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
        wrong = client.request("GET", query, headers={"Authorization": "Basic d3Jvbmc6d3Jvbmc="})
        assert (wrong.status, b"who are you?" in wrong.body) == (401, True)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        body = f"grant_type=refresh_token&service={SERVICE}&client_id=x&scope=repository:team/model:pull"
        refreshed = client.request(
            "POST", "/twodfs/token", headers=form, body=f"{body}&refresh_token={IDENTITY_TOKEN}".encode()
        )
        assert "access_token" in json.loads(refreshed.body)
        assert client.request("PUT", "/twodfs/token", body=b"x").status == 405
    with (
        Proxy.start(tmp_path, registry.url, config=through_us(tokens)) as proxy,
        RegistryClient(proxy.url) as client,
    ):
        assert client.request("POST", "/twodfs/token", headers=form, body=b"a=" + b"b" * 70_000).status == 413


def test_a_realm_that_is_not_listed_is_neither_rewritten_nor_forwarded_to(
    tmp_path: Path, tokens: TokenServer, registry: Registry
) -> None:
    asked = len(tokens.requests)
    with (
        Proxy.start(tmp_path, registry.url, config='[auth]\nrealm = "proxy"\n') as proxy,
        RegistryClient(proxy.url, LOGIN) as client,
    ):
        challenge = client.request("GET", "/v2/").headers["www-authenticate"]
        assert f'realm="{tokens.url}"' in challenge
        answer = client.request("GET", "/twodfs/token?service=x")
        assert (answer.status, b"in auth.realm_hosts" in answer.body) == (502, True)
    assert len(tokens.requests) == asked


@pytest.mark.parametrize("mode", MODES)
def test_the_second_user_is_refused_everything_right_after_the_first_filled_every_cache(
    tmp_path: Path,
    tokens: TokenServer,
    registry: Registry,
    image: PushedImage,
    redis_server: Redis,
    mode: str,
) -> None:
    settings = f'[cache]\nredis_url = "{redis_server.url}"\ntag_ttl = 3600\n{MODES[mode](tokens)}'
    if "[auth]" not in settings:
        settings += "[auth]\nttl = 3600\n"
    with ExitStack() as stack:
        directories = [tmp_path / name for name in ("one", "two")]
        for directory in directories:
            directory.mkdir()
        proxies = [
            stack.enter_context(Proxy.start(directory, registry.url, config=settings)) for directory in directories
        ]
        partition = Partition.read(Caller(proxies[0].url, LOGIN), image, TAG)
        for proxy in proxies:
            ann, bob, anonymous = (Caller(proxy.url, login) for login in (LOGIN, OTHER_LOGIN, None))
            assert partition.statuses(bob) <= REFUSED
            assert partition.statuses(anonymous) <= REFUSED
            assert partition.statuses(ann) == {200}
            # A token for what is Bob's own does not open what is Ann's.
            own = bob.token(tokens.url, SERVICE, "repository:bob/model:pull")
            for target in partition.targets:
                for method in ("GET", "HEAD"):
                    assert bob.ask(target, method, f"Bearer {own}").status in REFUSED


def test_a_password_that_was_taken_away_is_refused_after_the_ttl(
    tmp_path: Path, filled: tuple[Path, PushedImage]
) -> None:
    directory, image = filled
    config = "[auth]\nttl = 2\n[cache]\ntag_ttl = 3600\n"
    with (
        Registry.start(directory, htpasswd=dict([LOGIN])) as registry,
        Proxy.start(tmp_path, registry.url, config=config) as proxy,
    ):
        ann = Caller(proxy.url, LOGIN)
        partition = Partition.read(ann, image, TAG)
        passwords = directory / "htpasswd"
        passwords.write_text(passwords.read_text().replace(f"{LOGIN[0]}:", "someone:"))
        wait_until(lambda: ann_is_refused(partition, ann))
        assert partition.statuses(ann) == {401}


def ann_is_refused(partition: Partition, ann: Caller) -> bool:
    return all(ann.read(target).status == 401 for target in partition.targets)


def test_a_verified_token_opens_a_pinned_partition_while_the_registry_is_away(
    tmp_path: Path, tokens: TokenServer, filled: tuple[Path, PushedImage]
) -> None:
    directory, image = filled
    config = offline(tokens, "[auth]\nttl = 0\n")
    with (
        Registry.start(directory, extra_config=tokens.registry_config()) as registry,
        Proxy.start(tmp_path, registry.url, config=config) as proxy,
    ):
        ann, bob = Caller(proxy.url, LOGIN), Caller(proxy.url, OTHER_LOGIN)
        partition = Partition.read(ann, image, TAG)
        scope = f"repository:{image.repository}:pull"
        hers, his = (f"Bearer {who.token(tokens.url, SERVICE, scope)}" for who in (ann, bob))
        tokens.lifetime = 3
        short = f"Bearer {ann.token(tokens.url, SERVICE, scope)}"
        tokens.lifetime = 300
        registry.stop()
        tag, *by_digest = partition.targets
        for target in by_digest:
            for method in ("GET", "HEAD"):
                assert ann.ask(target, method, hers).status == 200
                assert bob.ask(target, method, his).status == 502
                assert bob.ask(target, method).status == 502
                assert bob.ask(target, method, hers[:-8] + "AAAAAAAA").status == 502
        assert ann.ask(tag, "GET", hers).status == 502
        wait_until(lambda: ann.ask(by_digest[0], "GET", short).status == 502)
        assert ann.ask(by_digest[0], "GET", hers).status == 200
